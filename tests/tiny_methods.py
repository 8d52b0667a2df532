"""Methods on a network of a few thousand weights, and batches for them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from multiseg.batch import Batch, PatchBatch, Sample, TileBatch, ViewBatch, Views, collate, collate_views
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.mixing import mix_pixels, mix_regions
from multiseg.methods.base import MaskMethod, PretrainingMethod, SegmentationMethod
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.mdp import MDP
from multiseg.methods.supervised import Supervised
from multiseg.networks.backbone import Backbone
from multiseg.networks.mask_decoder import MaskDecoderSettings
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.pixel_decoder import PixelDecoder
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, DecoderFactory, SegmentationNetwork
from multiseg.networks.text_encoder import TextEncoder, TextEncoderSpec
from multiseg.networks.text_encoder.base import Tokens
from multiseg.optim.optimizers import SGD, AdamW
from multiseg.optim.schedules import Constant

TOWN = LabelSpace("town", tuple(LabelClass(n, (i,), (i, i, i)) for i, n in enumerate(["road", "car", "sky"])), (255,))
PARK = LabelSpace("park", tuple(LabelClass(n, (i,), (i, i, i)) for i, n in enumerate(["tree", "Sky"])), (255,))


@dataclass(frozen=True)
class TinyText(TextEncoderSpec):
    """A text encoder of a few hundred weights: the mean of its letters' vectors, through a layer."""

    width = 6
    token_width = 5

    @property
    def identity(self) -> str:
        return "tiny"

    def load(self) -> TextEncoder:
        return TinyEncoder(self.width, self.token_width, 60).freeze()


class TinyEncoder(TextEncoder):
    """Counts how often it was asked."""

    calls = 0

    def __init__(self, width: int, token_width: int, longest: int) -> None:
        super().__init__(width, token_width, longest)
        generator = torch.Generator().manual_seed(0)
        self.letters = nn.Embedding(128, token_width, _weight=torch.randn(128, token_width, generator=generator))
        self.layer = nn.Linear(token_width, width)
        self.layer.weight.data.normal_(generator=generator)

    @property
    def token_embedding(self) -> nn.Embedding:
        return self.letters

    @property
    def padding_id(self) -> int:
        return 0

    def tokens_of(self, prefix: str, text: str) -> Tokens:
        return Tokens(tuple(map(ord, prefix)), tuple(map(ord, text)))

    def encode(self, ids: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
        type(self).calls += 1
        weights = own.float()[..., None]
        return self.layer((vectors * weights).sum(1) / weights.sum(1)).tanh()


def make_masks(
    kind: type[MaskMethod], spaces: list[LabelSpace] | None = None, decoder: Any = None, **arguments: Any
) -> MaskMethod:
    torch.manual_seed(0)
    network = SegmentationNetwork(Backbone("test_resnet"), partial(PixelDecoder, channels=16, groups=4), None)
    settings = {"queries": 6, "layers": 2, "width": 16, "heads": 2, "feedforward": 32, "dropout": 0.0}
    if kind is LMSeg:
        arguments = {"text": TinyText(), "prompt_length": 2, **arguments}
    method = kind(
        spaces or [TOWN, PARK],
        network=network,
        mask_decoder=MaskDecoderSettings(**{**settings, **(decoder or {})}),
        optimizer=AdamW(lr=5e-3),
        schedule=Constant(),
        **arguments,
    )
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    method.setup("fit")
    return method


def make(
    kind: type[SegmentationMethod],
    spaces: list[LabelSpace] | None = None,
    pixel_decoder: DecoderFactory | None = None,
    **arguments: object,
) -> SegmentationMethod:
    if issubclass(kind, MaskMethod):
        return make_masks(kind, spaces, **arguments)
    torch.manual_seed(0)
    network = SegmentationNetwork(
        Backbone("test_resnet"),
        pixel_decoder or partial(PyramidPooling, channels=16, bins=[1, 2], dropout=0.0),
        None if issubclass(kind, PretrainingMethod | MDP) else partial(AuxiliaryHead, channels=16, dropout=0.0),
    )
    method = kind(
        spaces or ([TOWN] if kind is Supervised else [TOWN, PARK]),
        network=network,
        optimizer=SGD(lr=0.05),
        schedule=Constant(),
        **arguments,
    )
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    method.setup("fit")
    return method


def make_batch(spaces: list[LabelSpace], size: tuple[int, int] = (64, 96), seed: int = 0) -> Batch:
    """Random images, labelled by halves; a margin is ignored."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for number, space in enumerate(spaces):
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        labels = torch.zeros(size, dtype=torch.int16)
        labels[:, size[1] // 2 :] = number % len(space)
        labels[:4] = IGNORE
        samples.append(Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, str(number)))
    return collate(samples).to("cpu")


def make_patches(
    spaces: list[LabelSpace], per_image: int = 4, size: tuple[int, int] = (32, 32), seed: int = 0
) -> PatchBatch:
    """Patches of random pixels around a colour of each class; the last one of the first image has no label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.randint(len(space), (per_image,), generator=generator) for space in spaces])
    noise = torch.randint(0, 100, (*labels.shape, 3, *size), generator=generator)
    images = (noise + labels[..., None, None, None] * 50).to(torch.uint8)
    labels[0, -1] = IGNORE
    lots = torch.rand(*labels.shape, 3, generator=generator)
    return PatchBatch(images, labels, lots, tuple(spaces), tuple(map(str, range(len(spaces)))))


