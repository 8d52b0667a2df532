"""From a map of segment ids to numbered segments with classes, against a loop over segments and `numpy.unique`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.bench.base import Comparison
from multiseg.datasets.base import Description, segments_of

_SIZE = (1024, 2048)
_SEGMENTS = 60


def comparisons() -> list[Comparison]:
    """Regions around random points, as large and as ragged as those of a street scene."""
    generator = np.random.default_rng(0)
    ids = np.sort(generator.choice(2**24 - 1, _SEGMENTS, replace=False)) + 1
    classes = generator.integers(0, 19, _SEGMENTS)
    raw = ids[_nearest(generator.random((_SEGMENTS, 2)) * _SIZE)].astype(np.int32)

    def describe(values: NDArray[np.int64]) -> Description:
        return classes[np.searchsorted(ids, values)], np.zeros(len(values), np.bool_)

    def ours() -> NDArray[Any]:
        labels: NDArray[Any] = segments_of(raw, describe).labels.numpy()
        return labels

    def loop() -> NDArray[Any]:
        labels = np.full(_SIZE, -1, np.int16)
        for segment, class_id in zip(ids.tolist(), classes.tolist(), strict=True):
            labels[raw == segment] = class_id
        return labels

    def unique() -> NDArray[Any]:
        _, place = np.unique(raw, return_inverse=True)
        labels: NDArray[Any] = classes.astype(np.int16).take(place.reshape(_SIZE))
        return labels

    what = f"labels of {_SEGMENTS} segments, {_SIZE[0]}×{_SIZE[1]} pixels"
    peers = {"a loop over segments": loop, "numpy.unique of all pixels": unique}
    return [Comparison("segments", what, ours, peers, np.array_equal)]


def _nearest(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each pixel the nearest point, at a quarter of the resolution and with ragged borders. Shape: `_SIZE`."""
    rows, columns = np.mgrid[: _SIZE[0] : 4, : _SIZE[1] : 4]
    ragged = np.random.default_rng(1).normal(0, 4, (2, *rows.shape))
    places = np.stack([rows, columns], -1) + ragged.transpose(1, 2, 0)
    distances = ((places[:, :, None] - points) ** 2).sum(-1)
    nearest: NDArray[np.intp] = distances.argmin(-1)
    return nearest.repeat(4, 0).repeat(4, 1)
