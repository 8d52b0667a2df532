"""One HTML page that compares runs: data in, text out.

The page asks for nothing from outside, since its style, curves and pictures lie in it, and it runs no script. Whatever
comes from a run or a dataset is escaped.
"""

from __future__ import annotations

import base64
import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import multiseg
from multiseg.evaluation.curves import COLORS, Line, Points, line_chart
from multiseg.evaluation.iou import Scores
from multiseg.evaluation.overlays import overlay
from multiseg.label_space import LabelSpace

#: Longest side of a picture, and its JPEG quality.
_PICTURE_PX = 320
_QUALITY = 85


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
        panels: may be none.
        notes: sentences on what is missing.
    """

    space: LabelSpace
    split: str
    panels: Sequence[Panel]


def render_report(
    title: str, runs: Sequence[RunSummary], galleries: Sequence[Gallery] = (), notes: Sequence[str] = ()
) -> str:
    """The page.

    Args:
        title: heading.
        runs: in the order in which they are to be shown; at least one.
        galleries: pictures, by dataset.
        notes: sentences on pictures that are missing.
    """
    style = (resources.files("multiseg.evaluation") / "report.css").read_text(encoding="utf-8")
    datasets = dataset_names(runs)
    counted = f"{_count(len(runs), 'run')}, {_count(len(datasets), 'dataset')}"
    missing = [f"{run.name}: {note}" for run in runs for note in run.notes]
    sections = [
        _section("Scores", _summary(runs, datasets)),
        _section("Training", _curves(runs, datasets)),
        _section("Classes", "".join(_classes(runs, name) for name in datasets)),
        _section("Pictures", "".join(_gallery(runs, gallery) for gallery in galleries) + _paragraphs(notes)),
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
<p class="muted">{counted}. multiseg {multiseg.__version__}</p>
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
    alone = [run for run in runs if run.trained_on == (dataset,) and not math.isnan(_miou(run, dataset))]
    return max(alone, key=lambda run: _miou(run, dataset), default=None)


def last_multi(runs: Iterable[RunSummary], dataset: str) -> RunSummary | None:
    """The last of the runs trained on several datasets that has scores on this one."""
    return next((run for run in reversed([*runs]) if len(run.trained_on) > 1 and dataset in run.scores), None)


# Scores


def _summary(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    if not datasets:
        return "<p>No run has scores yet.</p>"
    singles = {name: single for name in datasets if (single := best_single(runs, name))}
    alone = {name: _miou(single, name) for name, single in singles.items()}
    together = len(datasets) > 1 and len(singles) == len(datasets)
    rows = [{name: _miou(run, name) for name in datasets} for run in runs] + [alone] * together
    means = [sum(row.values()) / len(datasets) for row in rows]
    best = {name: _best(row[name] for row in rows) for name in datasets}
    best_mean = _best(means)

    body = []
    for number, (run, row, mean) in enumerate(zip(runs, rows, means, strict=False)):
        several = len(run.trained_on) > 1
        gains = {name: row[name] - alone[name] if several and name in alone else None for name in datasets}
        cells = [_score(row[name], best[name], gains[name], _details(run, name)) for name in datasets]
        if len(datasets) > 1:
            cells.append(_score(mean, best_mean, mean - means[-1] if several and together else None))
        method = f'<td class="text">{escape(run.method)}</td>'
        body.append(f"<tr><th>{_chip(number, run.name)}</th>{method}{''.join(cells)}</tr>")
    if together:
        cells = [_score(value, math.nan) for value in alone.values()] + [_score(means[-1], best_mean)]
        body.append(f'<tr class="together"><th>one model for each dataset</th><td></td>{"".join(cells)}</tr>')
    head = [*map(escape, datasets), *(["mean"] if len(datasets) > 1 else [])]
    columns = "".join(f'<th>{name}<span class="gain"></span></th>' for name in head)
    return (
        "<p>mIoU in percent on the validation split of each dataset; the best of each column is bold.</p>"
        f'<div class="scroll"><table><thead><tr><th>run</th><th class="text">method</th>{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{_findings(runs, alone)}"
    )


def _findings(runs: Sequence[RunSummary], alone: Mapping[str, float]) -> str:
    """What the coloured gains say, in words."""
    said = []
    for run in runs:
        gains = [_miou(run, name) - value for name, value in alone.items() if name in run.scores]
        if len(run.trained_on) < 2 or not gains:
            continue
        better = sum(gain > 0 for gain in gains)
        mean = _signed(sum(gains) / len(gains))
        where = f"on {better} of {_count(len(gains), 'dataset')}"
        said.append(f"{run.name} is better than the model trained on the dataset alone {where}: {mean} on average.")
    if not said and any(len(run.trained_on) > 1 for run in runs):
        said.append("No run was trained on one of these datasets alone, so there are no gains to show.")
    return _paragraphs(said)


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


def _miou(run: RunSummary, dataset: str) -> float:
    return run.scores[dataset].miou if dataset in run.scores else math.nan


# Training


def _curves(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    if not any(run.curves for run in runs):
        return "<p>No run has a log.</p>"
    charts = []
    for name in datasets:
        charts.append(_chart(runs, f"loss/{name}", f"{name}: loss", from_zero=True))
        charts.append(_chart(runs, f"val/{name}/mIoU", f"{name}: validation mIoU"))
    columns = dict.fromkeys(column for run in runs for column in run.curves)
    others = [column for column in columns if column.startswith("loss/") and column.split("/", 1)[1] not in datasets]
    if not any(column.startswith("loss/") for column in columns):
        others = ["loss"]
    charts += [_chart(runs, column, column.replace("/", ": "), from_zero=True) for column in others]
    without = [run.name for run in runs if not run.curves]
    note = f"No log: {', '.join(without)}." if without else ""
    return (
        '<p class="muted small">Against steps. Thin lines are as logged, thick ones smoothed.</p>'
        f'{_key(runs)}<div class="charts">{"".join(charts)}</div>{_paragraphs([note] if note else [])}'
    )


def _chart(runs: Sequence[RunSummary], column: str, title: str, from_zero: bool = False) -> str:
    lines = [Line(run.name, number, run.curves.get(column, ())) for number, run in enumerate(runs)]
    if not any(line.points for line in lines):
        return ""
    return f"<figure><h3>{escape(title)}</h3>{line_chart(title, lines, from_zero)}</figure>"


# Classes


def _classes(runs: Sequence[RunSummary], dataset: str) -> str:
    scored = [(number, run) for number, run in enumerate(runs) if dataset in run.scores]
    single, multi = best_single(runs, dataset), last_multi(runs, dataset)
    names = list(dict.fromkeys(name for _, run in scored for name in run.scores[dataset].per_class))
    gains: dict[str, float] = {}
    order = "in the order of the dataset"
    if single and multi:
        before, after = single.scores[dataset].per_class, multi.scores[dataset].per_class
        gains = {name: after[name] - before[name] for name in names if name in before and name in after}
        names.sort(key=lambda name: -gains.get(name, -math.inf))
        order = f"sorted by what {multi.name} gains over {single.name}"
    rows = []
    for name in names:
        bars = [_bar(number, run.scores[dataset].per_class.get(name)) for number, run in scored]
        gain = _gain(gains.get(name)) if gains else ""
        rows.append(f'<div class="class"><span>{escape(name)}</span><div>{"".join(bars)}</div>{gain}</div>')
    absent = list(dict.fromkeys(name for _, run in scored for name in run.scores[dataset].absent))
    left_out = f"Left out, since no pixel is labelled so: {', '.join(absent)}." if absent else ""
    return (
        f'<h3>{escape(dataset)}</h3><p class="muted small">IoU in percent, {escape(order)}. {escape(left_out)}</p>'
        f'{_key(runs, [number for number, _ in scored])}<div class="classes">{"".join(rows)}</div>'
    )


def _bar(number: int, value: float | None) -> str:
    width = 0.0 if value is None else max(0.0, min(value, 100.0))
    shown = _number(math.nan if value is None else value)
    return f'<div class="bar {_color(number)}"><i style="width:{width:.1f}%"></i><span>{shown}</span></div>'


# Pictures


def _gallery(runs: Sequence[RunSummary], gallery: Gallery) -> str:
    shown = [run.name for run in runs if any(run.name in panel.predictions for panel in gallery.panels)]
    numbers = {run.name: number for number, run in enumerate(runs)}
    out = [f"<h3>{escape(gallery.space.name)}</h3>", _class_key(gallery)]
    for panel in gallery.panels:
        figures = [
            _figure(_shrink(panel.image), "image", f"{panel.key}: image"),
            _figure(_picture(panel.image, panel.labels, gallery.space), "truth", f"{panel.key}: truth"),
        ]
        for name in shown:
            picture = _picture(panel.image, panel.predictions[name], gallery.space)
            right = f" · {_number(_pixel_accuracy(panel, name))} % right"
            figures.append(_figure(picture, _chip(numbers[name], name) + right, f"{panel.key}: prediction of {name}"))
        out.append(f'<p class="image-key small"><code>{escape(panel.key)}</code></p>')
        out.append(f'<div class="panel" style="--across:{max(3, len(figures))}">{"".join(figures)}</div>')
    return "".join(out)


def _class_key(gallery: Gallery) -> str:
    """Names and colours of the classes that occur in truth or predictions."""
    maps = [ids for panel in gallery.panels for ids in (panel.labels, *panel.predictions.values())]
    present = sorted({int(index) for ids in maps for index in np.unique(ids) if index >= 0})
    entries = []
    for index in present:
        red, green, blue = gallery.space.classes[index].color
        color = f"background:rgb({red} {green} {blue})"
        entries.append(f'<li><span class="swatch" style="{color}"></span>{escape(gallery.space.names[index])}</li>')
    return f'<ul class="key">{"".join(entries)}</ul>'


def _pixel_accuracy(panel: Panel, run: str) -> float:
    known = panel.labels >= 0
    return 100 * float((panel.predictions[run] == panel.labels)[known].mean()) if known.any() else math.nan


def _picture(image: NDArray[np.uint8], labels: NDArray[Any], space: LabelSpace) -> Image.Image:
    small = _shrink(image)
    ids = Image.fromarray(labels.astype(np.int32)).resize(small.size, Image.Resampling.NEAREST)
    return overlay(np.asarray(small), np.asarray(ids), space)


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
    for number, run in enumerate(runs):
        per_step = run.seconds / run.step if run.seconds is not None and run.step else math.nan
        cells = [
            f'<td class="text">{escape(", ".join(run.trained_on))}</td>',
            f"<td>{'–' if run.step is None else f'{run.step:,}'}</td>",
            f"<td>{'–' if run.seconds is None else duration(run.seconds)}</td>",
            f"<td>{_number(per_step, 2)}</td>",
        ]
        rows.append(f"<tr><th>{_chip(number, run.name)}</th>{''.join(cells)}</tr>")
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


def _key(runs: Sequence[RunSummary], numbers: Sequence[int] | None = None) -> str:
    shown = range(len(runs)) if numbers is None else numbers
    return f'<ul class="key">{"".join(f"<li>{_chip(number, runs[number].name)}</li>" for number in shown)}</ul>'


def _chip(number: int, name: str) -> str:
    return f'<span class="chip {_color(number)}"></span>{escape(name)}'


def _color(number: int) -> str:
    return f"run{number % COLORS}"


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
