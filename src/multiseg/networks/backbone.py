"""Any timm model as a feature pyramid."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import timm
from timm.models import FeatureInfo, FeatureListNet
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError, did_you_mean
from multiseg.networks import alexnet  # noqa: F401  (makes timm know it)
from multiseg.networks.dataset_norm import norm_sets, require_plain
from multiseg.weights import LoadReport, load_weights, read_weights

_log = logging.getLogger(__name__)

#: Lets a transformer take images of any size; each family has its own word for it, convolutional networks need none.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


class Backbone(nn.Module):
    """A timm model cut down to its features.

    Args:
        name: of the timm model, with or without a tag.
        weights: None for random ones, "timm" for timm's own (downloaded), or a file: `.safetensors`, a checkpoint of a
            plain timm or torchvision model, or a run folder of this project.
        output_stride: of the coarsest level; below 32, strides of late stages become dilations, where the model can.
            32 leaves the model as it is, so a plain vision transformer stays at its patch size.
        drop_path: rate of stochastic depth, where the model has it.
        frozen_norms: batch norms keep the statistics, scales and shifts of the weights, in training, too.
        every_layer: every convolution of a network that is a plain sequence becomes a level, after its norm and
            activation, and what comes last, in place of the last layer of each stage. Weights are called the same.

    Attributes:
        channels: of each level, fine to coarse.
        strides: of each level in pixels of the image, fine to coarse.
        mean, std: by which the model's images are normalised, RGB in 0..1.

    Raises:
        MultisegError: timm has no such model or it lacks what is asked for; weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str = "resnet18",
        weights: str | None = None,
        output_stride: Literal[8, 16, 32] = 32,
        drop_path: float = 0.0,
        frozen_norms: bool = False,
        every_layer: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.frozen_norms = frozen_norms
        if not timm.is_model(name):
            raise MultisegError(f"timm has no model '{name}'; {did_you_mean(name, timm.list_models())}")
        options: dict[str, Any] = {}
        if output_stride != 32:
            options["output_stride"] = output_stride
        if drop_path:
            options["drop_path_rate"] = drop_path
        self.features = _create(name, options, pretrained=weights == "timm")
        if every_layer:
            _tap_every_layer(self.features, name)
        self.channels: list[int] = self.features.feature_info.channels()
        self.strides: list[int] = self.features.feature_info.reduction()
        if options.get("output_stride", self.strides[-1]) != self.strides[-1]:
            raise MultisegError(f"timm model '{name}' has no output stride {output_stride}, only {self.strides[-1]}.")
        self.mean: tuple[float, ...] = tuple(self.features.pretrained_cfg["mean"])
        self.std: tuple[float, ...] = tuple(self.features.pretrained_cfg["std"])
        if weights not in (None, "timm"):
            if not Path(weights).exists():
                raise MultisegError(f"backbone weights '{weights}': there is no such file; 'timm' takes timm's own.")
            self.load(read_weights(weights), source=weights)
        if frozen_norms:
            for norm in self._batch_norms():
                norm.requires_grad_(False)
            self.train()

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if self.frozen_norms:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _batch_norms(self) -> Iterator[nn.Module]:
        return (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))

    def load(self, state: Mapping[str, Tensor], source: str = "weights") -> LoadReport:
        """Takes the weights of a plain timm model, or those of the backbone in any run of this project.

        The report is logged, as a warning where the backbone did not get all it has.

        Args:
            state: of `read_weights`.
            source: the file, for the report.

        Raises:
            MultisegError: nothing fits.
        """
        if not norm_sets(self):
            require_plain(state, source)
        own = "network.backbone.features."
        prefix = own if any(name.startswith(own) for name in state) else None
        report = load_weights(self.features, state, prefix=prefix, source=source)
        _log.log(logging.INFO if report.complete else logging.WARNING, report.summary())
        return report

    def forward(self, images: Tensor) -> list[Tensor]:
        """
        Images whose size is no multiple of the largest stride are padded with zeros at right and bottom, so that every
        level covers the same area.

        Shape:
            images: (B, 3, H, W) float, normalised; returns: a list of (B, channels[i], h_i, w_i), where h_i is the
            padded height over strides[i].

        Raises:
            MultisegError: the model takes images of one size only, or does not keep to its strides.
        """
        height, width = images.shape[-2:]
        right, below = -width % max(self.strides), -height % max(self.strides)
        if right or below:
            images = F.pad(images, (0, right, 0, below))
        height, width = images.shape[-2:]
        try:
            pyramid: list[Tensor] = self.features(images)
        except AssertionError as error:
            raise MultisegError(f"timm model '{self.name}' refuses {width}×{height} images: {_reason(error)}") from None
        if getattr(self.features, "output_fmt", None) == "NHWC":  # hierarchical transformers
            pyramid = [level.permute(0, 3, 1, 2) for level in pyramid]
        if pyramid[-1].shape[-2:] != (height // self.strides[-1], width // self.strides[-1]):
            raise MultisegError(
                f"timm model '{self.name}' does not keep to its strides: it is not made for segmentation."
            )
        return pyramid


def _create(name: str, options: dict[str, Any], pretrained: bool) -> Any:
    asked = ", ".join(f"{key} {value}" for key, value in options.items()) or "features only"
    reason = ""
    for any_size in _ANY_SIZE:
        try:
            return timm.create_model(name, features_only=True, pretrained=pretrained, **options, **any_size)
        except (TypeError, AssertionError, NotImplementedError) as error:  # the model does not take an option
            reason = _reason(error)
        except Exception as error:  # whatever the client of the download raises
            if not pretrained:
                raise MultisegError(f"timm model '{name}' cannot be built: {_reason(error)}") from None
            raise MultisegError(
                f"weights of timm model '{name}' cannot be had ({_reason(error)}); `weights` also takes a local file."
            ) from None
    raise MultisegError(f"timm model '{name}' cannot be built with {asked}: {reason}")


def _tap_every_layer(features: Any, name: str) -> None:
    """Makes every convolution's activation, and the last layer, a level of one of timm's feature networks."""
    layers = list(features.named_children())
    # timm runs the children one after the other; blocks with branches within would hide their convolutions
    if not isinstance(features, FeatureListNet) or any(next(layer.children(), None) for _, layer in layers):
        raise MultisegError(f"timm model '{name}' is no plain sequence of layers, so it has no level of every layer.")
    taps: list[dict[str, Any]] = []
    channels, stride, open_run = 0, 1, False  # a run: a convolution with its norm and activation
    for (layer_name, layer), (_, following) in zip(layers, [*layers[1:], ("", None)], strict=True):
        if isinstance(layer, nn.Conv2d):
            channels, open_run = layer.out_channels, True
        stride *= _side(getattr(layer, "stride", 1))
        if following is None or (open_run and isinstance(following, (nn.Conv2d, *_POOLS))):
            taps.append({"num_chs": channels, "reduction": stride, "module": layer_name})
            open_run = False
    features.return_layers = {tap["module"]: str(index) for index, tap in enumerate(taps)}
    features.feature_info = FeatureInfo(taps, tuple(range(len(taps))))


def _side(stride: Any) -> int:
    return int(stride[0] if isinstance(stride, tuple) else stride)


def _reason(error: Exception) -> str:
    """The first line of a message; models mostly refuse an option by an assertion without any."""
    return (str(error).strip().splitlines() or ["it does not support this."])[0]
