"""Panoptic quality (Kirillov et al., "Panoptic segmentation", CVPR 2019, section 4).

For each class, over all images before anything is divided,

    PQ = Σ IoU / (TP + FP/2 + FN/2) = SQ · RQ,    SQ = Σ IoU / TP,    RQ = TP / (TP + FP/2 + FN/2)

where the sum is over the pairs of a true and a predicted segment that match (TP), FP counts predicted segments without
a match and FN true ones. What void and crowds change is as in section 4.1 and in the authors' panopticapi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from multiseg.batch import Segments
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.runs import Runs

#: Up to this many pairs of segments are counted in a table; beyond, only the pairs that occur, which takes sorting.
_TABLE_MAX = 2**20

#: Columns of the sums.
_IOU, _TP, _FP, _FN = range(4)


def match_segments(true: Segments, predicted: Segments, num_classes: int) -> Tensor:
    """What one image adds to the panoptic quality of each class.

    - A predicted and a true segment of one class match if IoU > 0.5. The union leaves out what of the prediction lies
      on void. A segment can have one match only.
    - A crowd is not matched and not missed.
    - A predicted segment without a match is no false positive if more than half of it lies on void or on crowds of its
      class. (panopticapi looks at one crowd a class, and COCO has no more.)
    - A segment without a pixel does not count. Whether a predicted segment is a crowd does not matter.

    Args:
        true: the truth.
        predicted: at the same size.
        num_classes: K.

    Shape:
        returns: (K, 4) float64 on the CPU: sum of the IoU of the matches, TP, FP, FN.

    Raises:
        ValueError: the sizes differ, or an id or a class is out of range.
    """
    true_class, predicted_class = _classes(true, num_classes, "true"), _classes(predicted, num_classes, "predicted")
    t, p, pixels = _overlaps(true, predicted)  # place 0 is void
    true_area = np.bincount(t, pixels, len(true_class))
    predicted_area = np.bincount(p, pixels, len(predicted_class))
    on_void = np.bincount(p, np.where(t == 0, pixels, 0), len(predicted_class))
    crowd = np.append(False, true.crowd.cpu().numpy())

    agree = (true_class[t] == predicted_class[p]) & (true_class[t] != IGNORE)
    union = predicted_area[p] - on_void[p] + true_area[t] - pixels
    matches = agree & ~crowd[t] & (2 * pixels > union)
    forgiven = on_void + np.bincount(p, np.where(agree & crowd[t], pixels, 0), len(predicted_class))

    missed = (true_area > 0) & ~crowd
    missed[t[matches]] = False
    wrong = (predicted_area > 0) & (2 * forgiven <= predicted_area)
    wrong[p[matches]] = False
    missed[0] = wrong[0] = False

    hit = true_class[t[matches]]
    sums = np.empty((num_classes, 4))
    sums[:, _IOU] = np.bincount(hit, pixels[matches] / union[matches], num_classes)
    for column, found in ((_TP, hit), (_FP, predicted_class[wrong]), (_FN, true_class[missed])):
        sums[:, column] = np.bincount(found, minlength=num_classes)
    return torch.from_numpy(sums)


def _classes(segments: Segments, num_classes: int, whose: str) -> NDArray[np.int64]:
    """The class of each place, that of void (0) being `IGNORE`. Shape: (S + 1,)."""
    classes: NDArray[np.int64] = np.append(IGNORE, segments.classes.cpu().numpy())
    if len(classes) > 1 and not 0 <= classes[1:].min() <= classes[1:].max() < num_classes:
        raise ValueError(f"a class of the {whose} segments is not in 0..{num_classes - 1}.")
    return classes


def _overlaps(true: Segments, predicted: Segments) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """The pairs of segments that share pixels: places in either list, 0 for void and i + 1 for segment i; and how many.

    Counted run by run: on maps of regions more than twice as fast as pixel by pixel.
    """
    if true.ids.shape != predicted.ids.shape:
        raise ValueError(
            f"the predicted segments are {tuple(predicted.ids.shape)}, but the true {tuple(true.ids.shape)}."
        )
    runs = Runs.together(true.ids.cpu().numpy(), predicted.ids.cpu().numpy())
    t, p = (_places(part, len(segments)) for part, segments in zip(runs, (true, predicted), strict=True))
    width = len(predicted) + 1
    keys, lengths = t * width + p, runs[0].lengths
    if (len(true) + 1) * width <= _TABLE_MAX:
        table = np.bincount(keys, lengths)
        pairs = np.flatnonzero(table).astype(np.int64)
        pixels = table[pairs]
    else:
        pairs, place = np.unique(keys, return_inverse=True)
        pixels = np.bincount(place, lengths)
    return pairs // width, pairs % width, pixels


def _places(runs: Runs, count: int) -> NDArray[np.int64]:
    """Ids to places from 0, which is void."""
    places = runs.values.astype(np.int64) - IGNORE
    if places.size and not 0 <= places.min() <= places.max() <= count:
        raise ValueError(f"an id of a map of {count} segments is neither {IGNORE} (void) nor in 0..{count - 1}.")
    return places


class PanopticQuality(Metric):
    """`match_segments` summed over images and processes; one a dataset, read by `panoptic_scores`.

    Args:
        num_classes: K.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("sums", torch.zeros(num_classes, 4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, true: Segments, predicted: Segments) -> None:
        """One image; see `match_segments`."""
        self.sums += match_segments(true, predicted, self.num_classes).to(self.sums.device)

    def compute(self) -> Tensor:
        """Shape: (K, 4) float64."""
        return self.sums.clone()  # torchmetrics 1.4 would hand out the state itself


@dataclass(frozen=True)
class Quality:
    """In percent; NaN where there is no class to take the mean of.

    Args:
        pq: panoptic quality.
        sq: segmentation quality, the mean IoU of the matches; 0 without a match.
        rq: recognition quality, the F1 score of the matching.
    """

    pq: float
    sq: float
    rq: float

    def to_json(self, suffix: str = "") -> dict[str, float | None]:
        """The three with `suffix` behind their names; NaN becomes None, which JSON can hold."""
        values = {"PQ": self.pq, "SQ": self.sq, "RQ": self.rq}
        return {name + suffix: None if math.isnan(value) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], suffix: str = "") -> Quality:
        """What `to_json` gave; what is missing is NaN."""
        known = [entry.get(name + suffix) for name in ("PQ", "SQ", "RQ")]
        return cls(*(math.nan if value is None else float(value) for value in known))


