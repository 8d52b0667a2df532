"""Feature pyramid decoder: fine, and cheap, since the backbone keeps its stride of 32."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.segmentation_network import Decoder, conv_norm_relu


class FeaturePyramid(Decoder):
    """Lateral 1×1 convolutions, added up from coarse to fine (Lin et al., "Feature Pyramid Networks", CVPR 2017,
    section 3), and one 3×3 convolution on the finest sum.

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of the features.
        finest_stride: levels finer than this are left out; the features have the stride of the finest one that is left.
        dropout: share of channels dropped.

    Raises:
        MultisegError: no level is that coarse.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 128,
        finest_stride: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = next((level for level, stride in enumerate(strides) if stride >= finest_stride), -1)
        if self.first < 0:
            raise MultisegError(f"the backbone has no level of stride {finest_stride} or more; it has {list(strides)}.")
        self.channels = channels
        self.stride = strides[self.first]
        # without bias: the norm after the sum has one
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in in_channels[self.first :])
        self.output = nn.Sequential(*conv_norm_relu(channels, channels, kernel=3), nn.Dropout2d(dropout))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        levels = [lateral(level) for lateral, level in zip(self.lateral, pyramid[self.first :], strict=True)]
        merged = levels[-1]
        for level in reversed(levels[:-1]):
            merged = level + F.interpolate(merged, size=level.shape[-2:], mode="nearest")
        features: Tensor = self.output(merged)
        return features
