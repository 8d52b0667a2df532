"""Section of a report on scores: tables of mIoU and panoptic quality by dataset, and both against the cost of training.

The tables are laid out as those of LMSeg (Zhou et al., ICLR 2023, Tables 1 to 3), the chart is its Figure 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from multiseg.evaluation.curves import COLORS, Line, line_chart, line_sample
from multiseg.evaluation.page_pieces import count_of, decimal, gain_of, paragraphs, run_chip, signed
from multiseg.evaluation.panoptic_quality import PanopticScores, Quality
from multiseg.evaluation.run_summary import Measure, RunGroup, RunSummary, best_single, group_singles

#: What the tables say of their figures.
_LEADS: dict[Measure, str] = {
    "mIoU": "mIoU in percent on the validation split of each dataset; the best of each column is bold.",
    "PQ": "Panoptic quality (PQ) in percent on the validation split of each dataset, with its number of classes; the "
    "best of each column is bold.",
}


def scores_section(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    """The tables and the chart.

    Args:
        runs: coloured, in the order of the page.
        datasets: those that any of the runs has scores on.
    """
    if not datasets:
        return "<p>No run has scores yet.</p>"
    groups = group_singles(runs)
    panoptic = [name for name in datasets if any(not math.isnan(run.score(name, "PQ")) for run in runs)]
    out = [_heading("Semantic segmentation") if panoptic else "", _table(runs, groups, datasets, "mIoU")]
    if panoptic:
        judged = [run for run in runs if any(not math.isnan(run.score(name, "PQ")) for name in panoptic)]
        in_judged = [group for group in groups if all(run in judged for run in group.runs)]
        out += [_heading("Panoptic segmentation"), _table(judged, in_judged, panoptic, "PQ")]
        out.append(_qualities(judged, panoptic))
    said = [f"{group.name}: {', '.join(run.name for run in group.runs)}; cost is their sum." for group in groups]
    out += [paragraphs(said), _cost_charts(runs, groups)]
    return "".join(out)


# Tables


def _table(runs: Sequence[RunSummary], groups: Sequence[RunGroup], datasets: Sequence[str], measure: Measure) -> str:
    """A row a run, a group, and where there are any gains to show what they are measured against."""
    singles = {name: single for name in datasets if (single := best_single(runs, name, measure))}
    alone = {name: single.score(name, measure) for name, single in singles.items()}
    complete = len(datasets) > 1 and len(singles) == len(datasets)
    several = any([run.trained_on for run in runs].count((name,)) > 1 for name in datasets)
    # a group of the same models says it already
    together = complete and not any(_names(group.runs) == _names(singles.values()) for group in groups)
    best_of = "the best model for each dataset alone" if several else "one model for each dataset"
    every: list[RunSummary | RunGroup] = [*runs, *groups]
    rows = [{name: entry.score(name, measure) for name in datasets} for entry in every]
    rows += [alone] * together
    means = [sum(row.values()) / len(datasets) for row in rows]
    alone_mean = sum(alone.values()) / len(datasets) if complete else math.nan
    # a group has its members' figures, which are in rows of their own
    best = {name: _best(row[name] for row in rows[: len(runs)]) for name in datasets}
    best_mean = _best(means)
    with_cost = any(run.images is not None for run in runs)

    body = []
    for run, row, mean in zip(runs, rows, means, strict=False):
        gains = {name: row[name] - alone[name] for name in datasets if run.several and name in alone}
        cells = [_score(row[name], best[name], gains.get(name), _details(run, name)) for name in datasets]
        if len(datasets) > 1:
            cells.append(_score(mean, best_mean, mean - alone_mean if run.several and complete else None))
        body.append(f"<tr><th>{run_chip(run)}</th>{_facts(run.method, run.images, with_cost)}{''.join(cells)}</tr>")
    named = [*((group.name, group.method, group.images) for group in groups), *([(best_of, "", None)] * together)]
    for (name, method, images), row, mean in zip(named, rows[len(runs) :], means[len(runs) :], strict=True):
        cells = [_score(row[dataset], math.nan) for dataset in datasets]
        cells += [_score(mean, best_mean)] * (len(datasets) > 1)
        facts = _facts(method, images, with_cost)
        body.append(f'<tr class="together"><th>{escape(name)}</th>{facts}{"".join(cells)}</tr>')
    counts = {name: f" ({_classes(runs, name)})" if measure == "PQ" else "" for name in datasets}
    head = [*(escape(name + counts[name]) for name in datasets), *(["mean"] if len(datasets) > 1 else [])]
    columns = "".join(f'<th>{name}<span class="gain"></span></th>' for name in head)
    cost = "<th>images seen</th>" if with_cost else ""
    return (
        f"<p>{_LEADS[measure]}</p>"
        f'<div class="scroll"><table><thead><tr><th>run</th><th class="method">method</th>{cost}{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{_findings(runs, alone, several, measure)}"
        f"{paragraphs(_incomparable(runs, datasets, measure))}"
    )


def _names(runs: Iterable[RunSummary]) -> set[str]:
    return {run.name for run in runs}


def _facts(method: str, images: int | None, with_cost: bool) -> str:
    cost = f"<td>{'–' if images is None else rounded(images)}</td>" if with_cost else ""
    return f'<td class="method">{escape(method)}</td>{cost}'


def _classes(runs: Iterable[RunSummary], dataset: str) -> int:
    """How many the dataset has, as far as segments are judged."""
    judged = (_panoptic(run, dataset) for run in runs)
    return max(len(scores.per_class) + len(scores.absent) for scores in judged if scores)


def _findings(runs: Sequence[RunSummary], alone: Mapping[str, float], several: bool, measure: Measure) -> str:
    """What the coloured gains say, in words; `several`: whether a dataset's score alone is the best of several."""
    said = []
    for run in (run for run in runs if run.several):
        scores = {name: run.score(name, measure) for name in alone}
        gains = [scores[name] - value for name, value in alone.items() if not math.isnan(scores[name])]
        if gains:
            better = f"better on {sum(gain > 0 for gain in gains)} of {count_of(len(gains), 'dataset')}"
            said.append(f"{run.name} {signed(sum(gains) / len(gains))} on average, {better}")
    if said:
        single = "the best of the models" if several else "a model"
        return paragraphs([f"Against {single} trained on the dataset alone: {'; '.join(said)}."])
    if any(run.several for run in runs):
        return paragraphs(["No run was trained on one of these datasets alone, so there are no gains to show."])
    return ""


