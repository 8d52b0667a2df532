"""Maps of regions as runs: neighbours in a row mostly are alike, so work done once a run is a tenth of the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Runs:
    """The pixels of a map in reading order, equal neighbours counted together.

    Args:
        values: of each run. Shape: (N,).
        lengths: in pixels. Shape: (N,).
        shape: of the map.
    """

    values: NDArray[Any]
    lengths: NDArray[np.intp]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Runs:
        (runs,) = cls.together(array)
        return runs

    @classmethod
    def together(cls, *arrays: NDArray[Any]) -> tuple[Runs, ...]:
        """Maps of one shape as runs of equal lengths: a run ends where any of the maps changes."""
        flats = [array.reshape(-1) for array in arrays]
        begins = np.empty(flats[0].size, np.bool_)
        begins[:1] = True
        np.not_equal(flats[0][1:], flats[0][:-1], out=begins[1:])
        for flat in flats[1:]:
            begins[1:] |= flat[1:] != flat[:-1]
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=begins.size)
        return tuple(cls(flat[starts], lengths, array.shape) for flat, array in zip(flats, arrays, strict=True))

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A map of the same shape from one value a run. Shape: (N,) to `shape`."""
        return np.repeat(values, self.lengths).reshape(self.shape)
