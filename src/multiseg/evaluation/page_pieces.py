"""The smallest pieces of a report's HTML: figures with their signs, chips of runs, pictures. All text is escaped."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiseg.evaluation.curves import COLORS, Line, line_chart
from multiseg.evaluation.run_summary import RunSummary
from multiseg.label_space import IGNORE, LabelSpace

#: Of the JPEGs in a page.
_QUALITY = 85


def figure(picture: Image.Image, caption: str, alt: str) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    size = f'width="{picture.width}" height="{picture.height}"'
    image = f'<img src="data:image/jpeg;base64,{data}" {size} alt="{escape(alt)}" loading="lazy">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def shrink(image: NDArray[np.uint8], longest: int) -> Image.Image:
    """A picture whose longer side has at most so many pixels. Shape: image (3, H, W)."""
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def run_charts(runs: Sequence[RunSummary], charts: str, columns: Sequence[str]) -> str:
    """Charts side by side below a key of the runs that are in them; nothing where there is no chart."""
    shown = [run for run in runs if any(column in run.curves for column in columns)]
    return f'{run_key(shown)}<div class="charts">{charts}</div>' if charts else ""


def run_chart(runs: Iterable[RunSummary], column: str, title: str, from_zero: bool = False) -> str:
    """A column of the runs' logs; nothing where no run has it."""
    lines = [Line(run.name, run.color, run.curves[column]) for run in runs if column in run.curves]
    if not lines:
        return ""
    return f"<figure><h3>{escape(title)}</h3>{line_chart(title, lines, from_zero)}</figure>"


def run_key(runs: Iterable[RunSummary]) -> str:
    return f'<ul class="key">{"".join(f"<li>{run_chip(run)}</li>" for run in runs)}</ul>'


def run_chip(run: RunSummary) -> str:
    name = escape(run.name).replace("_", "_<wbr>")  # run names are long, and columns narrow
    return f'<span class="run {run_color(run)}"><i class="chip"></i><span>{name}</span></span>'


def run_color(run: RunSummary) -> str:
    return f"run{run.color % COLORS}"


def decimal(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def gain_of(gain: float | None) -> str:
    """A difference with its sign, always as wide, so that the figures before it stay aligned."""
    if gain is None or math.isnan(gain):
        return '<span class="gain"></span>'
    kind = {1: " up", -1: " down"}.get((round(gain, 1) > 0) - (round(gain, 1) < 0), "")
    return f'<span class="gain{kind}">{signed(gain)}</span>'


def signed(value: float) -> str:
    value = round(value, 1)
    return "±0.0" if value == 0 else f"{value:+.1f}".replace("-", "−")


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def class_key(space: LabelSpace, maps: Iterable[NDArray[Any]], title: str = "") -> str:
    """Names and colours of the classes that occur in label maps, behind a title where one is given."""
    present = sorted({int(index) for ids in maps for index in np.unique(ids) if index != IGNORE})
    entries = [f"<li><b>{escape(title)}</b></li>"] if title else []
    for index in present:
        red, green, blue = space.classes[index].color
        color = f"background:rgb({red} {green} {blue})"
        entries.append(f'<li><span class="swatch" style="{color}"></span>{escape(space.names[index])}</li>')
    return f'<ul class="key">{"".join(entries)}</ul>'