def _incomparable(runs: Sequence[RunSummary], datasets: Sequence[str], measure: Measure) -> list[str]:
    """Sentences on datasets whose scores are means over different classes."""
    out = []
    for name in datasets:
        if len({judged for run in runs if (judged := _judged(run, name, measure))}) > 1:
            out.append(f"{name}: the runs were not judged on the same classes, so their scores cannot be compared.")
    return out


def _judged(run: RunSummary, dataset: str, measure: Measure) -> tuple[frozenset[str], ...] | None:
    """The classes of which the score is the mean, and the others; of PQ, whose mean is also over classes that a model
    has only predicted, all of them; None where there is no score.
    """
    scores = _panoptic(run, dataset) if measure == "PQ" else run.scores.get(dataset)
    if scores is None:
        return None
    present, absent = frozenset(scores.per_class), frozenset(scores.absent)
    return (present | absent,) if measure == "PQ" else (present, absent)


def _score(value: float, best: float, gain: float | None = None, details: str = "") -> str:
    shown = decimal(value)
    bold = f"<b>{shown}</b>" if round(value, 1) == best else shown  # nothing equals a NaN
    title = f' title="{escape(details)}"' if details else ""
    return f"<td{title}>{bold}{gain_of(gain)}</td>"


def _best(values: Iterable[float]) -> float:
    """The highest as shown, so that equal figures are equally bold; NaN where there is nothing to compare."""
    known = [round(value, 1) for value in values if not math.isnan(value)]
    return max(known) if len(known) > 1 else math.nan


def _details(run: RunSummary, dataset: str) -> str:
    if dataset not in run.scores:
        return ""
    scores = run.scores[dataset]
    return f"mean accuracy {decimal(scores.mean_accuracy)}, pixel accuracy {decimal(scores.pixel_accuracy)}"


