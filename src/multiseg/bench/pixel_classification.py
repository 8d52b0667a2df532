"""PSPNet and DeepLabV3 on ResNet-50, in training and in inference, against torchvision and segmentation_models_pytorch.

Equal work: output stride 8, no auxiliary head, a linear classifier on the decoder's map, scores enlarged to the image's
size, cross-entropy of all labelled pixels. Where a peer's class adds layers to the paper's decoder, they are left out,
and where it has smaller ones than the paper, they get the paper's size; no side is timed before its multiply-adds are
within a hundredth of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import tv_tensors

from multiseg.batch import Batch, Sample, collate
from multiseg.bench.base import Comparison
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.methods.supervised import Supervised
from multiseg.networks.aspp import ASPP
from multiseg.networks.backbone import Backbone
from multiseg.networks.dataset_norm import compile_network
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import DecoderFactory, SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant

_CLASSES = 19
_PSP_CHANNELS, _ASPP_CHANNELS = 512, 256
#: Images and their size: what two CPU cores do in a second, and what keeps a GPU busy.
_WORK = {"cpu": (2, (256, 256)), "cuda": (16, (512, 512))}
_SPACE = LabelSpace("set", tuple(LabelClass(str(n), (n,), (n, n, n)) for n in range(_CLASSES)), (255,))
_SMP = "segmentation_models_pytorch"
_TORCHVISION = "torchvision"


def comparisons(device: str = "cpu") -> list[Comparison]:
    """All sides in bfloat16 with channels last, and on a GPU compiled."""
    images, size = _WORK[device]
    return [
        *_of_network(
            "pspnet", partial(PyramidPooling, channels=_PSP_CHANNELS, grid_channels=2048), images, size, device
        ),
        *_of_network("deeplabv3", partial(ASPP, channels=_ASPP_CHANNELS), images, size, device),
    ]


def _of_network(
    name: str, decoder: DecoderFactory, images: int, size: tuple[int, int], device: str
) -> list[Comparison]:
    batch = _batch(images, size).to(device)
    network = SegmentationNetwork(Backbone("resnet50", output_stride=8), decoder)
    method = Supervised([_SPACE], network, optimizer=SGD(lr=1e-3), schedule=Constant())
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]  # no trainer
    method.to(device=device, memory_format=torch.channels_last)
    if device != "cpu":
        compile_network(method.network)
    inputs = method.normalize(batch.images).contiguous(memory_format=torch.channels_last)
    peers = {
        peer: partial(_Peer, build, inputs, batch.labels, device)
        for peer, build in _PEERS.items()
        if (name, peer) != ("pspnet", _TORCHVISION)  # it has none
    }
    height, width = size
    work = f"{images} images of {height}×{width}, ResNet-50 at stride 8, {_CLASSES} classes, bfloat16, {device}"
    made: dict[str, _Peer] = {}

    def theirs(peer: str, job: str) -> Answer:
        if peer not in made:  # built when first called: it may not be there
            made[peer] = peers[peer](name)
        return getattr(made[peer], job)()  # type: ignore[no-any-return]

    ours = _Ours(method, batch, device)
    common: dict[str, Any] = {"same": Answer.agrees, "goal": 1.0, "goal_peer": _SMP, "device": device, "images": images}
    return [
        Comparison(
            f"{name}_step",
            f"forward, loss, backward and SGD, {work}",
            ours=ours.step,
            peers={peer: partial(theirs, peer, "step") for peer in peers},
            memory=True,
            repeats=7,
            flops=ours.step_flops,
            **common,
        ),
        Comparison(
            f"{name}_inference",
            f"label maps at the size of the image, {work}",
            ours=ours.infer,
            peers={peer: partial(theirs, peer, "infer") for peer in peers},
            memory=True,
            repeats=9,
            flops=ours.infer_flops,
            **common,
        ),
    ]


@dataclass(frozen=True)
class Answer:
    """What a side did.

    Args:
        shape: of the label maps; none in training.
        flops: floating-point operations of its convolutions and matrix products.
        finite: whether its result is a number.
    """

    shape: tuple[int, ...]
    flops: int
    finite: bool

    def agrees(self, other: Answer) -> bool:
        near = abs(self.flops - other.flops) < 0.01 * self.flops
        return self.shape == other.shape and near and self.finite and other.finite


class _Side:
    """One network at both jobs. A subclass says how a loss and how label maps come about.

    Args:
        module: the network, on its device.
        optimizer: of it.
        device: where it works.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> None:
        self.module, self.optimizer, self.device = module, optimizer, device
        with FlopCounterMode(display=False) as counter:
            self._predicted()
        self.infer_flops = int(counter.get_total_flops())
        self.step_flops = 3 * self.infer_flops  # backward: once more for the inputs, once more for the weights

    def loss(self) -> Tensor:
        raise NotImplementedError

    def labels(self) -> Tensor:
        raise NotImplementedError

    def step(self) -> Answer:
        self.module.train()
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.loss()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return Answer((), self.step_flops, bool(loss.detach().isfinite()))

    def infer(self) -> Answer:
        return Answer(tuple(self._predicted().shape), self.infer_flops, True)

    @torch.no_grad()
    def _predicted(self) -> Tensor:
        self.module.eval()
        with torch.autocast(self.device, torch.bfloat16):
            return self.labels()


