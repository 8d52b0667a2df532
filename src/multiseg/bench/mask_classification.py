"""A training step of MaskFormer against that of transformers, and what words cost in inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import Batch, Sample, Segments, collate
from multiseg.bench.base import Comparison
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.methods.base import MaskMethod
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.maskformer import MaskFormer
from multiseg.networks.backbone import Backbone
from multiseg.networks.mask_decoder import MaskDecoderSettings
from multiseg.networks.pixel_decoder import PixelDecoder
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.networks.text_encoder import SentenceText
from multiseg.optim.optimizers import AdamW
from multiseg.optim.schedules import Constant

_SIZE, _IMAGES, _CLASSES, _SEGMENTS = (512, 512), 2, 150, 20
_PASSES = 5


def comparisons() -> list[Comparison]:
    """Both in bfloat16 with channels last, on a CPU."""
    return [_step(), _inference()]


@dataclass(frozen=True)
class _Answer:
    """Of a step: how many parameters got a gradient, and whether the loss is a number.

    The losses themselves depend on the first weights, and are at the size of the image there and at that of the masks
    here. On the same weights and inputs, each piece of ours equals theirs: tests/methods/test_maskformer.py and others.
    """

    parameters: int
    finite: bool

    def agrees(self, other: _Answer) -> bool:
        return self == other and self.finite


def _step() -> Comparison:
    method = _method(MaskFormer).train()
    batch = _batch(method.spaces["set"])
    peer = "transformers MaskFormerForInstanceSegmentation"
    height, width = _SIZE
    return Comparison(
        "maskformer_step",
        f"forward, losses and backward: ResNet-50, 100 queries, 6 layers, {_IMAGES} images of {height}×{width} with "
        f"{_SEGMENTS} segments each, bfloat16, CPU",
        ours=partial(_our_step, method, batch),
        peers={peer: _their_step(batch)},
        same=_Answer.agrees,
        goal=1.5,
        goal_peer=peer,
        memory=True,
        memory_goal=1.0,
        repeats=5,
    )


def _our_step(method: MaskMethod, batch: Batch) -> _Answer:
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.training_step(batch, 0)
    method.zero_grad()
    torch.autograd.backward(loss)
    return _Answer(_trained(method), bool(loss.detach().isfinite()))


def _their_step(batch: Batch) -> Callable[[], _Answer]:
    """Built when first called: transformers may not be there."""
    made: list[Any] = []
    segments = [own for own in batch.segments if own is not None]
    masks = [torch.stack([own.ids.as_subclass(Tensor) == n for n in range(len(own))]).float() for own in segments]
    classes = [own.classes for own in segments]

    def step() -> _Answer:
        if not made:
            made.extend((_peer(), _method(MaskFormer).normalize(batch.images)))
        model, images = made
        with torch.autocast("cpu", torch.bfloat16):
            # without the hidden states it has no deep supervision
            output = model(pixel_values=images, mask_labels=masks, class_labels=classes, output_hidden_states=True)
        loss = output.loss
        model.zero_grad()
        torch.autograd.backward(loss)
        return _Answer(_trained(model), bool(loss.detach().isfinite()))

    return step


def _peer() -> Any:
    """With deep supervision, and the loss weights of ours."""
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it warns of settings of its own making
    torch.manual_seed(0)
    backbone = ResNetConfig()
    backbone.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = MaskFormerConfig(backbone_config=backbone, use_auxiliary_loss=True)
    config.num_labels = _CLASSES
    model = MaskFormerForInstanceSegmentation(config).train().to(memory_format=torch.channels_last)
    # by measurement the fastest of its settings: fused attention is slow in bfloat16 on a CPU, channels last is fast
    model.set_attn_implementation("eager")
    return model


def _trained(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.grad is not None)


def _inference() -> Comparison:
    """A trained LMSeg has the words of its datasets at hand, so only its attention to them is more work."""
    plain, words = _method(MaskFormer).eval(), _method(LMSeg).eval()
    words.setup("fit")  # embeds the words, as training does
    image = _batch(plain.spaces["set"]).images[:1]
    peer = "our MaskFormer"
    height, width = _SIZE
    return Comparison(
        "lmseg_inference",
        f"{_PASSES} times the scores of {_CLASSES} classes, an image of {height}×{width}, ResNet-50, bfloat16, CPU",
        ours=partial(_predict, words, image),
        peers={peer: partial(_predict, plain, image)},
        same=lambda ours, theirs: bool(ours == theirs),
        goal=0.95,
        goal_peer=peer,
        repeats=9,
    )


@torch.no_grad()
def _predict(method: MaskMethod, image: Tensor) -> torch.Size:
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(_PASSES):
            # not label maps: how long enlarging takes depends on how many classes are likely, and no class is here
            scores = method.logits(image, "set")
    return scores.shape


def _method(kind: type[MaskMethod]) -> MaskMethod:
    torch.manual_seed(0)
    space = LabelSpace("set", tuple(LabelClass(f"class {n}", (n,), (n, n, n), True) for n in range(_CLASSES)), (255,))
    words: dict[str, Any] = {"text": SentenceText(), "prompt_length": 8} if kind is LMSeg else {}
    method = kind(
        [space],
        network=SegmentationNetwork(Backbone("resnet50"), partial(PixelDecoder, channels=256)),
        mask_decoder=MaskDecoderSettings(),
        panoptic=True,
        optimizer=AdamW(),
        schedule=Constant(),
        **words,
    )
    method.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer
    method.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    method.to(memory_format=torch.channels_last)
    return method


def _batch(space: LabelSpace) -> Batch:
    """Noise, in segments of equal size."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = 4, _SEGMENTS // 4
    samples = []
    for number in range(_IMAGES):
        image = torch.randint(0, 256, (3, *_SIZE), generator=generator, dtype=torch.uint8)
        down = torch.arange(_SIZE[0]) * rows // _SIZE[0]
        across = torch.arange(_SIZE[1]) * columns // _SIZE[1]
        ids = tv_tensors.Mask((down[:, None] * columns + across).to(torch.int16))
        classes = torch.randint(0, _CLASSES, (_SEGMENTS,), generator=generator)
        segments = Segments(ids, classes, torch.zeros(_SEGMENTS, dtype=torch.bool))
        samples.append(Sample(tv_tensors.Image(image), segments.labels, space, str(number), segments))
    return collate(samples).to("cpu")