def _qualities(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    """What PQ is made of: a row a run and dataset."""
    body = []
    for run in runs:
        for name in datasets:
            if scores := _panoptic(run, name):
                parts: tuple[Quality, ...] = (scores.all, scores.things, scores.stuff)
                cells = [decimal(figure) for part in parts for figure in (part.pq, part.sq, part.rq)]
                text = f'<td class="text">{escape(name)}</td>'
                body.append(f"<tr><th>{run_chip(run)}</th>{text}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    names = [f"{name}{of}" for of in ("", " things", " stuff") for name in ("PQ", "SQ", "RQ")]
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        "<details><summary>Segmentation and recognition quality (SQ, RQ), things and stuff</summary>"
        f'<div class="scroll"><table><thead><tr><th>run</th><th class="text">dataset</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _panoptic(run: RunSummary, dataset: str) -> PanopticScores | None:
    return run.scores[dataset].panoptic if dataset in run.scores else None


# Scores against cost


def _cost_charts(runs: Sequence[RunSummary], groups: Sequence[RunGroup]) -> str:
    """For each set of datasets that several runs or groups can do, their mean scores against the images they saw."""
    entries: list[RunSummary | RunGroup] = [*(run for run in runs if run.several), *groups]
    sets = list(dict.fromkeys(frozenset(entry.trained_on) for entry in entries))
    out = []
    for datasets in sets:
        own = [entry for entry in entries if frozenset(entry.trained_on) == datasets]
        charts = [chart for measure in ("mIoU", "PQ") if (chart := _cost_chart(own, sorted(datasets), measure))]
        lines = list(dict.fromkeys(map(_line_name, own)))
        if charts:
            keys = "".join(
                f'<li class="run run{place % COLORS}">{line_sample(Line(name, place, ()))}{escape(name)}</li>'
                for place, name in enumerate(lines)
            )
            of = f" of {', '.join(sorted(datasets))}" if len(sets) > 1 else ""
            out.append(
                f"<h3>Mean scores{escape(of)} against the cost of training</h3>"
                '<p class="muted small">A point for each run, or for the models of all datasets together; a line joins '
                "the means of one method at several costs.</p>"
                f'<ul class="key">{keys}</ul><div class="charts">{"".join(charts)}</div>'
            )
    return "".join(out)


def _cost_chart(entries: Sequence[RunSummary | RunGroup], datasets: Sequence[str], measure: Measure) -> str:
    """Nothing where there is no second point."""
    names = list(dict.fromkeys(map(_line_name, entries)))
    dots: list[Line] = []
    at_cost: dict[str, dict[float, list[float]]] = {}
    for entry in entries:
        mean = sum(entry.score(name, measure) for name in datasets) / len(datasets)
        if entry.images is not None and not math.isnan(mean):
            name, cost = _line_name(entry), float(entry.images)
            dots.append(Line(entry.name, names.index(name), [(cost, mean)]))
            at_cost.setdefault(name, {}).setdefault(cost, []).append(mean)
    if len(dots) < 2:
        return ""
    lines = [
        Line(name, names.index(name), [(cost, sum(own[cost]) / len(own[cost])) for cost in sorted(own)], marked=False)
        for name, own in at_cost.items()
    ]
    title = f"mean {measure}"
    titles = ("images seen in training", f"{title}, %")
    chart = line_chart(title, [*lines, *dots], axis="images seen:", smoothed=False, titles=titles)
    return f"<figure>{chart}</figure>"


def _line_name(entry: RunSummary | RunGroup) -> str:
    return f"{entry.method}, one model each" if isinstance(entry, RunGroup) else entry.method or entry.name


def rounded(count: int) -> str:
    """As 320, 12.8k or 2.56M."""
    for unit, factor in (("M", 10**6), ("k", 10**3)):
        if count >= factor:
            return f"{float(f'{count / factor:.3g}'):g}{unit}"
    return str(count)


def _heading(text: str) -> str:
    return f"<h3>{text}</h3>"
