"""One HTML page that compares runs: data in, text out.

The page asks for nothing from outside, since its style, curves and pictures lie in it, and it runs no script. Whatever
comes from a run or a dataset is escaped.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import multiseg
from multiseg.evaluation.curves import COLORS, Line, Points, line_chart
from multiseg.evaluation.embedding_charts import RunPrototypes, prototypes_section
from multiseg.evaluation.iou import Scores
from multiseg.evaluation.overlays import overlay
from multiseg.evaluation.weight_charts import RunNorms, filters_section, norms_section
from multiseg.label_space import IGNORE, LabelSpace

#: Longest side of a picture, and its JPEG quality.
_PICTURE_PX = 320
_QUALITY = 85
#: Weight of the class colours: enough to be told apart in a small picture.
_ALPHA = 0.65
#: At most so many pictures side by side.
_ACROSS = 5


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
        scores: by dataset.
        curves: what was logged, by column of its log.
        notes: sentences on what is missing.
        color: on the page; `render_report` chooses it.
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

    @property
    def several(self) -> bool:
        """Whether it was trained on more than one dataset."""
        return len(self.trained_on) > 1

    def miou(self, dataset: str) -> float:
        """NaN where it has no score."""
        return self.scores[dataset].miou if dataset in self.scores else math.nan


@dataclass(frozen=True)
class Panel:
    """One image and what runs make of it.

    Args:
        key: of the image.
        image: (3, H, W) uint8.
        labels: (H, W) contiguous ids.
        predictions: (H, W) contiguous ids, by the name of the run.
    """

    key: str
    image: NDArray[np.uint8]
    labels: NDArray[Any]
    predictions: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Gallery:
    """Panels of one split of a dataset.

    Args:
        space: the dataset's.
        split: from which the images are.
        panels: each with predictions of the same runs.
    """

    space: LabelSpace
    split: str
    panels: Sequence[Panel]


def render_report(
    title: str,
    runs: Sequence[RunSummary],
    galleries: Sequence[Gallery] = (),
    notes: Sequence[str] = (),
    norms: Sequence[RunNorms] = (),
    norm_notes: Sequence[str] = (),
    prototypes: Sequence[RunPrototypes] = (),
) -> str:
    """The page.

    Args:
        title: heading.
        runs: in the order in which they are to be shown; at least one.
        galleries: pictures, by dataset.
        notes: sentences on pictures that are missing.
        norms: the batch norms of runs that have a model.
        norm_notes: sentences on models that are missing.
        prototypes: of runs whose models have some.
    """
    style = (resources.files("multiseg.evaluation") / "report.css").read_text(encoding="utf-8")
    runs, datasets = with_colors(runs), dataset_names(runs)
    counted = f"{_count(len(runs), 'run')}, {_count(len(datasets), 'dataset')}"
    missing = [f"{run.name}: {note}" for run in runs for note in run.notes]
    sections = [
        _section("Scores", _summary(runs, datasets)),
        _section("Training", _training(runs, datasets)),
        _section("Classes", "".join(_classes(runs, name) for name in datasets)),
        _section("Pictures", "".join(_gallery(runs, gallery) for gallery in galleries) + _paragraphs(notes)),
        _section("Prototypes", prototypes_section(prototypes)),
        _section("Batch norms", norms_section(norms) + _paragraphs(norm_notes)),
        _section("Filters", filters_section(norms)),
        _section("Cost, and how to repeat it", _cost(runs) + "".join(_repeat(run) for run in runs)),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="muted">{counted}; made by multiseg {multiseg.__version__}</p>
{_paragraphs(missing)}
{"".join(sections)}
</body>
</html>
"""


