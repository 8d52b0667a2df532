"""Tileable textures, made once per domain and seed and sampled in metres.

A texture is a factor on a surface's colour with mean 1, so that the same brick can be red, grey or white.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: float32 throughout.
Floats = NDArray[np.floating[Any]]

#: Side of a tile in texels, and texels a metre: a tile spans 8 m.
_TILE = 256
_TEXELS_PER_METRE = 32.0
_LEVELS = 5


class TextureBank:
    """All textures of one domain, each with a mip pyramid against aliasing.

    Args:
        rng: what makes two banks differ.
        contrast: factor on every deviation from 1; a domain's own texture statistics.
    """

    def __init__(self, rng: np.random.Generator, contrast: float = 1.0) -> None:
        self._pyramids: dict[str, list[Floats]] = {}
        for name, tile in _make_tiles(rng).items():
            tile = 1 + contrast * (tile / tile.mean() - 1)
            levels = [tile.clip(0.15, 2.0).astype(np.float32)]
            while len(levels) < _LEVELS:
                side = len(levels[-1]) // 2
                levels.append(levels[-1].reshape(side, 2, side, 2).mean((1, 3), dtype=np.float32))
            self._pyramids[name] = levels
        #: Sensor noise: unit variance, slightly blotchy as after demosaicing.
        white = rng.standard_normal((3, _TILE, _TILE))
        blotchy = white + 0.6 * (np.roll(white, 1, 1) + np.roll(white, 1, 2))
        self._grain: Floats = (blotchy / blotchy.std()).astype(np.float32)

    def sample(self, name: str, across: Floats, up: Floats, pixels_per_metre: float) -> Floats:
        """A texture at points given in metres.

        Args:
            name: of the texture.
            across: first coordinate.
            up: second coordinate, broadcast against the first.
            pixels_per_metre: resolution on screen; chooses the mip level.
        """
        tile, texels_per_metre = self._level(name, pixels_per_metre)
        scale = np.float32(texels_per_metre)
        mask = len(tile) - 1
        place = ((up * -scale).astype(np.int32) & mask) * len(tile) + ((across * scale).astype(np.int32) & mask)
        return tile.ravel().take(place)

    def patch(self, name: str, height: int, width: int, pixels_per_metre: float, offset: tuple[int, int]) -> Floats:
        """A flat piece of texture. Shape: (height, width)."""
        tile, scale = self._level(name, pixels_per_metre)
        step = scale / max(pixels_per_metre, 1e-3)
        rows, columns = (
            ((np.arange(n) * step).astype(np.int32) + o) % len(tile)
            for n, o in ((height, offset[0]), (width, offset[1]))
        )
        return tile.take(rows, 0).take(columns, 1)

    def grain(self, height: int, width: int, offset: tuple[int, int]) -> Floats:
        """Sensor noise of unit variance. Shape: (3, height, width)."""
        rows, columns = ((np.arange(n) + o) % _TILE for n, o in ((height, offset[0]), (width, offset[1])))
        grain: Floats = self._grain.take(rows, 1).take(columns, 2)
        return grain

    def _level(self, name: str, pixels_per_metre: float) -> tuple[Floats, float]:
        """The tile that suits a resolution, and its texels a metre."""
        level = round(math.log2(_TEXELS_PER_METRE / max(pixels_per_metre, 1e-3)))
        level = min(max(level, 0), _LEVELS - 1)
        return self._pyramids[name][level], _TEXELS_PER_METRE / 2**level


def _make_tiles(rng: np.random.Generator) -> dict[str, Floats]:
    cloud = _fractal(rng, 1.6)
    rough = _fractal(rng, 0.5)
    fine = _fractal(rng, 0.0)
    return {
        "cloud": 1 + 0.5 * cloud,
        "plaster": 1 + 0.06 * cloud + 0.03 * fine,
        "asphalt": 1 + 0.09 * fine + 0.09 * cloud + 0.05 * rough,
        "brick": _bricks(rng, 8, 4) * (1 + 0.06 * fine + 0.05 * cloud),
        "concrete": _concrete(rng) * (1 + 0.10 * cloud + 0.04 * fine),
        "panel": _panel(rng) * (1 + 0.03 * fine + 0.04 * cloud),
        "paving": _bricks(rng, 16, 16, tint=0.07, joint=0.72) * (1 + 0.05 * fine + 0.05 * cloud),
        "planks": _bricks(rng, 64, 4, tint=0.12, joint=0.75) * (1 + 0.10 * _fractal(rng, 0.9, stretch=(1.0, 0.12))),
        "foliage": 1 + 0.30 * _fractal(rng, 0.75) + 0.14 * rough,
        "grass": 1 + 0.17 * _fractal(rng, 0.4, stretch=(0.4, 1.0)) + 0.08 * cloud,
        "water": 1 + 0.22 * _fractal(rng, 0.9, stretch=(1.0, 0.2)),
        "fabric": 1 + 0.07 * fine + 0.06 * cloud,
        "stripes": 1
        + 0.30 * np.sign(np.sin(np.arange(_TILE) * np.pi / 4))[:, None] * np.ones((1, _TILE))
        + 0.03 * fine,
        "leaves": 1 + 0.45 * _fractal(rng, 0.95),
    }


def _fractal(rng: np.random.Generator, slope: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Floats:
    """Noise with a 1/f^slope spectrum, mean 0, variance 1, tileable because it is made of whole periods."""
    rows = np.fft.fftfreq(_TILE)[:, None] * _TILE * stretch[1]
    columns = np.fft.rfftfreq(_TILE)[None] * _TILE * stretch[0]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) / np.maximum(frequency, 2.0) ** slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (_TILE, _TILE))
    scaled: Floats = (noise / noise.std()).astype(np.float32)
    return scaled


def _bricks(rng: np.random.Generator, width: int, height: int, tint: float = 0.16, joint: float = 0.62) -> Floats:
    """Rows of blocks of `width` × `height` texels, every second row shifted by half a block."""
    rows, columns = np.indices((_TILE, _TILE))
    course = rows // height
    columns = (columns + (course % 2) * (width // 2)) % _TILE
    tints = rng.normal(1.0, tint, (_TILE // height, _TILE // width))
    blocks = tints[course, columns // width]
    return np.where((rows % height == 0) | (columns % width == 0), joint, blocks).astype(np.float32)


def _concrete(rng: np.random.Generator) -> Floats:
    """Cast slabs of 2 m × 1 m with joints, tie holes and the stains of running water."""
    rows, columns = np.indices((_TILE, _TILE))
    joints = np.where((rows % 32 == 0) | (columns % 64 == 0), 0.72, 1.0)
    holes = np.where((abs(rows % 32 - 16) < 1) & (abs(columns % 32 - 16) < 1), 0.6, 1.0)
    slabs: Floats = joints * holes * (1 + 0.08 * _fractal(rng, 1.0, stretch=(1.0, 0.1)))
    return slabs


def _panel(rng: np.random.Generator) -> Floats:
    """Vertical corrugation of 0.25 m with a horizontal seam every 2 m."""
    rows, columns = np.indices((_TILE, _TILE))
    ribs = 1 + 0.24 * np.sin(columns * (2 * np.pi / 8))
    tints = rng.normal(1.0, 0.05, _TILE // 32)[columns // 32]
    return np.where(rows % 64 == 0, 0.65, ribs * tints)