def make_tiles(spaces: list[LabelSpace], side: int = 32, seed: int = 0) -> TileBatch:
    """Tiles of random pixels, each with a stripe whose place tells the tile."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (len(spaces), 9, 3, side, side), generator=generator, dtype=torch.uint8)
    for tile in range(9):
        images[:, tile, tile % 3, tile * 3 : tile * 3 + 4] += 150
    lots = torch.rand(len(spaces), generator=generator)
    return TileBatch(images, lots, tuple(spaces), tuple(map(str, range(len(spaces)))))


def step(method: SegmentationMethod, batch: Batch | ViewBatch | PatchBatch | TileBatch) -> Tensor:
    return method.training_step(batch, 0)  # type: ignore[arg-type]


def train(method: SegmentationMethod, batch: Batch | ViewBatch | PatchBatch | TileBatch, steps: int) -> list[float]:
    """The losses of some updates on one batch."""
    optimizer = method.optimizer_spec.build(method)
    losses = []
    for _ in range(steps):
        loss = step(method, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics, scales, shifts and classifiers that are not the initial ones, many of which are zero."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in ((module.running_mean, -1), (module.bias, -1), (module.running_var, 0.5)):
                if tensor is not None:
                    tensor.data.uniform_(low, low + 2)
            if module.weight is not None:
                module.weight.data.uniform_(0.5, 1.5)
        elif isinstance(module, PixelClassifier):
            for parameter in module.parameters():
                parameter.data.normal_()
    return network


def make_views(
    spaces: list[LabelSpace], size: tuple[int, int] = (64, 96), seed: int = 0, mixed: bool = True
) -> ViewBatch:
    """Two batches of `make_batch` as views of the same images, and each image mixed with the next: boxes for the first
    half of them, weighted means for the others.
    """
    first, second, third = (make_batch(spaces, size, seed + number) for number in range(3))
    if not mixed:
        return ViewBatch(first, second)
    samples = [
        Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, key)
        for image, labels, space, key in zip(third.images, third.labels.short(), third.spaces, third.keys, strict=True)
    ]
    pairs = list(zip(samples, samples[1:] + samples[:1], strict=True))
    half = len(pairs) // 2
    made = [mix_regions(*pair, (8, 40, 16, 60)) for pair in pairs[:half]] + [mix_pixels(*p, 0.7) for p in pairs[half:]]
    views = [Views(own, other, entry) for (own, other), entry in zip(pairs, made, strict=True)]
    return ViewBatch(first, second, collate_views(views).to("cpu").mixed)