class _Ours(_Side):
    def __init__(self, method: Supervised, batch: Batch, device: str) -> None:
        self.method, self.batch = method, batch
        super().__init__(method, method.optimizer_spec.build(method), device)

    def loss(self) -> Tensor:
        return self.method.training_step(self.batch, 0)

    def labels(self) -> Tensor:
        return self.method.predict_labels(self.batch.images, self.batch.images.shape[-2:], "set")


class _Peer(_Side):
    """Gets its images normalised already."""

    def __init__(self, build: Callable[[str], Any], inputs: Tensor, labels: Tensor, device: str, name: str) -> None:
        model = build(name).to(device=device, memory_format=torch.channels_last)
        if device != "cpu":
            model.compile()
        self.inputs, self.truth = inputs, labels
        super().__init__(model, torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4), device)

    def loss(self) -> Tensor:
        return F.cross_entropy(self._scores().float(), self.truth, ignore_index=IGNORE)

    def labels(self) -> Tensor:
        return self._scores().argmax(1)

    def _scores(self) -> Tensor:
        output = self.module(self.inputs)
        scores: Tensor = output["out"] if isinstance(output, dict) else output
        return scores


def _from_torchvision(name: str) -> Any:
    from torchvision.models.segmentation import deeplabv3, deeplabv3_resnet50

    model: Any = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=_CLASSES, aux_loss=False)
    pooling = deeplabv3.ASPP(2048, [12, 24, 36], _ASPP_CHANNELS)
    model.classifier = nn.Sequential(pooling, nn.Conv2d(_ASPP_CHANNELS, _CLASSES, 1))  # without a 3×3 layer in between
    return model


def _from_smp(name: str) -> Any:
    import segmentation_models_pytorch as smp

    if name == "deeplabv3":
        model: Any = smp.DeepLabV3(
            "resnet50",
            encoder_weights=None,
            encoder_output_stride=8,
            decoder_channels=_ASPP_CHANNELS,
            decoder_atrous_rates=(12, 24, 36),
            classes=_CLASSES,
        )
        model.decoder.conv = model.decoder.bn = model.decoder.relu = nn.Identity()  # a 3×3 layer after the ASPP
        return model
    model = smp.PSPNet(
        "resnet50", encoder_weights=None, encoder_depth=5, psp_out_channels=_PSP_CHANNELS, classes=_CLASSES
    )
    model.encoder.make_dilated(output_stride=8)
    # 3×3 as in the paper, not 1×1, and a linear classifier, not a 3×3 one
    fuse = model.decoder.conv[0]
    model.decoder.conv[0] = nn.Conv2d(fuse.in_channels, fuse.out_channels, 3, padding=1, bias=False)
    model.segmentation_head[0] = nn.Conv2d(_PSP_CHANNELS, _CLASSES, 1)
    return model


_PEERS: dict[str, Callable[[str], Any]] = {_SMP: _from_smp, _TORCHVISION: _from_torchvision}


def _batch(images: int, size: tuple[int, int]) -> Batch:
    """Noise, labelled in blocks, a tenth of which are ignored."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(images):
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, _CLASSES, (size[0] // 32, size[1] // 32), generator=generator, dtype=torch.int16)
        labels.masked_fill_(torch.rand(labels.shape, generator=generator) < 0.1, IGNORE)
        mask = tv_tensors.Mask(labels.repeat_interleave(32, 0).repeat_interleave(32, 1))
        samples.append(Sample(tv_tensors.Image(image), mask, _SPACE, str(number)))
    return collate(samples)