@dataclass(frozen=True)
class PanopticScores:
    """A class counts as present if it was true or predicted somewhere (TP + FP + FN > 0); means are over those.

    So, as in panopticapi, a class that is only predicted has PQ 0. The mean PQ is no product of the mean SQ and RQ.

    Args:
        all: mean over all classes.
        things: mean over the things.
        stuff: mean over the others.
        per_class: of the classes present, by name, in the order of the label space.
        absent: names of the others.
    """

    all: Quality
    things: Quality
    stuff: Quality
    per_class: dict[str, Quality]
    absent: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in a run's `metrics.json`."""
        return {
            **self.all.to_json(),
            **self.things.to_json("_things"),
            **self.stuff.to_json("_stuff"),
            "PQ_per_class": {name: quality.to_json() for name, quality in self.per_class.items()},
            "PQ_absent": list(self.absent),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> PanopticScores:
        """What `to_json` gave, among other things; what is missing is NaN."""
        per_class = {name: Quality.from_json(own) for name, own in entry.get("PQ_per_class", {}).items()}
        of_all, things, stuff = (Quality.from_json(entry, suffix) for suffix in ("", "_things", "_stuff"))
        return cls(of_all, things, stuff, per_class, tuple(entry.get("PQ_absent", ())))


def panoptic_scores(sums: Tensor, space: LabelSpace) -> PanopticScores:
    """The scores of the sums of `match_segments`.

    Args:
        sums: (K, 4).
        space: names of the K classes, and which are things.

    Raises:
        ValueError: there are not K classes.
    """
    if sums.shape != (len(space), 4):
        raise ValueError(f"'{space.name}' has {len(space)} classes, but the sums have shape {tuple(sums.shape)}.")
    counts = sums.cpu().double().numpy()
    present = counts[:, _TP:].sum(1) > 0
    iou, tp, fp, fn = counts[present].T
    sq, rq = iou / tp.clip(1), tp / (tp + fp / 2 + fn / 2)
    qualities = 100 * np.stack([sq * rq, sq, rq], 1)
    things = space.things[present]
    shown = np.array(space.names, object)
    return PanopticScores(
        _mean(qualities),
        _mean(qualities[things]),
        _mean(qualities[~things]),
        {name: Quality(*row) for name, row in zip(shown[present], qualities.tolist(), strict=True)},
        tuple(shown[~present]),
    )


def _mean(qualities: NDArray[np.float64]) -> Quality:
    return Quality(*qualities.mean(0).tolist()) if len(qualities) else Quality(math.nan, math.nan, math.nan)
