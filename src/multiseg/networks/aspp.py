"""The decoder of DeepLabV3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.networks.segmentation_network import Decoder, conv_norm_relu


class ASPP(Decoder):
    """Atrous spatial pyramid pooling on the pyramid's coarsest level (Chen et al. 2017, arXiv:1706.05587, section 3.3).

    Unlike the paper, the image-pooling branch has a bias in place of batch normalisation: the average of one image has
    nothing to normalise by.

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of each branch and of the result.
        rates: atrous rates at output stride 16; they scale with the level's stride, (12, 24, 36) at 8.
        dropout: share of channels dropped in training.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stride = strides[-1]
        width = in_channels[-1]
        self.branches = nn.ModuleList([nn.Sequential(*conv_norm_relu(width, channels))])
        for rate in rates:
            dilation = max(1, rate * 16 // self.stride)
            self.branches.append(nn.Sequential(*conv_norm_relu(width, channels, kernel=3, dilation=dilation)))
        self.pool = nn.Conv2d(width, channels, 1)
        maps = len(self.branches) + 1
        self.fuse = nn.Sequential(*conv_norm_relu(maps * channels, channels), nn.Dropout2d(dropout))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        level = pyramid[-1]
        maps = [branch(level) for branch in self.branches]
        pooled = F.relu(self.pool(level.mean((2, 3), keepdim=True)))
        maps.append(pooled.expand_as(maps[0]))  # every pixel sees the same, so nothing to interpolate
        fused: Tensor = self.fuse(torch.cat(maps, 1))
        return fused
