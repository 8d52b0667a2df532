"""Sections of a report on what models hold: statistics of batch norms, and norms of convolution filters.

After the key observations of CDCL (Wang et al., arXiv 2103.11351): running means and variances differ between datasets,
filters do not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.evaluation.curves import DASHES, Line, Points, line_chart, line_sample

#: Added to variances, as torch's batch norm does before it divides: channels that are all but constant count little.
EPSILON = 1e-5
#: More lines in a chart than that, or more of one colour than there are strokes, cannot be told apart.
_LINES = 8
#: Points of a line; where sets of a run differ it runs in a zigzag, and more of it would blur.
_POINTS = 64
#: Networks of so many different layouts have charts of their own, and so many runs a table.
_LAYOUTS, _TABLES = 3, 4


@dataclass(frozen=True, eq=False)
class NormSet:
    """The running statistics of one norm of every layer.

    Args:
        datasets: whose images it has seen.
        mean: (C,) by layer.
        variance: (C,) by layer.
    """

    datasets: tuple[str, ...]
    mean: Mapping[str, NDArray[Any]]
    variance: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RunNorms:
    """The batch norms of a run's model.

    Args:
        run: its name on the page.
        trained_on: names of datasets.
        sets: one a dataset, or one for all; none where the network has no batch norm.
        shown: layers that stand for the network, from input to output.
        stages: the layers of which datasets have norms of their own, or all where none has, by stage.
        filters: of layers shown, the name of the convolution and the L2 norms (O,) of its filters.
    """

    run: str
    trained_on: tuple[str, ...]
    sets: tuple[NormSet, ...]
    shown: tuple[str, ...]
    stages: Mapping[str, tuple[str, ...]]
    filters: Mapping[str, tuple[str, NDArray[Any]]]

    @property
    def layout(self) -> tuple[tuple[str, int], ...]:
        """What another run must have in common with it to be in the same charts."""
        return tuple((layer, len(self.sets[0].mean[layer])) for layer in self.shown) if self.sets else ()


@dataclass(frozen=True, eq=False)
class _Entry:
    """Something that becomes a line: a norm set of a run, or a run."""

    run: RunNorms
    datasets: tuple[str, ...]
    norms: NormSet

    @property
    def name(self) -> str:
        together = " + ".join(self.datasets) if len(self.datasets) <= 3 else f"{len(self.datasets)} datasets"
        return f"{self.run.run}: {together}"


def norms_section(runs: Sequence[RunNorms]) -> str:
    """Charts of running means and variances of every norm set, and tables of how far sets of a run lie apart.

    Args:
        runs: in the order of the page; those without batch norms are named.

    Returns:
        nothing where no run has batch norms.
    """
    with_norms = [run for run in runs if run.sets]
    if not with_norms:
        return ""
    lead = (
        "Running mean and variance of some batch norms: the first, the last of each stage of the backbone, and the "
        "last of the decoder, as their names tell. Look for lines of different datasets that keep apart, while lines "
        "of the same dataset run together."
    )
    how = (
        "Here a colour is a dataset's, or that of several together; runs on the same differ in stroke. From left to "
        "right the channels, sorted in each chart and run by the mean over the run's own sets. Sets of one run can be "
        "compared channel by channel, runs only as distributions, since their channels have no common order. "
        f"Of more than {_POINTS} channels evenly spaced ones are drawn. The axis of variances is logarithmic."
    )
    by_layout = _by_layout(with_norms)
    out = [f"<p>{lead}</p>", f'<p class="muted small">{how}</p>']
    for members in [*by_layout.values()][:_LAYOUTS]:
        entries = [_Entry(run, norms.datasets, norms) for run in members for norms in run.sets]
        out.append(_charts(members, entries, runs, len(by_layout) > 1, _statistics_of_layer))
    out.append(_other_layouts(by_layout))
    without = [run.run for run in runs if not run.sets]
    out.append(_sentence(f"Without batch norms: {', '.join(without)}.") if without else "")
    return "".join(out) + _distances([run for run in with_norms if len(run.sets) > 1])


def filters_section(runs: Sequence[RunNorms]) -> str:
    """Charts of the sorted L2 norms of convolution filters, a line a run.

    Args:
        runs: in the order of the page.

    Returns:
        nothing where no run has filters to show.
    """
    with_filters = [run for run in runs if run.filters]
    if not with_filters:
        return ""
    lead = (
        "L2 norm of every filter of the convolutions beside the batch norms above. Look for runs on different "
        "datasets whose lines have the same height and shape."
    )
    how = (
        "From left to right the filters of a convolution, each run's sorted from large to small; of more than "
        f"{_POINTS} evenly spaced ones are drawn. Equal lines say that norms are distributed alike, not that the "
        "filters are the same; and where training moved the weights little, they may be equal because they began so."
    )
    by_layout = _by_layout(with_filters)
    out = [f"<p>{lead}</p>", f'<p class="muted small">{how}</p>']
    for members in [*by_layout.values()][:_LAYOUTS]:
        entries = [_Entry(run, run.trained_on, run.sets[0]) for run in members]
        out.append(_charts(members, entries, runs, len(by_layout) > 1, _filters_of_layer))
    return "".join(out) + _other_layouts(by_layout)


def distance(first: NormSet, second: NormSet, layer: str) -> float:
    """How far two norms of a layer lie apart, the mean over channels of

        ((μ_a - μ_b)² + (σ_a - σ_b)²) / (σ_a² + σ_b²),

    where σ² is the running variance and an ε of 1e-5. It is zero for equal norms, and 1/2 where all means lie one
    standard deviation apart and all variances are equal.
    """
    variances = [norms.variance[layer] + EPSILON for norms in (first, second)]
    means = first.mean[layer] - second.mean[layer]
    deviations = np.sqrt(variances[0]) - np.sqrt(variances[1])
    return float(((means**2 + deviations**2) / (variances[0] + variances[1])).mean())


# Charts


def _by_layout(runs: Iterable[RunNorms]) -> dict[tuple[tuple[str, int], ...], list[RunNorms]]:
    groups: dict[tuple[tuple[str, int], ...], list[RunNorms]] = {}
    for run in runs:
        groups.setdefault(run.layout, []).append(run)
    return groups


def _other_layouts(groups: Mapping[Any, Sequence[RunNorms]]) -> str:
    others = [run.run for members in [*groups.values()][_LAYOUTS:] for run in members]
    return _sentence(f"Not drawn, since their networks have yet other layers: {', '.join(others)}.") if others else ""


def _charts(
    members: Sequence[RunNorms],
    entries: Sequence[_Entry],
    runs: Sequence[RunNorms],
    named: bool,
    figures: Callable[[str, Sequence[_Entry], Sequence[Line]], str],
) -> str:
    """Key and charts of networks with the same layers.

    Args:
        members: runs with such networks.
        entries: what could be drawn of them.
        runs: all of the page, which share colours.
        named: the networks must be told from others.
        figures: draws a layer; of the lines it takes name, colour and stroke.
    """
    palette = _palette(runs)
    drawn = _choose(entries, palette)
    used: Counter[int] = Counter()
    lines = []
    for entry in drawn:
        color = palette[entry.datasets]
        lines.append(Line(entry.name, color, (), used[color]))
        used[color] += 1
    key = "".join(
        f'<li><span class="run">{line_sample(line)}<span>{_breakable(line.name)}</span></span></li>' for line in lines
    )
    heading = f"<h3>{_breakable(', '.join(run.run for run in members))}</h3>" if named else ""
    left_out = [entry.name for entry in entries if entry not in drawn]
    note = _sentence(f"Not drawn, so that lines can be told apart: {', '.join(left_out)}.") if left_out else ""
    charts = "".join(figures(layer, drawn, lines) for layer in members[0].shown)
    return f'{heading}<ul class="key">{key}</ul>{note}<div class="charts">{charts}</div>'


def _palette(runs: Sequence[RunNorms]) -> dict[tuple[str, ...], int]:
    """A colour for each dataset, and then for what was trained on several together; the same in all charts."""
    seen = [datasets for run in runs for datasets in (*(norms.datasets for norms in run.sets), run.trained_on)]
    return {datasets: color for color, datasets in enumerate(sorted(dict.fromkeys(seen), key=lambda d: len(d) > 1))}


def _choose(entries: Sequence[_Entry], palette: Mapping[tuple[str, ...], int]) -> list[_Entry]:
    """As many entries as can be told apart, in their order.

    One of each kind comes before repetitions such as other seeds.
    """
    kinds: Counter[Any] = Counter()
    ranks = []
    for entry in entries:
        kind = (entry.datasets, entry.run.trained_on)
        ranks.append((kinds[kind], len(entry.run.sets) == 1))
        kinds[kind] += 1
    colors: Counter[int] = Counter()
    chosen: list[int] = []
    for index in sorted(range(len(entries)), key=lambda index: ranks[index]):
        color = palette[entries[index].datasets]
        if len(chosen) < _LINES and colors[color] < len(DASHES):
            chosen.append(index)
            colors[color] += 1
    return [entries[index] for index in sorted(chosen)]


def _statistics_of_layer(layer: str, entries: Sequence[_Entry], lines: Sequence[Line]) -> str:
    out = []
    for what in ("mean", "variance"):
        points = []
        for entry in entries:
            own = [getattr(norms, what)[layer] for norms in entry.run.sets]
            order = np.argsort(np.mean(own, axis=0), kind="stable")
            values = getattr(entry.norms, what)[layer][order]
            points.append(_spread(values + EPSILON if what == "variance" else values))
        title = f"{_short(layer)}: running {what}"
        out.append(_figure(title, lines, points, axis="channel", logarithmic=what == "variance"))
    return "".join(out)


def _filters_of_layer(layer: str, entries: Sequence[_Entry], lines: Sequence[Line]) -> str:
    known = [
        (entry.run.filters[layer], line)
        for entry, line in zip(entries, lines, strict=True)
        if layer in entry.run.filters
    ]
    if not known:
        return ""
    points = [_spread(np.sort(norms)[::-1]) for (_, norms), _ in known]
    title = f"{_short(known[0][0][0])}: norm of filters"
    return _figure(title, [line for _, line in known], points, axis="filter", from_zero=True)


def _figure(title: str, lines: Sequence[Line], points: Sequence[Points], **options: Any) -> str:
    drawn = [Line(line.name, line.color, own, line.dash) for line, own in zip(lines, points, strict=True)]
    return f"<figure><h3>{_breakable(title)}</h3>{line_chart(title, drawn, smoothed=False, **options)}</figure>"


def _spread(values: NDArray[Any]) -> Points:
    """Values by place, from 1; of many, evenly spaced ones with the first and the last."""
    places = np.unique(np.linspace(0, len(values) - 1, min(_POINTS, len(values))).round().astype(int))
    return [(float(place + 1), float(values[place])) for place in places]


# Tables


def _distances(runs: Sequence[RunNorms]) -> str:
    """How far the sets of each run lie apart, stage by stage."""
    if not runs:
        return ""
    how = (
        "How far the norms of datasets a and b lie apart: the mean over channels of "
        "((μ<sub>a</sub> − μ<sub>b</sub>)² + (σ<sub>a</sub> − σ<sub>b</sub>)²) / (σ<sub>a</sub>² + σ<sub>b</sub>²), "
        "with the running mean μ and the running variance σ², to which 1e-5 is added as in the norm. "
        "0 is equal; 0.5 is means one standard deviation apart at equal variances. A stage is the mean over its norms."
    )
    out = ["<h3>Distance between the norms of datasets</h3>", f'<p class="muted small">{how}</p>']
    out += [_distance_table(run) for run in runs[:_TABLES]]
    if others := [run.run for run in runs[_TABLES:]]:
        out.append(_sentence(f"Without a table, since there are many: {', '.join(others)}."))
    return "".join(out)


def _distance_table(run: RunNorms) -> str:
    pairs = list(itertools.combinations(run.sets, 2))
    rows = []
    totals = [0.0] * len(pairs)
    layers = 0
    for stage, members in run.stages.items():
        found = [[distance(*pair, layer) for layer in members] for pair in pairs]
        totals = [total + sum(own) for total, own in zip(totals, found, strict=True)]
        layers += len(members)
        rows.append(
            _distance_row(_breakable(_short(stage)), pairs, [sum(own) / len(own) for own in found], len(members), "")
        )
    means = [total / max(1, layers) for total in totals]
    rows.append(_distance_row("all norms", pairs, means, layers, ' class="together"'))
    head = "<th>stage</th><th>norms</th>" + (
        "<th>distance</th>"
        if len(pairs) == 1
        else '<th>mean of pairs</th><th class="text">nearest pair</th><th class="text">farthest pair</th>'
    )
    names = [norms.datasets[0] for norms in run.sets]
    if len(pairs) == 1:
        said = f"{run.run}: {names[0]} and {names[1]}."
    else:
        said = f"{run.run}: {len(names)} datasets, {len(pairs)} pairs; nearest {_pair(pairs, means, min)}."
    return (
        f'<p>{escape(said)}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _distance_row(
    name: str, pairs: Sequence[tuple[NormSet, NormSet]], values: Sequence[float], layers: int, kind: str
) -> str:
    cells = [f"<td>{layers}</td>", f"<td>{sum(values) / len(values):.3f}</td>"]
    if len(pairs) > 1:
        cells += [f'<td class="text">{escape(_pair(pairs, values, choice))}</td>' for choice in (min, max)]
    return f"<tr{kind}><th>{name}</th>{''.join(cells)}</tr>"


def _pair(pairs: Sequence[tuple[NormSet, NormSet]], values: Sequence[float], choice: Any) -> str:
    at = choice(range(len(values)), key=values.__getitem__)
    first, second = pairs[at]
    return f"{first.datasets[0]} and {second.datasets[0]} ({values[at]:.3f})"


# Pieces


def _short(layer: str) -> str:
    return layer.removeprefix("network.")


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _sentence(text: str) -> str:
    return f'<p class="muted small">{escape(text)}</p>'
