"""Section of a report on mix-and-match tuning: its curves, and what larger graphs bring and cost.

The charts against graph size are Figure 5 of M&M (Zhan et al., AAAI 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from multiseg.evaluation.curves import COLORS, Line, line_chart, line_sample
from multiseg.evaluation.page_pieces import run_chart, run_charts
from multiseg.evaluation.run_summary import RunSummary


@dataclass(frozen=True)
class Tuning:
    """A run of mix-and-match tuning.

    Args:
        name: on the page, or of its folder where it is not on it.
        path: of its folder; no two have the same.
        kind: tunings of one kind are joined by a line.
        nodes: of a graph; None: unknown.
        seconds: an update; None: unknown.
    """

    name: str
    path: str
    kind: str
    nodes: int | None
    seconds: float | None


@dataclass(frozen=True)
class _Point:
    name: str
    kind: str
    nodes: int
    value: float


def tuning_curves(runs: Sequence[RunSummary]) -> str:
    """Loss and share of ordered triplets of each tuning.

    Args:
        runs: coloured, in the order of the page; those that are no tunings are left out.

    Returns:
        nothing where no run is one.
    """
    own = [run for run in runs if "ordered" in run.curves]
    if not own:
        return ""
    charts = run_chart(own, "loss", "loss", from_zero=True)
    charts += run_chart(own, "ordered", "share of triplets in order")
    lead = (
        "A triplet is in order where its positive is nearer than its negative. Of random features half are. Losses can "
        "be compared where the margin is the same."
    )
    return f'<p class="muted small">{lead}</p>{run_charts(own, charts, ["loss", "ordered"])}'


def graph_size_charts(runs: Sequence[RunSummary], tunings: Mapping[str, Tuning]) -> str:
    """For each set of datasets the mean mIoU of runs against the size of the graph with which their backbone was tuned,
    and the time of an update of the tunings.

    Args:
        runs: of the page.
        tunings: by the name of a run the tuning that it is or was fine-tuned from.

    Returns:
        nothing where all known graphs are of one size.
    """
    tuned = [run for run in runs if run.name in tunings and run.scores]
    sets = list(dict.fromkeys(frozenset(run.trained_on) for run in tuned))
    figures: list[tuple[list[_Point], str, str]] = []
    for datasets in sets:
        points = []
        for run in (run for run in tuned if frozenset(run.trained_on) == datasets):
            tuning, scores = tunings[run.name], [run.score(name) for name in datasets]
            if tuning.nodes is not None and not math.isnan(mean := sum(scores) / len(scores)):
                points.append(_Point(run.name, f"{run.method} {tuning.kind}", tuning.nodes, mean))
        if _sizes(points) > 1:
            what = "mIoU" if len(datasets) == 1 else "mean mIoU"
            figures.append((points, f"{what} of {', '.join(sorted(datasets))}", f"{what}, %"))
    costs = [
        _Point(tuning.name, tuning.kind, tuning.nodes, tuning.seconds)
        for tuning in {tuning.path: tuning for tuning in tunings.values()}.values()
        if tuning.nodes is not None and tuning.seconds is not None
    ]
    if _sizes(costs) > 1:
        figures.append((costs, "time of tuning", "seconds an update"))
    if not figures:
        return ""
    said = (
        "Nodes are the patches of a batch. A point for each run, a line through the means of those that are alike: the "
        "same method, tuned from the same start. Time is that of a whole tuning over its updates, on the machine on "
        "which it was made."
    )
    charts = "".join(_chart(*entry) for entry in figures)
    return f'<h3>Size of the graph</h3><p class="muted small">{said}</p><div class="charts">{charts}</div>'


def _sizes(points: Sequence[_Point]) -> int:
    return len({point.nodes for point in points})


def _chart(points: Sequence[_Point], title: str, axis: str) -> str:
    kinds = list(dict.fromkeys(point.kind for point in points))
    dots, lines = [], []
    for place, kind in enumerate(kinds):
        own = [point for point in points if point.kind == kind]
        at = {nodes: [point.value for point in own if point.nodes == nodes] for nodes in sorted({p.nodes for p in own})}
        lines.append(Line(kind, place, [(nodes, sum(some) / len(some)) for nodes, some in at.items()], marked=False))
        dots += [Line(point.name, place, [(point.nodes, point.value)]) for point in own]
    keys = "".join(
        f'<li class="run run{place % COLORS}">{line_sample(Line(kind, place, ()))}{escape(kind)}</li>'
        for place, kind in enumerate(kinds)
    )
    from_zero = axis.startswith("seconds")
    chart = line_chart(
        title, [*lines, *dots], from_zero, axis="nodes:", smoothed=False, titles=("nodes of the graph", axis)
    )
    return f'<figure><h3>{escape(title)}</h3><ul class="key">{keys}</ul>{chart}</figure>'
