"""The head of the jigsaw puzzle: which of a set of permutations nine tiles are in.

Noroozi & Favaro: "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multiseg.errors import MultisegError

TILES = 9


class JigsawHead(nn.Module):
    """A layer for each tile (fc6), shared by all, then two for all tiles together (fc7, fc8). What a tile shows and
    where it lies is joined as late as there, so the trunk cannot solve the puzzle by comparing edges.

    Args:
        in_channels: of the trunk's coarsest level.
        classes: number of permutations.
        tile_channels: of fc6.
        channels: of fc7.
        grid: cells a side to which a tile's features are pooled, so that tiles may have any size.
        dropout: before fc7 and fc8.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        tile_channels: int = 1024,
        channels: int = 4096,
        grid: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.of_tile = nn.Sequential(
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            nn.Linear(in_channels * grid**2, tile_channels, bias=False),
            nn.BatchNorm1d(tile_channels),
            nn.ReLU(inplace=True),
        )
        self.of_all = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(TILES * tile_channels, channels, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(channels, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """
        Shape:
            features: (B · 9, C, h, w), the tiles of an image one after another; returns: (B, classes) logits.
        """
        logits: Tensor = self.of_all(self.of_tile(features).unflatten(0, (-1, TILES)).flatten(1))
        return logits


def choose_permutations(count: int, seed: int = 0) -> Tensor:
    """Permutations of nine tiles that differ in as many places as can be (Algorithm 1 of the paper, greedily).

    The first is drawn at random. Each further one is, of all 9!, of the largest Hamming distance to the nearest of
    those chosen, and of these of the largest sum of distances to all; where several are left, the first in an order
    drawn at random.

    Args:
        count: at most 9!.
        seed: of the draws.

    Returns:
        (count, 9) int64; row r puts tile r[i] at place i.

    Raises:
        MultisegError: there are not so many.
    """
    everything = _everything(seed)
    if not 2 <= count <= len(everything):
        raise MultisegError(f"the number of permutations must be 2 to {len(everything)}, not {count}.")
    by_place = np.ascontiguousarray(everything.T)
    nearest, total = np.full(len(everything), TILES + 1, np.int64), np.zeros(len(everything), np.int64)
    chosen = [0]
    while len(chosen) < count:
        latest = everything[chosen[-1]]
        distance = np.zeros(len(everything), np.int8)
        for place, tile in zip(by_place, latest, strict=True):
            distance += place != tile
        np.minimum(nearest, distance, out=nearest)
        total += distance
        # a distance of 0 is left to those chosen already
        chosen.append(int(np.argmax(nearest * (TILES * count + 1) + np.where(nearest > 0, total, 0))))
    return torch.from_numpy(everything[chosen].astype(np.int64))


@lru_cache(maxsize=1)
def _everything(seed: int) -> NDArray[np.int8]:
    """All 9! permutations in an order drawn at random. Shape: (9!, 9)."""
    return np.random.default_rng(seed).permutation(np.array(list(permutations(range(TILES))), np.int8))
