"""Section of a report on colourisation: held-out images in the colours that networks made up from their lightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from multiseg.evaluation.page_pieces import figure, run_chip, shrink
from multiseg.evaluation.run_summary import RunSummary

#: Longest side of a picture.
_PICTURE_PX = 320


@dataclass(frozen=True, eq=False)
class ColorPanel:
    """One image, and what a model makes of its lightness.

    Args:
        dataset: whose image it is.
        key: of the image.
        image: (3, H, W) uint8.
        colored: (3, h, w) uint8, of the size at which the network saw it.
    """

    dataset: str
    key: str
    image: NDArray[np.uint8]
    colored: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class RunColors:
    """Panels of a run.

    Args:
        run: its name on the page.
        panels: of several datasets, one dataset after the other.
    """

    run: str
    panels: Sequence[ColorPanel]


def colors_section(runs: Sequence[RunSummary], colors: Sequence[RunColors]) -> str:
    """For each image a row: itself, its lightness, and the colours of every run that has seen it.

    Args:
        runs: coloured, in the order of the page.
        colors: of some of them.

    Returns:
        nothing where there are none.
    """
    by_name = {run.name: run for run in runs}
    rows: dict[tuple[str, str], list[tuple[str, ColorPanel]]] = {}
    for own in colors:
        for panel in own.panels:
            rows.setdefault((panel.dataset, panel.key), []).append((own.run, panel))
    if not rows:
        return ""
    out = [
        '<p class="muted small">Held-out images, the lightness that the network was shown, (R + G + B) / 3, and the '
        "colours that it made up: the mean hue and the median chroma of what it holds likely. Where it does not know "
        "the hue they fade to grey.</p>"
    ]
    across = max(3, 2 + max(len(made) for made in rows.values()))
    for (dataset, key), made in rows.items():
        image, named = made[0][1].image, f"{dataset} {key}"
        figures = [
            figure(shrink(image, _PICTURE_PX), "image", f"{named}: image"),
            figure(shrink(lightness_of(image), _PICTURE_PX), "lightness", f"{named}: lightness"),
        ]
        for run, panel in made:
            picture = shrink(panel.colored, _PICTURE_PX)
            figures.append(figure(picture, run_chip(by_name[run]), f"{named}: colours of {run}"))
        out.append(f'<p class="image-key small">{escape(dataset)}: <code>{escape(key)}</code></p>')
        out.append(f'<div class="panel" style="--across:{across}">{"".join(figures)}</div>')
    return "".join(out)


def lightness_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the channels, in each. Shape: (3, H, W) to the same."""
    return np.repeat(image.astype(np.float32).mean(0, keepdims=True).round().astype(np.uint8), 3, axis=0)
