"""The panoptic quality of a set of images, against torchmetrics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.detection import PanopticQuality as TheirPanopticQuality
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.bench.base import Comparison
from multiseg.evaluation.panoptic_quality import PanopticQuality, panoptic_scores
from multiseg.label_space import IGNORE, LabelClass, LabelSpace

_IMAGES = 100
_SIZE = (512, 1024)
_SEGMENTS = 50
_CLASSES = 19
_THINGS = 8
_VOIDS = 5
_CELL_PX = 4
_SHIFT_PX = 8


def comparisons() -> list[Comparison]:
    """Regions around random points, some void; predicted a little to the side, one thing in ten as another one.

    Without crowds and with all pixels predicted: elsewhere torchmetrics counts otherwise than the paper.
    """
    return [comparison()]


def comparison(images: int = _IMAGES, size: tuple[int, int] = _SIZE, repeats: int = 2) -> Comparison:
    """
    Args:
        images: in the set.
        size: of each, a multiple of 4.
        repeats: see `Comparison`.
    """
    generator = np.random.default_rng(0)
    pairs = [_image(generator, size) for _ in range(images)]
    as_channels = [(_channels(true)[None], _channels(predicted)[None]) for true, predicted in pairs]
    classes = [LabelClass(str(index), (index,), (0, 0, 0), index < _THINGS) for index in range(_CLASSES)]
    space = LabelSpace("bench", tuple(classes))
    our_metric = PanopticQuality(_CLASSES)
    things, stuff = set(range(_THINGS)), set(range(_THINGS, _CLASSES))
    their_metric = TheirPanopticQuality(things, stuff, return_sq_and_rq=True)

    def ours() -> Tensor:
        our_metric.reset()
        for true, predicted in pairs:
            our_metric.update(true, predicted)
        quality = panoptic_scores(our_metric.compute(), space).all
        return torch.tensor([quality.pq, quality.sq, quality.rq], dtype=torch.float64)

    def theirs() -> Tensor:
        their_metric.reset()
        for true, predicted in as_channels:
            their_metric.update(predicted, true)
        return 100 * their_metric.compute()

    what = f"PQ, SQ and RQ of {images} images of {size[0]}×{size[1]} with {_SEGMENTS} segments each"
    peer = "torchmetrics PanopticQuality"
    # a turn of the peer takes more than a minute: the one whose answers are compared is warm-up enough
    return Comparison(
        "panoptic_quality", what, ours, {peer: theirs}, _same, goal=5, goal_peer=peer, repeats=repeats, warmup=0
    )


def _same(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs.double(), rtol=1e-6)  # theirs divides in single precision


def _image(generator: np.random.Generator, size: tuple[int, int]) -> tuple[Segments, Segments]:
    """Truth and prediction. Each segment of stuff is the only one of its class, so that there are no two to merge."""
    regions = _regions(generator, size, _SEGMENTS + _VOIDS)
    stuff = np.arange(_THINGS, _CLASSES)
    classes = np.append(stuff, generator.integers(0, _THINGS, _SEGMENTS - len(stuff)))
    wrong = (classes < _THINGS) & (generator.random(_SEGMENTS) < 0.1)
    predicted = np.where(wrong, (classes + 1) % _THINGS, classes)
    known = regions < _SEGMENTS
    true = _segments(np.where(known, regions, IGNORE), classes)
    guess = np.where(known, regions, regions - _SEGMENTS)  # stuff goes on where the truth is void
    return true, _segments(np.roll(guess, _SHIFT_PX, 1), predicted)


def _regions(generator: np.random.Generator, size: tuple[int, int], count: int) -> NDArray[np.intp]:
    """For each pixel the nearest of so many random points, with ragged borders. Shape: `size`."""
    points = generator.random((count, 2)) * size
    rows, columns = np.mgrid[: size[0] : _CELL_PX, : size[1] : _CELL_PX]
    places = np.stack([rows, columns], -1) + generator.normal(0, _CELL_PX, (*rows.shape, 2))
    distances = (places**2).sum(-1)[..., None] - 2 * places @ points.T + (points**2).sum(-1)
    nearest: NDArray[np.intp] = distances.argmin(-1)
    return nearest.repeat(_CELL_PX, 0).repeat(_CELL_PX, 1)


def _segments(ids: NDArray[np.intp], classes: NDArray[np.int64]) -> Segments:
    mask = tv_tensors.Mask(torch.from_numpy(ids.astype(np.int16)))
    return Segments(mask, torch.from_numpy(classes), torch.zeros(len(classes), dtype=torch.bool))


def _channels(segments: Segments) -> Tensor:
    """Class and instance of each pixel, as torchmetrics has them; void is of a class that it does not know.

    Shape: (H, W, 2) int16: as fast for torchmetrics as any type, and a hundred images fit in memory.
    """
    ids = segments.ids.as_subclass(Tensor).long()
    classes = torch.cat([segments.classes, torch.tensor([_CLASSES])])  # IGNORE is -1, so void takes the last entry
    return torch.stack([classes[ids], ids], -1).short()
