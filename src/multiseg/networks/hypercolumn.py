"""Hypercolumns: what all layers see of a pixel, trained at a few pixels of each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.fully_convolutional import FullyConvolutional
from multiseg.networks.segmentation_network import Decoder, conv_norm_relu


class Hypercolumn(Decoder):
    """All levels of the pyramid, interpolated to a pixel, through one hidden layer (Hariharan et al., "Hypercolumns for
    Object Segmentation and Fine-grained Localization", CVPR 2015).

    On VGG-16 with all 13 convolutions, fc6 and fc7 that is a column of 12,416 numbers a pixel, too many for every pixel
    of a batch. So it is trained at some random pixels of each image (Larsson et al., "Learning Representations for
    Automatic Colorization", ECCV 2016, section 3.3), where the columns are made as they stand above. Everywhere else it
    is dense, at `stride`, and never has a column: the hidden layer's matrix is applied to each level, at the coarser
    resolution of the two, since a matrix and an interpolation commute,

        W [interp(f_1); …; interp(f_L)] = Σ_l interp(W_l f_l).

    Interpolation is bilinear between the centres of cells, as in `upsample`.

    Args:
        in_channels: of the pyramid's levels; `Backbone(every_layer=True)` has all of a VGG.
        strides: of the pyramid's levels.
        channels: of the hidden layer.
        points: pixels of an image that training draws; None trains the dense map.
        stride: of the dense map, in pixels of the image.
        fc: channels of fc6 and fc7, which take the place of the coarsest level, as in the papers; 0 for none.
        kernel: side of fc6.
        fc_dropout: share of values dropped after either of them.
        dropout: share of values dropped after the hidden layer.

    Raises:
        MultisegError: the coarsest stride is no multiple of `stride`, or there are no points.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 1024,
        points: int | None = 256,
        stride: int = 4,
        fc: int = 0,
        kernel: int = 7,
        fc_dropout: float = 0.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if stride < 1 or strides[-1] % stride:
            raise MultisegError(f"Hypercolumn: the backbone's stride of {strides[-1]} is no multiple of {stride}.")
        if points is not None and points < 1:
            raise MultisegError(f"Hypercolumn: training needs a point an image at least, not {points}; null for all.")
        self.channels, self.stride, self.points = channels, stride, points
        self.fully_connected = FullyConvolutional(in_channels, strides, fc, kernel, fc_dropout) if fc else None
        widths = [*in_channels[:-1], fc, fc] if fc else list(in_channels)
        self.strides = [*strides, strides[-1]] if fc else list(strides)
        #: of each stride that levels have: how many there are, and their channels together
        self.same_stride: list[tuple[int, int, int]] = []
        for same, group in groupby(zip(self.strides, widths, strict=True), key=lambda level: level[0]):
            own = [width for _, width in group]
            self.same_stride.append((same, len(own), sum(own)))
        self.hidden, *activation = conv_norm_relu(sum(widths), channels)
        self.activation = nn.Sequential(*activation, nn.Dropout(dropout))

    def forward(self, pyramid: Sequence[Tensor], points: Tensor | None = None) -> Tensor:
        """
        Shape:
            pyramid: list of (B, C_i, h_i, w_i), fine to coarse; points: (B, P, 2) rows and columns of pixels; returns:
            (B, channels, 1, P) in their order, without points (B, channels, h, w).
        """
        levels = list(pyramid)
        if self.fully_connected is not None:
            fc6 = self.fully_connected.fc6(levels[-1])
            levels[-1:] = [fc6, self.fully_connected.fc7(fc6)]
        features: Tensor = self.activation(self._dense(levels) if points is None else self._sparse(levels, points))
        return features

    def _sparse(self, levels: Sequence[Tensor], points: Tensor) -> Tensor:
        columns = [interpolate_at(level, points, s) for level, s in zip(levels, self.strides, strict=True)]
        hidden: Tensor = self.hidden(torch.cat(columns, 1))
        return hidden

    def _dense(self, levels: Sequence[Tensor]) -> Tensor:
        # the padded image, which is a whole multiple of the coarsest stride
        size = [length * self.strides[-1] // self.stride for length in levels[-1].shape[-2:]]
        total: Tensor | None = None
        first_level = first_channel = 0
        for stride, count, width in self.same_stride:
            same = levels[first_level : first_level + count]
            if stride < self.stride:
                same = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in same]
            part = F.conv2d(torch.cat(list(same), 1), self.hidden.weight[:, first_channel : first_channel + width])
            if stride > self.stride:
                part = F.interpolate(part, size, mode="bilinear", align_corners=False)
            total = part if total is None else total + part
            first_level, first_channel = first_level + count, first_channel + width
        assert total is not None
        return total


def interpolate_at(level: Tensor, points: Tensor, stride: int) -> Tensor:
    """A level at the centres of pixels, bilinear between the centres of its cells.

    By indexing, whose gradient has a deterministic kernel on a GPU; that of `F.grid_sample` has none.

    Shape:
        level: (B, C, h, w); points: (B, P, 2) rows and columns of pixels; returns: (B, C, 1, P).
    """
    exact = torch.promote_types(level.dtype, torch.float32)
    last = torch.tensor(level.shape[-2:], device=level.device) - 1
    places = ((points.to(exact) + 0.5) / stride - 0.5).clamp(min=0).minimum(last.to(exact))
    low = places.long()
    high = (low + 1).minimum(last)
    share = places - low
    # the four corners, (B, 4, P), in one indexing: each would have a gradient of the level's size
    rows = torch.stack([low[..., 0], low[..., 0], high[..., 0], high[..., 0]], 1)
    columns = torch.stack([low[..., 1], high[..., 1], low[..., 1], high[..., 1]], 1)
    down, right = share.unbind(-1)
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)
    images = torch.arange(len(level), device=level.device)[:, None, None]
    corners = level.permute(0, 2, 3, 1)[images, rows, columns]  # (B, 4, P, C)
    values = (corners * weights[..., None]).sum(1).to(level.dtype)
    return values.transpose(1, 2)[:, :, None]
