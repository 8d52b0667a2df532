"""The tiles of a jigsaw puzzle (Noroozi & Favaro: "Unsupervised Learning of Visual Representations by Solving Jigsaw
Puzzles", ECCV 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from multiseg.batch import Sample, TileBatch, Tiles, collate_tiles
from multiseg.errors import MultisegError
from multiseg.loading.cutting import Cutting
from multiseg.loading.transforms import require_numbers

#: Tiles a side.
GRID = 3


@dataclass(frozen=True)
class TilePlan(Cutting):
    """How a puzzle is cut from an image: a random square of it, resized to 3×3 cells, and a random tile in each cell.
    Squares are shares of an image, so no pipeline plays a part.

    Args:
        cell: side of a cell, in pixels.
        tile: side of a tile; what a cell is larger lets the gap between tiles vary from nothing to twice the
            difference, so that edges do not tell neighbours.
        square: the side of the square is drawn from this range, as a share of the image's shorter side.
        gray: probability of a grey image.
        channel_shift: each colour channel of a tile is moved by up to so many pixels each way, so that chromatic
            aberration of the lens does not tell where in the image a tile lies.
        flip: probability of a horizontal flip.

    Raises:
        MultisegError: a number is out of range.
    """

    kind: ClassVar[str] = "tiles"

    cell: int = 75
    tile: int = 64
    square: tuple[float, float] = (0.88, 0.88)
    gray: float = 0.3
    channel_shift: int = 2
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.tile <= self.cell:
            raise MultisegError(f"tiles.tile must be 1 to tiles.cell ({self.cell}), not {self.tile}.")
        require_numbers("tiles.square", self.square, (2,), lambda square: 0 < square[0] <= square[1] <= 1)
        if self.channel_shift < 0:
            raise MultisegError(f"tiles.channel_shift must be at least 0, not {self.channel_shift}.")
        for name in ("gray", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise MultisegError(f"tiles.{name} is a probability, not {getattr(self, name)}.")

    @property
    def judges(self) -> bool:
        return True

    def cut(self, sample: Sample, partner: Sample | None = None, long_side: int | None = None) -> Tiles:
        height, width = sample.image.shape[-2:]
        low, high = self.square
        side = max(1, round(min(height, width) * float(torch.empty(()).uniform_(low, high))))
        top, left = int(torch.randint(height - side + 1, ())), int(torch.randint(width - side + 1, ()))
        length = GRID * self.cell
        square = F.resized_crop(sample.image, top, left, side, side, [length, length], antialias=True)
        if torch.rand(()) < self.flip:
            square = F.horizontal_flip(square)
        if torch.rand(()) < self.gray:
            square = F.rgb_to_grayscale(square, 3)
        pixels = square.as_subclass(Tensor)
        cells = [(row * self.cell, column * self.cell) for row in range(GRID) for column in range(GRID)]
        tiles = torch.stack([self._tile(pixels, *corner) for corner in cells])
        return Tiles(tiles, torch.rand(()), sample.space, sample.key)

    def collate(self, cuts: Sequence[Tiles]) -> TileBatch:
        return collate_tiles(cuts)

    def _tile(self, square: Tensor, top: int, left: int) -> Tensor:
        """A random tile of a cell, its colour channels moved against each other."""
        spare = self.cell - self.tile
        y, x = (int(torch.randint(spare + 1, ())) for _ in range(2))
        shifts = torch.randint(-self.channel_shift, self.channel_shift + 1, (len(square), 2)).tolist()
        last = square.shape[-1] - self.tile
        channels = []
        for channel, (down, right) in zip(square, shifts, strict=True):
            row, column = (min(max(start, 0), last) for start in (top + y + down, left + x + right))
            channels.append(channel[row : row + self.tile, column : column + self.tile])
        return torch.stack(channels)
