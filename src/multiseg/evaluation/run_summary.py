"""What a report knows of runs, and which of them are compared with which."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from multiseg.evaluation.curves import Points
from multiseg.evaluation.iou import Scores

#: What runs are judged by.
Measure = Literal["mIoU", "PQ"]


@dataclass(frozen=True)
class RunSummary:
    """What the page knows of a run.

    Args:
        name: short, and no other run's on the page.
        path: of its folder, as one would type it.
        config: the text of its config.yaml.
        trained_on: names of the datasets it was trained on.
        method: as in its metrics.
        step: optimiser updates.
        seconds: of training, validations included.
        images: seen in training, each as often as it was.
        scores: by dataset.
        curves: what was logged, by column of its log.
        notes: sentences on what is missing.
        color: on the page; `render_report` chooses it.
        proxy: by dataset the scores of a proxy task on held-out images, by name.
    """

    name: str
    path: str
    config: str
    trained_on: tuple[str, ...]
    method: str = ""
    step: int | None = None
    seconds: float | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    curves: Mapping[str, Points] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    color: int = 0
    images: int | None = None
    proxy: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def prepares(self) -> bool:
        """Whether it only prepares a network: a proxy task, or a tuning of patches. The page has sections for these."""
        return bool(self.proxy) or "ordered" in self.curves

    @property
    def several(self) -> bool:
        """Whether it was trained on more than one dataset."""
        return len(self.trained_on) > 1

    def score(self, dataset: str, measure: Measure = "mIoU") -> float:
        """In percent; NaN where it has none."""
        if dataset not in self.scores:
            return math.nan
        scores = self.scores[dataset]
        if measure == "mIoU":
            return scores.miou
        return scores.panoptic.all.pq if scores.panoptic else math.nan


@dataclass(frozen=True)
class RunGroup:
    """Models of one method, one for each of several datasets: together they do what one model of all of them does, and
    cost what they cost together (LMSeg, Table 1).

    Args:
        name: on the page.
        runs: each trained on another dataset alone.
    """

    name: str
    runs: tuple[RunSummary, ...]

    @property
    def method(self) -> str:
        return self.runs[0].method

    @property
    def trained_on(self) -> tuple[str, ...]:
        return tuple(run.trained_on[0] for run in self.runs)

    @property
    def images(self) -> int | None:
        """Seen in training by all together; None where it is not known of one."""
        known = [run.images for run in self.runs if run.images is not None]
        return sum(known) if len(known) == len(self.runs) else None

    def score(self, dataset: str, measure: Measure = "mIoU") -> float:
        """Of the model of the dataset; NaN where there is none."""
        own = next((run for run in self.runs if run.trained_on == (dataset,)), None)
        return own.score(dataset, measure) if own else math.nan


def group_singles(runs: Sequence[RunSummary]) -> list[RunGroup]:
    """The runs on single datasets that can stand beside a run on several, put together.

    For every set of datasets that some run was trained on, and every method with a run on each of them alone. Where
    there are several such runs for each dataset, the cheapest of each are a group, then the second, and so on, as if
    each group were a row of a table at one cost; runs of equal cost are taken in the order given. What is left over
    where a dataset has more than another is in no group.

    Returns:
        for each set the groups by method, of each the cheapest first.
    """
    targets = {frozenset(run.trained_on): run.trained_on for run in reversed(runs) if run.several}
    methods = list(dict.fromkeys(run.method for run in runs if run.method and len(run.trained_on) == 1))
    groups: list[tuple[tuple[str, ...], tuple[RunSummary, ...]]] = []
    for names in reversed(targets.values()):
        for method in methods:
            of_method = [run for run in runs if run.method == method]
            ranked = [
                sorted((run for run in of_method if run.trained_on == (name,)), key=lambda run: run.images or 0)
                for name in names
            ]
            groups += [(names, members) for members in zip(*ranked, strict=False)]
    # what tells groups apart is in their names: the datasets, and a number where a method has several
    titles = [
        f"{members[0].method}, one model each" + (f" of {', '.join(names)}" if len(targets) > 1 else "")
        for names, members in groups
    ]
    numbered = [
        f"{title} ({titles[:place].count(title) + 1})" if titles.count(title) > 1 else title
        for place, title in enumerate(titles)
    ]
    return [RunGroup(name, members) for name, (_, members) in zip(numbered, groups, strict=True)]


def dataset_names(runs: Iterable[RunSummary]) -> list[str]:
    """Every dataset that a run has scores on, in order of first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def best_single(runs: Iterable[RunSummary], dataset: str, measure: Measure = "mIoU") -> RunSummary | None:
    """The run to measure gains on a dataset against: the best of those trained on it alone."""
    alone = [run for run in runs if run.trained_on == (dataset,) and not math.isnan(run.score(dataset, measure))]
    return max(alone, key=lambda run: run.score(dataset, measure), default=None)


def last_multi(runs: Iterable[RunSummary], dataset: str) -> RunSummary | None:
    """The last of the runs trained on several datasets that has scores on this one."""
    return next((run for run in reversed([*runs]) if run.several and dataset in run.scores), None)


def with_colors(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Runs with a colour each: another one than that of every run it shares a dataset with.

    Runs that are each on another dataset alone never meet in a chart. They share a colour, so that few are needed.
    """
    out: list[RunSummary] = []
    for run in runs:
        taken = {other.color for other in out if _datasets(run) & _datasets(other)}
        out.append(replace(run, color=next(color for color in itertools.count() if color not in taken)))
    return out


def _datasets(run: RunSummary) -> set[str]:
    return {*run.trained_on, *run.scores}
