"""One HTML page that compares runs: data in, text out.

The page asks for nothing from outside, since its style, curves and pictures lie in it, and it runs no script. Whatever
comes from a run or a dataset is escaped.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import multiseg
from multiseg.evaluation.color_panels import RunColors, colors_section
from multiseg.evaluation.embedding_charts import RunPrototypes, prototypes_section
from multiseg.evaluation.overlays import overlay
from multiseg.evaluation.page_pieces import (
    class_key,
    count_of,
    decimal,
    figure,
    gain_of,
    paragraphs,
    run_chart,
    run_charts,
    run_chip,
    run_color,
    run_key,
    shrink,
)
from multiseg.evaluation.patch_charts import PatchSet, patches_section
from multiseg.evaluation.proxy_tables import proxies_section, triplets_table
from multiseg.evaluation.query_panels import RunQueries, queries_section
from multiseg.evaluation.run_summary import RunSummary, best_single, dataset_names, last_multi, with_colors
from multiseg.evaluation.score_tables import scores_section
from multiseg.evaluation.tuning_charts import Tuning, graph_size_charts, tuning_curves
from multiseg.evaluation.weight_charts import RunNorms, filters_section, norms_section
from multiseg.evaluation.word_charts import RunWords, words_section
from multiseg.label_space import IGNORE, LabelSpace

#: Longest side of a picture.
_PICTURE_PX = 320
#: Weight of the class colours: enough to be told apart in a small picture.
_ALPHA = 0.65
#: At most so many pictures side by side.
_ACROSS = 5


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
    queries: Sequence[RunQueries] = (),
    words: Sequence[RunWords] = (),
    colors: Sequence[RunColors] = (),
    patches: Sequence[PatchSet] = (),
    tunings: Mapping[str, Tuning] | None = None,
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
        queries: of runs whose models classify masks.
        words: of runs whose models know classes by their names.
        colors: of runs whose models colour images.
        patches: in the backbones of runs, by dataset.
        tunings: by the name of a run the mix-and-match tuning that it is or was fine-tuned from.
    """
    style = (resources.files("multiseg.evaluation") / "report.css").read_text(encoding="utf-8")
    runs, datasets = with_colors(runs), dataset_names(runs)
    counted = f"{count_of(len(runs), 'run')}, {count_of(len(datasets), 'dataset')}"
    missing = [f"{run.name}: {note}" for run in runs for note in run.notes]
    judged = [run for run in runs if not run.prepares]
    tuning = (
        triplets_table(runs)
        + tuning_curves(runs)
        + patches_section(runs, patches)
        + graph_size_charts(runs, tunings or {})
    )
    sections = [
        _section("Scores", scores_section(judged, datasets) if judged else ""),
        _section("Proxy tasks", proxies_section(runs) + colors_section(runs, colors)),
        _section("Mix-and-match tuning", tuning),
        _section("Training", _training(judged, datasets) if judged else ""),
        _section("Classes", "".join(_classes(runs, name) for name in datasets)),
        _section("Pictures", "".join(_gallery(runs, gallery) for gallery in galleries) + paragraphs(notes)),
        _section("Queries", queries_section(queries)),
        _section("Words", words_section(words)),
        _section("Prototypes", prototypes_section(prototypes)),
        _section("Batch norms", norms_section(norms) + paragraphs(norm_notes)),
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
{paragraphs(missing)}
{"".join(sections)}
</body>
</html>
"""


# Training


def _training(runs: Sequence[RunSummary], datasets: Sequence[str]) -> str:
    if not any(run.curves for run in runs):
        return "<p>No run has a log.</p>"
    out = []
    for name in datasets:
        loss, *scores = f"loss/{name}", f"val/{name}/mIoU", f"val/{name}/PQ"
        charts = [run_chart(runs, loss, f"{name}: loss", from_zero=True)]
        charts += [run_chart(runs, score, f"{name}: {score.split('/')[-1]} in validation") for score in scores]
        out.append(run_charts(runs, "".join(charts), [loss, *scores]))
    columns = list(dict.fromkeys(column for run in runs for column in run.curves))
    losses = [column for column in columns if column.startswith("loss/")] or ["loss"]
    others = [column for column in losses if column.removeprefix("loss/") not in datasets]
    out.append(run_charts(runs, "".join(run_chart(runs, column, column, from_zero=True) for column in others), others))
    without = [run.name for run in runs if not run.curves]
    note = paragraphs([f"Without a log: {', '.join(without)}."]) if without else ""
    lead = "Against optimiser steps. Where a line is long, the thin one is as logged and the thick one smoothed."
    return f'<p class="muted small">{lead}</p>{"".join(out)}{note}'


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
        gain = gain_of(gains.get(name)) if gains else ""
        rows.append(f'<div class="class"><span>{escape(name)}</span><div>{"".join(bars)}</div>{gain}</div>')
    absent = list(dict.fromkeys(name for run in scored for name in run.scores[dataset].absent))
    left_out = f"Left out, since no pixel is labelled so: {', '.join(absent)}." if absent else ""
    return (
        f'<h3>{escape(dataset)}</h3><p class="muted small">IoU in percent, {escape(order)}. {escape(left_out)}</p>'
        f'{run_key(scored)}<div class="classes">{"".join(rows)}</div>'
    )


def _bar(run: RunSummary, value: float) -> str:
    width = 0.0 if math.isnan(value) else value
    return f'<div class="bar {run_color(run)}"><i style="width:{width:.1f}%"></i><span>{decimal(value)}</span></div>'


# Pictures


def _gallery(runs: Sequence[RunSummary], gallery: Gallery) -> str:
    shown = [run for run in runs if all(run.name in panel.predictions for panel in gallery.panels)]
    lead = (
        f'<p class="muted small">Images spread evenly over the split {escape(gallery.split)}; ignored pixels have no '
        "colour. Below each prediction is the share of its pixels that are right.</p>"
    )
    maps = [ids for panel in gallery.panels for ids in (panel.labels, *panel.predictions.values())]
    out = [f"<h3>{escape(gallery.space.name)}</h3>", lead, class_key(gallery.space, maps)]
    across = max(3, math.ceil((len(shown) + 2) / math.ceil((len(shown) + 2) / _ACROSS)))
    for panel in gallery.panels:
        figures = [
            figure(shrink(panel.image, _PICTURE_PX), "image", f"{panel.key}: image"),
            figure(_picture(panel.image, panel.labels, gallery.space), "truth", f"{panel.key}: truth"),
        ]
        for run in shown:
            labels = panel.predictions[run.name]
            caption = f"{run_chip(run)}<span>{decimal(pixel_accuracy(labels, panel.labels))} %</span>"
            picture = _picture(panel.image, labels, gallery.space)
            figures.append(figure(picture, caption, f"{panel.key}: prediction of {run.name}"))
        out.append(f'<p class="image-key small"><code>{escape(panel.key)}</code></p>')
        out.append(f'<div class="panel" style="--across:{across}">{"".join(figures)}</div>')
    return "".join(out)


def pixel_accuracy(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Percent of the labelled pixels that are right; NaN where none is labelled."""
    known = labels != IGNORE
    return 100 * float((predictions == labels)[known].mean()) if known.any() else math.nan


def _picture(image: NDArray[np.uint8], labels: NDArray[Any], space: LabelSpace) -> Image.Image:
    small = shrink(image, _PICTURE_PX)
    ids = Image.fromarray(labels.astype(np.int32)).resize(small.size, Image.Resampling.NEAREST)
    return overlay(np.asarray(small), np.asarray(ids), space, _ALPHA)


# Cost


def _cost(runs: Sequence[RunSummary]) -> str:
    rows = []
    for run in runs:
        per_step = run.seconds / run.step if run.seconds is not None and run.step else math.nan
        cells = [
            f'<td class="text">{escape(", ".join(run.trained_on))}</td>',
            f"<td>{'–' if run.step is None else f'{run.step:,}'}</td>",
            f"<td>{'–' if run.seconds is None else duration(run.seconds)}</td>",
            f"<td>{decimal(per_step, 2)}</td>",
        ]
        rows.append(f"<tr><th>{run_chip(run)}</th>{''.join(cells)}</tr>")
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


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>{body}</section>" if body else ""
