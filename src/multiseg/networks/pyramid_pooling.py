"""The decoder of PSPNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.segmentation_network import Decoder, conv_norm_relu


class PyramidPooling(Decoder):
    """Averages over grids of several sizes, beside the pyramid's coarsest level (Zhao et al. 2017, section 3.2).

    Unlike the paper, the averages have a bias in place of batch normalisation: the 1×1 grid of a single image has
    nothing to normalise by.

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of the result.
        bins: cells along a side of each grid.
        grid_channels: of all grids together, in the paper as many as the level has; None: `channels`.
        dropout: share of channels dropped in training.

    Raises:
        MultisegError: there are more grids than channels, or none.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 128,
        bins: Sequence[int] = (1, 2, 3, 6),
        grid_channels: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        grid_channels = grid_channels or channels
        if not 0 < len(bins) <= grid_channels:
            raise MultisegError(f"PyramidPooling: {grid_channels} channels cannot be shared by {len(bins)} bins.")
        self.channels = channels
        self.stride = strides[-1]
        self.bins = tuple(bins)
        share = grid_channels // len(self.bins)
        self.reduce = nn.ModuleList(nn.Linear(in_channels[-1], share) for _ in self.bins)
        width = in_channels[-1] + share * len(self.bins)
        self.fuse = nn.Sequential(*conv_norm_relu(width, channels, kernel=3), nn.Dropout2d(dropout))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        level = pyramid[-1]
        height, width = level.shape[-2:]
        pool, spread = _grid_matrices(height, width, self.bins, level)
        # As matrix products, all of it stays channels-last, one product pools for every grid, and the gradient is
        # deterministic on a GPU. In bfloat16 on a CPU, PyTorch's own pooling and interpolation take twice as long.
        cells = pool @ level.permute(0, 2, 3, 1).flatten(1, 2)  # (B, sum of n², C)
        parts = torch.split(cells, [n * n for n in self.bins], 1)
        maps = [level]
        for part, reduce, matrix in zip(parts, self.reduce, spread, strict=True):
            pixels = matrix @ F.relu(reduce(part))  # (B, h w, share)
            maps.append(torch.unflatten(pixels, 1, (height, width)).permute(0, 3, 1, 2))
        fused: Tensor = self.fuse(torch.cat(maps, 1))
        return fused


def _grid_matrices(height: int, width: int, bins: Sequence[int], like: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Adaptive average pooling to n×n cells, and bilinear interpolation back, as matrices.

    Shape: (sum of n², height width), and for each of the bins (height width, n²).
    """
    identity = [torch.eye(size, device=like.device)[None] for size in (height, width)]
    pool, spread = [], []
    for n in bins:
        rows, columns = (F.adaptive_avg_pool1d(eye, n)[0].T for eye in identity)
        pool.append(_kronecker(rows, columns))
        cells = torch.eye(n, device=like.device)[None]
        rows, columns = (F.interpolate(cells, size=size, mode="linear")[0].T for size in (height, width))
        spread.append(_kronecker(rows, columns).to(like.dtype))
    return torch.cat(pool).to(like.dtype), spread


def _kronecker(rows: Tensor, columns: Tensor) -> Tensor:
    """As torch.kron, which fails on views of maps one pixel high."""
    return torch.einsum("ij,kl->ikjl", rows, columns).reshape(len(rows) * len(columns), -1)
