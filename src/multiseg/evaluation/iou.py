"""Intersection over union and accuracy, from one confusion matrix a dataset.

Counts are summed over all images before anything is divided, as the benchmarks do: a mean of per-image mIoU is another
number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from multiseg.evaluation.panoptic_quality import PanopticScores
from multiseg.label_space import IGNORE

#: Pixels counted at a time on a CPU: the temporaries of a piece stay in the cache, and torch wakes no threads for it.
_PIECE = 2**15


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How often each class was predicted where each class is true.

    On an accelerator the check of the range costs a synchronisation; `ConfusionMatrix` puts it off to the end.

    Args:
        predictions: 0..K-1, any integer type.
        labels: 0..K-1 or `IGNORE` (not counted), any integer type.
        num_classes: K.

    Shape:
        predictions, labels: equal, any; returns: (K, K) int64, rows are truth and columns prediction.

    Raises:
        ValueError: shapes differ, or a value is out of range.
    """
    return _inner(_count(predictions, labels, num_classes))


def _count(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """A confusion matrix with a rim for what is out of range, so that nothing need be filtered or looked at first.

    Counting is an integer `scatter_add_`: unlike `bincount` it neither synchronises with an accelerator nor is refused
    by `torch.use_deterministic_algorithms`, and on a CPU it is no slower.

    Shape: (K + 3, K + 2) int64. Rows: below `IGNORE`, `IGNORE`, the classes, above. Columns: below, the classes, above.
    """
    if predictions.shape != labels.shape:
        raise ValueError(f"predictions are {tuple(predictions.shape)}, but labels {tuple(labels.shape)}.")
    rows, columns = num_classes + 3, num_classes + 2
    counts = torch.zeros(rows * columns, dtype=torch.int64, device=labels.device)
    one = torch.ones(1, dtype=torch.int64, device=labels.device)
    piece = min(_PIECE, labels.numel()) if labels.device.type == "cpu" else labels.numel()
    row, index = torch.empty(2, piece, dtype=torch.int64, device=labels.device)  # kept: allocating costs as much again
    pieces = zip(*(torch.split(maps.reshape(-1), max(piece, 1)) for maps in (labels, predictions)), strict=True)
    for true, predicted in pieces:
        number = len(true)
        torch.clamp(true.long(), IGNORE - 1, num_classes, out=row[:number])
        torch.clamp(predicted.long(), -1, num_classes, out=index[:number])
        index[:number].add_(row[:number], alpha=columns).add_(1 - (IGNORE - 1) * columns)
        counts.scatter_add_(0, index[:number], one.expand(number))
    return counts.view(rows, columns)


def _inner(counts: Tensor) -> Tensor:
    """The matrix without its rim, which must be empty.

    Raises:
        ValueError: it is not.
    """
    num_classes = len(counts) - 3
    inner = counts[2:-1, 1:-1].clone()
    wrong_labels = int(counts[0].sum() + counts[-1].sum())
    if wrong_labels:
        raise ValueError(f"{wrong_labels} labels are neither {IGNORE} (ignored) nor in 0..{num_classes - 1}.")
    wrong_predictions = int(counts[2:-1].sum() - inner.sum())
    if wrong_predictions:
        raise ValueError(f"{wrong_predictions} predictions of labelled pixels are not in 0..{num_classes - 1}.")
    return inner


@dataclass(frozen=True)
class Scores:
    """In percent. A class counts as present if a pixel of it is labelled; the means are over the present classes.

    A class that is only predicted has no score of its own: it is absent, but its pixels are missed by the true classes
    and so lower their scores. Where nothing at all is labelled the means are NaN.

    Args:
        miou: mean of `per_class`.
        mean_accuracy: mean recall of the present classes.
        pixel_accuracy: share of the labelled pixels that are right.
        per_class: intersection over union of the present classes, by name, in the order of the label space.
        absent: names of the others.
        panoptic: of the segments, where they were judged, too.
    """

    miou: float
    mean_accuracy: float
    pixel_accuracy: float
    per_class: dict[str, float]
    absent: tuple[str, ...]
    panoptic: PanopticScores | None = None

    def to_json(self) -> dict[str, Any]:
        """As in a run's `metrics.json`; NaN becomes None, which JSON can hold."""
        means = {"mIoU": self.miou, "mean_accuracy": self.mean_accuracy, "pixel_accuracy": self.pixel_accuracy}
        written = {name: None if math.isnan(value) else value for name, value in means.items()}
        segments = self.panoptic.to_json() if self.panoptic else {}
        return {**written, "per_class": dict(self.per_class), "absent": list(self.absent), **segments}


def scores(matrix: Tensor, names: Sequence[str]) -> Scores:
    """The scores of a confusion matrix.

        IoU_k = M_kk / (Σ_j M_kj + Σ_i M_ik - M_kk)

    Args:
        matrix: (K, K), rows are truth.
        names: of the K classes.

    Raises:
        ValueError: there are not K names.
    """
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} class names for a confusion matrix of shape {tuple(matrix.shape)}.")
    counts = matrix.cpu().double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    present = true > 0
    iou = 100 * (right / (true + predicted - right))[present]
    recall = 100 * (right / true)[present]
    shown = [name for name, here in zip(names, present.tolist(), strict=True) if here]
    absent = tuple(name for name, here in zip(names, present.tolist(), strict=True) if not here)
    pixel_accuracy = 100 * right.sum() / true.sum()
    per_class = dict(zip(shown, iou.tolist(), strict=True))
    return Scores(iou.mean().item(), recall.mean().item(), pixel_accuracy.item(), per_class, absent)


def means(scores: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean mIoU, and where segments were judged mean PQ, over the datasets that have one; None where nothing was
    labelled.
    """
    entries = list(scores)
    keys = ["mIoU", *(["PQ"] if any("PQ" in entry for entry in entries) else [])]
    known = {key: [entry[key] for entry in entries if entry.get(key) is not None] for key in keys}
    return {key: sum(values) / len(values) if values else None for key, values in known.items()}


class ConfusionMatrix(Metric):
    """`confusion_matrix` summed over batches and processes; one a dataset, read by `scores`.

    Args:
        num_classes: K.

    Raises:
        ValueError: in `compute`, if a label or a prediction was out of range.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        empty = torch.zeros(num_classes + 3, num_classes + 2, dtype=torch.int64)
        self.add_state("counts", empty, dist_reduce_fx="sum")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Shape: equal, any; see `confusion_matrix`."""
        self.counts += _count(predictions, labels, self.num_classes)

    def compute(self) -> Tensor:
        """Shape: (K, K) int64."""
        return _inner(self.counts)
