"""Training and inference of MaskFormer and LMSeg against the MaskFormer of transformers."""

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
_PEER = "transformers MaskFormerForInstanceSegmentation"


def comparisons(device: str = "cpu") -> list[Comparison]:
    """All sides in bfloat16 with channels last."""
    return [_step(MaskFormer, device), _step(LMSeg, device), _inference(MaskFormer, device), _inference(LMSeg, device)]


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

    def has_more(self, other: _Answer) -> bool:
        """LMSeg does all that MaskFormer does, and what words need besides."""
        return self.parameters > other.parameters and self.finite and other.finite


def _step(kind: type[MaskMethod], device: str) -> Comparison:
    method = _method(kind, device).train()
    batch = _batch(method.spaces["set"]).to(device)
    height, width = _SIZE
    return Comparison(
        f"{kind.__name__.lower()}_step",
        f"forward, losses and backward: ResNet-50, 100 queries, 6 layers, {_IMAGES} images of {height}×{width} with "
        f"{_SEGMENTS} segments each, bfloat16, {device}",
        ours=partial(_our_step, method, batch),
        peers={_PEER: _their_step(batch, device)},
        same=_Answer.agrees if kind is MaskFormer else _Answer.has_more,
        goal=1.5,
        goal_peer=_PEER,
        memory=True,
        memory_goal=1.0,
        repeats=5,
        device=device,
        images=_IMAGES,
    )


def _our_step(method: MaskMethod, batch: Batch) -> _Answer:
    with torch.autocast(method.device.type, torch.bfloat16):
        loss = method.training_step(batch, 0)
    method.zero_grad()
    torch.autograd.backward(loss)
    return _Answer(_trained(method), bool(loss.detach().isfinite()))


def _their_step(batch: Batch, device: str) -> Callable[[], _Answer]:
    """Built when first called: transformers may not be there."""
    made: list[Any] = []
    segments = [own for own in batch.segments if own is not None]
    masks = [torch.stack([own.ids.as_subclass(Tensor) == n for n in range(len(own))]).float() for own in segments]
    masks = [mask.to(device) for mask in masks]
    classes = [own.classes.to(device) for own in segments]

    def step() -> _Answer:
        if not made:
            made.extend(
                (_peer(device, deep_supervision=True).train(), _method(MaskFormer, device).normalize(batch.images))
            )
        model, images = made
        with torch.autocast(device, torch.bfloat16):
            # without the hidden states it has no deep supervision
            output = model(pixel_values=images, mask_labels=masks, class_labels=classes, output_hidden_states=True)
        loss = output.loss
        model.zero_grad()
        torch.autograd.backward(loss)
        return _Answer(_trained(model), bool(loss.detach().isfinite()))

    return step


def _peer(device: str, deep_supervision: bool) -> Any:
    """With the loss weights of ours."""
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it warns of settings of its own making
    torch.manual_seed(0)
    backbone = ResNetConfig()
    backbone.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = MaskFormerConfig(backbone_config=backbone, use_auxiliary_loss=deep_supervision)
    config.num_labels = _CLASSES
    model: Any = MaskFormerForInstanceSegmentation(config)
    model.to(device, memory_format=torch.channels_last)
    if device == "cpu":  # by measurement the faster one: fused attention is slow there in bfloat16
        model.set_attn_implementation("eager")
    return model


def _trained(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.grad is not None)


def _inference(kind: type[MaskMethod], device: str) -> Comparison:
    """A trained LMSeg has the words of its datasets at hand, so only its attention to them is more work."""
    method = _method(kind, device).eval()
    method.setup("fit")  # LMSeg embeds its words, as training does
    image = _batch(method.spaces["set"]).images[:1].to(device)
    peers: dict[str, Callable[[], torch.Size]] = {_PEER: _their_scores(method.normalize(image), device)}
    if kind is LMSeg:
        peers["our MaskFormer"] = partial(_predict, _method(MaskFormer, device).eval(), image)
    height, width = _SIZE
    return Comparison(
        f"{kind.__name__.lower()}_inference",
        f"{_PASSES} times the scores of {_CLASSES} classes, an image of {height}×{width}, ResNet-50, bfloat16, "
        f"{device}",
        ours=partial(_predict, method, image),
        peers=peers,
        same=lambda ours, theirs: bool(ours == theirs),
        goal=1.0 if kind is MaskFormer else 0.95,
        goal_peer=_PEER if kind is MaskFormer else "our MaskFormer",
        repeats=9,
        device=device,
        images=_PASSES,
    )


@torch.no_grad()
def _predict(method: MaskMethod, image: Tensor) -> torch.Size:
    with torch.autocast(method.device.type, torch.bfloat16):
        for _ in range(_PASSES):
            # not label maps: how long enlarging takes depends on how many classes are likely, and no class is here
            scores = method.logits(image, "set")
    return scores.shape


def _their_scores(inputs: Tensor, device: str) -> Callable[[], torch.Size]:
    """Scores as its `post_process_semantic_segmentation` makes them before it enlarges them."""
    made: list[Any] = []

    @torch.no_grad()
    def scores() -> torch.Size:
        if not made:
            made.append(_peer(device, deep_supervision=False).eval())
        with torch.autocast(device, torch.bfloat16):
            for _ in range(_PASSES):
                output = made[0](pixel_values=inputs)
                classes = output.class_queries_logits.softmax(-1)[..., :-1]
                maps = torch.einsum("bqc,bqhw->bchw", classes, output.masks_queries_logits.sigmoid())
        return maps.shape

    return scores


def _method(kind: type[MaskMethod], device: str) -> MaskMethod:
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
    method.to(device=device, memory_format=torch.channels_last)
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
