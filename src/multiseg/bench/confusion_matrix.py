"""Accumulating a confusion matrix, against torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from multiseg.bench.base import Comparison
from multiseg.evaluation.iou import ConfusionMatrix
from multiseg.label_space import IGNORE

_CLASSES = 150
_SHAPE = (2, 512, 1024)
_BLOCK_PX = 16


def comparisons() -> list[Comparison]:
    """A prediction made of blocks, as real ones are made of regions, a tenth of them wrong and a tenth ignored."""
    generator = torch.Generator().manual_seed(0)
    images, height, width = _SHAPE
    grid = (images, height // _BLOCK_PX, width // _BLOCK_PX)
    truth = torch.randint(0, _CLASSES, grid, generator=generator)
    other = torch.randint(0, _CLASSES, grid, generator=generator)
    fate = torch.rand(grid, generator=generator)
    predictions = _enlarged(torch.where(fate < 0.1, other, truth))
    labels = _enlarged(truth.masked_fill(fate > 0.9, IGNORE))
    our_metric = ConfusionMatrix(_CLASSES)
    their_metric = MulticlassJaccardIndex(_CLASSES, ignore_index=IGNORE)

    def ours() -> Tensor:
        our_metric.reset()
        our_metric.update(predictions, labels)
        return our_metric.compute()

    def theirs() -> Tensor:
        their_metric.reset()
        their_metric.update(predictions, labels)
        return their_metric.confmat

    what = f"one update, {images}×{height}×{width} pixels, {_CLASSES} classes, {torch.get_num_threads()} CPU threads"
    peer = "torchmetrics MulticlassJaccardIndex"
    return [Comparison("confusion_matrix", what, ours, {peer: theirs}, torch.equal, goal=10, goal_peer=peer)]


def _enlarged(grid: Tensor) -> Tensor:
    return grid.repeat_interleave(_BLOCK_PX, 1).repeat_interleave(_BLOCK_PX, 2)