def dataset_names(runs: Iterable[RunSummary]) -> list[str]:
    """Every dataset that a run has scores on, in order of first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def best_single(runs: Iterable[RunSummary], dataset: str) -> RunSummary | None:
    """The run to measure gains on a dataset against: the best of those trained on it alone."""
    alone = [run for run in runs if run.trained_on == (dataset,) and not math.isnan(run.miou(dataset))]
    return max(alone, key=lambda run: run.miou(dataset), default=None)


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


# Scores


def _summary(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    if not datasets:
        return "<p>No run has scores yet.</p>"
    singles = {name: single for name in datasets if (single := best_single(runs, name))}
    alone = {name: single.miou(name) for name, single in singles.items()}
    together = len(datasets) > 1 and len(singles) == len(datasets)
    several = any([run.trained_on for run in runs].count((name,)) > 1 for name in datasets)
    best_of = "the best model for each dataset alone" if several else "one model for each dataset"
    rows = [{name: run.miou(name) for name in datasets} for run in runs] + [alone] * together
    means = [sum(row.values()) / len(datasets) for row in rows]
    best = {name: _best(row[name] for row in rows) for name in datasets}
    best_mean = _best(means)

    body = []
    for run, row, mean in zip(runs, rows, means, strict=False):
        gains = {name: row[name] - alone[name] for name in datasets if run.several and name in alone}
        cells = [_score(row[name], best[name], gains.get(name), _details(run, name)) for name in datasets]
        if len(datasets) > 1:
            cells.append(_score(mean, best_mean, mean - means[-1] if run.several and together else None))
        method = f'<td class="method">{escape(run.method)}</td>'
        body.append(f"<tr><th>{_chip(run)}</th>{method}{''.join(cells)}</tr>")
    if together:
        cells = [_score(value, math.nan) for value in alone.values()] + [_score(means[-1], best_mean)]
        body.append(f'<tr class="together"><th>{best_of}</th><td class="method"></td>{"".join(cells)}</tr>')
    head = [*map(escape, datasets), *(["mean"] if len(datasets) > 1 else [])]
    columns = "".join(f'<th>{name}<span class="gain"></span></th>' for name in head)
    return (
        "<p>mIoU in percent on the validation split of each dataset; the best of each column is bold.</p>"
        f'<div class="scroll"><table><thead><tr><th>run</th><th class="method">method</th>{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{_findings(runs, alone, several)}"
        f"{_paragraphs(_incomparable(runs, datasets))}"
    )


def _findings(runs: Sequence[RunSummary], alone: Mapping[str, float], several: bool) -> str:
    """What the coloured gains say, in words; `several`: whether a dataset's score alone is the best of several."""
    said = []
    for run in (run for run in runs if run.several):
        gains = [run.miou(name) - value for name, value in alone.items() if not math.isnan(run.miou(name))]
        if gains:
            better = f"better on {sum(gain > 0 for gain in gains)} of {_count(len(gains), 'dataset')}"
            said.append(f"{run.name} {_signed(sum(gains) / len(gains))} on average, {better}")
    if said:
        single = "the best of the models" if several else "a model"
        return _paragraphs([f"Against {single} trained on the dataset alone: {'; '.join(said)}."])
    if any(run.several for run in runs):
        return _paragraphs(["No run was trained on one of these datasets alone, so there are no gains to show."])
    return ""


def _incomparable(runs: Sequence[RunSummary], datasets: Sequence[str]) -> list[str]:
    """Sentences on datasets whose scores are means over different classes."""
    out = []
    for name in datasets:
        scores = [run.scores[name] for run in runs if name in run.scores]
        judged = {(frozenset(score.per_class), frozenset(score.absent)) for score in scores}
        if len(judged) > 1:
            out.append(f"{name}: the runs were not judged on the same classes, so their scores cannot be compared.")
    return out


def _score(value: float, best: float, gain: float | None = None, details: str = "") -> str:
    shown = _number(value)
    bold = f"<b>{shown}</b>" if round(value, 1) == best else shown  # nothing equals a NaN
    title = f' title="{escape(details)}"' if details else ""
    return f"<td{title}>{bold}{_gain(gain)}</td>"


def _best(values: Iterable[float]) -> float:
    """The highest as shown, so that equal figures are equally bold; NaN where there is nothing to compare."""
    known = [round(value, 1) for value in values if not math.isnan(value)]
    return max(known) if len(known) > 1 else math.nan


def _details(run: RunSummary, dataset: str) -> str:
    if dataset not in run.scores:
        return ""
    scores = run.scores[dataset]
    return f"mean accuracy {_number(scores.mean_accuracy)}, pixel accuracy {_number(scores.pixel_accuracy)}"


# Training


