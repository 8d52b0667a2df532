"""The pixel decoder of mask classification: fine features, of which every query's mask is a projection."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.segmentation_network import Decoder


class PixelDecoder(Decoder):
    """A feature pyramid with a 3×3 convolution after each sum, and group norm, which does not mind how many images of
    which dataset are in a batch (MaskFormer, Cheng et al., NeurIPS 2021, section 4 and its code's "FPN").

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of all levels, and of the mask features.
        finest_stride: levels finer than this are left out; mask features have the stride of the finest one left.
        groups: of the group norms.

    Raises:
        MultisegError: no level is that coarse, or the groups do not divide the channels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 256,
        finest_stride: int = 4,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.first = next((level for level, stride in enumerate(strides) if stride >= finest_stride), -1)
        if self.first < 0:
            raise MultisegError(f"the backbone has no level of stride {finest_stride} or more; it has {list(strides)}.")
        if channels % groups:
            raise MultisegError(f"pixel decoder: {channels} channels do not divide into {groups} groups.")
        self.channels = channels
        self.stride = strides[self.first]
        used = list(in_channels[self.first :])
        self.lateral = nn.ModuleList(_conv_norm(width, channels, 1, groups) for width in used[:-1])
        coarsest = _conv_norm(used[-1], channels, 3, groups)
        finer = [_conv_norm(channels, channels, 3, groups) for _ in used[:-1]]
        self.smooth = nn.ModuleList([*finer, coarsest])
        self.output = _xavier(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        levels = pyramid[self.first :]
        merged = F.relu(self.smooth[-1](levels[-1]), inplace=True)
        for place in reversed(range(len(levels) - 1)):
            lateral = self.lateral[place](levels[place])
            total = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            merged = F.relu(self.smooth[place](total), inplace=True)
        features: Tensor = self.output(merged)
        return features


def _conv_norm(in_channels: int, channels: int, kernel: int, groups: int) -> nn.Sequential:
    conv = _xavier(nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False))
    return nn.Sequential(conv, nn.GroupNorm(groups, channels))


def _xavier(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
