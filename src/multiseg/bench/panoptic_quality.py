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
_CELL_PX = 4
_SHIFT_PX = 8


def comparisons() -> list[Comparison]:
    """Regions around random points; predicted a little to the side, one in ten as another class; one in ten is void.

    Without crowds and with all pixels predicted: elsewhere torchmetrics counts otherwise than the paper.
    """
    return [comparison()]


def comparison(images: int = _IMAGES, size: tuple[int, int] = _SIZE, repeats: int = 3) -> Comparison:
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
    # what is predicted is known to be of these classes; asking for it would cost the peer more
    their_metric = TheirPanopticQuality(
        things=set(range(_THINGS)),
        stuffs=set(range(_THINGS, _CLASSES)),
        allow_unknown_preds_category=True,
        return_sq_and_rq=True,
    )

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
    return Comparison("panoptic_quality", what, ours, {peer: theirs}, _same, 5, peer, repeats=repeats)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b.double(), rtol=1e-9)


def _image(generator: np.random.Generator, size: tuple[int, int]) -> tuple[Segments, Segments]:
    """Truth and prediction. Each segment of stuff is the only one of its class, so that there are no two to merge."""
    ids = _regions(generator, size)
    stuff = np.arange(_THINGS, _CLASSES)
    classes = np.append(stuff, generator.integers(0, _THINGS, _SEGMENTS - len(stuff)))
    void = generator.random(_SEGMENTS) < 0.1
    wrong = np.where(classes < _THINGS, generator.integers(0, _THINGS, _SEGMENTS), classes)
    predicted = np.where(generator.random(_SEGMENTS) < 0.2, wrong, classes)
    return _segments(np.where(void[ids], IGNORE, ids), classes), _segments(np.roll(ids, _SHIFT_PX, 1), predicted)


def _regions(generator: np.random.Generator, size: tuple[int, int]) -> NDArray[np.intp]:
    """For each pixel the nearest of the segments' points, with ragged borders. Shape: `size`."""
    points = generator.random((_SEGMENTS, 2)) * size
    places = np.stack(np.mgrid[: size[0] : _CELL_PX, : size[1] : _CELL_PX], -1).astype(np.float64)
    places += generator.normal(0, _CELL_PX, places.shape)
    distances = (places**2).sum(-1)[..., None] - 2 * places @ points.T + (points**2).sum(-1)
    nearest: NDArray[np.intp] = distances.argmin(-1)
    return nearest.repeat(_CELL_PX, 0).repeat(_CELL_PX, 1)


def _segments(ids: NDArray[np.intp], classes: NDArray[np.int64]) -> Segments:
    mask = tv_tensors.Mask(torch.from_numpy(ids.astype(np.int16)))
    return Segments(mask, torch.from_numpy(classes), torch.zeros(len(classes), dtype=torch.bool))


def _channels(segments: Segments) -> Tensor:
    """Class and instance of each pixel, as torchmetrics has them; void is of a class that it does not know.

    Shape: (H, W, 2) int32: torchmetrics is fastest on the narrowest type that it takes.
    """
    ids = segments.ids.as_subclass(Tensor).long()
    classes = torch.cat([segments.classes, torch.tensor([_CLASSES])])  # IGNORE is -1, so void takes the last entry
    return torch.stack([classes[ids], ids], -1).int()