def _training(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    if not any(run.curves for run in runs):
        return "<p>No run has a log.</p>"
    out = []
    for name in datasets:
        loss, score = f"loss/{name}", f"val/{name}/mIoU"
        charts = _chart(runs, loss, f"{name}: loss", from_zero=True) + _chart(
            runs, score, f"{name}: mIoU in validation"
        )
        out.append(_charts(runs, charts, [loss, score]))
    columns = list(dict.fromkeys(column for run in runs for column in run.curves))
    losses = [column for column in columns if column.startswith("loss/")] or ["loss"]
    others = [column for column in losses if column.removeprefix("loss/") not in datasets]
    out.append(_charts(runs, "".join(_chart(runs, column, column, from_zero=True) for column in others), others))
    without = [run.name for run in runs if not run.curves]
    note = _paragraphs([f"Without a log: {', '.join(without)}."]) if without else ""
    lead = "Against optimiser steps. Where a line is long, the thin one is as logged and the thick one smoothed."
    return f'<p class="muted small">{lead}</p>{"".join(out)}{note}'


def _charts(runs: Sequence[RunSummary], charts: str, columns: Sequence[str]) -> str:
    shown = [run for run in runs if any(column in run.curves for column in columns)]
    return f'{_key(shown)}<div class="charts">{charts}</div>' if charts else ""


def _chart(runs: Sequence[RunSummary], column: str, title: str, from_zero: bool = False) -> str:
    lines = [Line(run.name, run.color, run.curves[column]) for run in runs if column in run.curves]
    if not lines:
        return ""
    return f"<figure><h3>{escape(title)}</h3>{line_chart(title, lines, from_zero)}</figure>"


# Classes


def _classes(runs: Sequence[RunSummary], dataset: str) -> str:
    scored = [run for run in runs if dataset in run.scores]
    single, multi = best_single(runs, dataset), last_multi(runs, dataset)
    names = list(dict.fromkeys(name for run in scored for name in run.scores[dataset].per_class))
    gains: dict[str, float] = {}
    order = "in the order of the dataset"
    if single and multi:
        before, after = single.scores[dataset].per_class, multi.scores[dataset].per_class
        gains = {name: after[name] - before[name] for name in names if name in before and name in after}
        names.sort(key=lambda name: -gains.get(name, -math.inf))
        order = f"sorted by what {multi.name} gains over {single.name}"
    rows = []
    for name in names:
        bars = [_bar(run, run.scores[dataset].per_class.get(name, math.nan)) for run in scored]
        gain = _gain(gains.get(name)) if gains else ""
        rows.append(f'<div class="class"><span>{escape(name)}</span><div>{"".join(bars)}</div>{gain}</div>')
    absent = list(dict.fromkeys(name for run in scored for name in run.scores[dataset].absent))
    left_out = f"Left out, since no pixel is labelled so: {', '.join(absent)}." if absent else ""
    return (
        f'<h3>{escape(dataset)}</h3><p class="muted small">IoU in percent, {escape(order)}. {escape(left_out)}</p>'
        f'{_key(scored)}<div class="classes">{"".join(rows)}</div>'
    )


def _bar(run: RunSummary, value: float) -> str:
    width = 0.0 if math.isnan(value) else value
    return f'<div class="bar {_color(run)}"><i style="width:{width:.1f}%"></i><span>{_number(value)}</span></div>'


# Pictures


def _gallery(runs: Sequence[RunSummary], gallery: Gallery) -> str:
    shown = [run for run in runs if all(run.name in panel.predictions for panel in gallery.panels)]
    lead = (
        f'<p class="muted small">Images spread evenly over the split {escape(gallery.split)}; ignored pixels have no '
        "colour. Below each prediction is the share of its pixels that are right.</p>"
    )
    out = [f"<h3>{escape(gallery.space.name)}</h3>", lead, _class_key(gallery)]
    across = max(3, math.ceil((len(shown) + 2) / math.ceil((len(shown) + 2) / _ACROSS)))
    for panel in gallery.panels:
        figures = [
            _figure(_shrink(panel.image), "image", f"{panel.key}: image"),
            _figure(_picture(panel.image, panel.labels, gallery.space), "truth", f"{panel.key}: truth"),
        ]
        for run in shown:
            labels = panel.predictions[run.name]
            caption = f"{_chip(run)}<span>{_number(pixel_accuracy(labels, panel.labels))} %</span>"
            picture = _picture(panel.image, labels, gallery.space)
            figures.append(_figure(picture, caption, f"{panel.key}: prediction of {run.name}"))
        out.append(f'<p class="image-key small"><code>{escape(panel.key)}</code></p>')
        out.append(f'<div class="panel" style="--across:{across}">{"".join(figures)}</div>')
    return "".join(out)


def _class_key(gallery: Gallery) -> str:
    """Names and colours of the classes that occur in truth or predictions."""
    maps = [ids for panel in gallery.panels for ids in (panel.labels, *panel.predictions.values())]
    present = sorted({int(index) for ids in maps for index in np.unique(ids) if index != IGNORE})
    entries = []
    for index in present:
        red, green, blue = gallery.space.classes[index].color
        color = f"background:rgb({red} {green} {blue})"
        entries.append(f'<li><span class="swatch" style="{color}"></span>{escape(gallery.space.names[index])}</li>')
    return f'<ul class="key">{"".join(entries)}</ul>'


def pixel_accuracy(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Percent of the labelled pixels that are right; NaN where none is labelled."""
    known = labels != IGNORE
    return 100 * float((predictions == labels)[known].mean()) if known.any() else math.nan


def _picture(image: NDArray[np.uint8], labels: NDArray[Any], space: LabelSpace) -> Image.Image:
    small = _shrink(image)
    ids = Image.fromarray(labels.astype(np.int32)).resize(small.size, Image.Resampling.NEAREST)
    return overlay(np.asarray(small), np.asarray(ids), space, _ALPHA)


def _shrink(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.thumbnail((_PICTURE_PX, _PICTURE_PX), Image.Resampling.LANCZOS)
    return picture


def _figure(picture: Image.Image, caption: str, alt: str) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    size = f'width="{picture.width}" height="{picture.height}"'
    image = f'<img src="data:image/jpeg;base64,{data}" {size} alt="{escape(alt)}" loading="lazy">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


# Cost


def _cost(runs: Sequence[RunSummary]) -> str:
    rows = []
    for run in runs:
        per_step = run.seconds / run.step if run.seconds is not None and run.step else math.nan
        cells = [
            f'<td class="text">{escape(", ".join(run.trained_on))}</td>',
            f"<td>{'–' if run.step is None else f'{run.step:,}'}</td>",
            f"<td>{'–' if run.seconds is None else duration(run.seconds)}</td>",
            f"<td>{_number(per_step, 2)}</td>",
        ]
        rows.append(f"<tr><th>{_chip(run)}</th>{''.join(cells)}</tr>")
    head = '<th>run</th><th class="text">trained on</th><th>steps</th><th>time</th><th>seconds a step</th>'
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        '<p class="muted small">Time is of training with its validations, on the machine on which the run was made.</p>'
    )


def _repeat(run: RunSummary) -> str:
    command = f"multiseg train {shlex.quote(f'{run.path}/config.yaml')}"
    return (
        f"<details><summary>{escape(run.name)}: <code>{escape(command)}</code></summary>"
        f"<pre>{escape(run.config)}</pre></details>"
    )


def duration(seconds: float) -> str:
    """As 42 s, 3:07 min or 12:05:00 h."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


# Pieces


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>{body}</section>" if body else ""


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _key(runs: Iterable[RunSummary]) -> str:
    return f'<ul class="key">{"".join(f"<li>{_chip(run)}</li>" for run in runs)}</ul>'


def _chip(run: RunSummary) -> str:
    name = escape(run.name).replace("_", "_<wbr>")  # run names are long, and columns narrow
    return f'<span class="run {_color(run)}"><i class="chip"></i><span>{name}</span></span>'


def _color(run: RunSummary) -> str:
    return f"run{run.color % COLORS}"


def _number(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _gain(gain: float | None) -> str:
    """A difference with its sign, always as wide, so that the figures before it stay aligned."""
    if gain is None or math.isnan(gain):
        return '<span class="gain"></span>'
    kind = {1: " up", -1: " down"}.get((round(gain, 1) > 0) - (round(gain, 1) < 0), "")
    return f'<span class="gain{kind}">{_signed(gain)}</span>'


def _signed(value: float) -> str:
    value = round(value, 1)
    return "±0.0" if value == 0 else f"{value:+.1f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
