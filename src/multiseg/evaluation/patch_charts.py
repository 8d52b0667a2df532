"""Section of a report on features of patches before and after mix-and-match tuning: pictures by t-SNE and three
figures.

It is Figure 4 of M&M (Zhan et al., AAAI 2018).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from multiseg.evaluation.page_pieces import decimal, paragraphs, run_chip
from multiseg.evaluation.run_summary import RunSummary

#: More classes than that in one picture cannot be told apart; the eighth colour is too near to grey.
_COLORS = 7
#: At most so many pictures side by side.
_ACROSS = 4
_WIDTH, _HEIGHT, _MARGIN = 320, 260, 8


@dataclass(frozen=True, eq=False)
class PatchPanel:
    """Patches in the backbone of a run.

    Args:
        run: its name on the page.
        ordered: share of triplets whose positive is nearer than their negative, 0..1.
        nearest: share of patches whose nearest one of another image is of the same class, 0..1.
        directions: in how many the features spread; see `multiseg.patch_views.spread_directions`.
        places: (N, 2) in the plane; None where there is no picture.
    """

    run: str
    ordered: float
    nearest: float
    directions: float
    places: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches of a dataset in the backbones of several runs.

    Args:
        dataset: its name.
        split: from which the images are.
        names: of the dataset's classes.
        labels: N contiguous ids.
        said: which patches these are, in a sentence.
        chance: what `PatchPanel.nearest` is by chance.
        panels: in the order of the page, all of the same patches.
        notes: sentences on what is missing.
    """

    dataset: str
    split: str
    names: Sequence[str]
    labels: Sequence[int]
    said: str
    chance: float
    panels: Sequence[PatchPanel]
    notes: tuple[str, ...] = ()


def patches_section(runs: Sequence[RunSummary], sets: Sequence[PatchSet]) -> str:
    """For every dataset a table of the runs, and a picture of each for every group of classes.

    Args:
        runs: coloured, in the order of the page.
        sets: by dataset.

    Returns:
        nothing where there are none.
    """
    if not sets:
        return ""
    lead = (
        "Patches of validation images, each of the class of its central pixel, in the backbone of every run. Look for "
        "classes that lie apart in one run and mixed in another."
    )
    how = (
        "Features are the coarsest level of the backbone as the tuning ranks it, of unit length; where a backbone has "
        "more than a cell for every 32 pixels of a patch, they are averaged to one. All runs have the same patches, "
        "the same triplets and the same settings of t-SNE, which keeps near what is near: how far groups lie apart, "
        "and how large they are, means nothing. Triplets are those of twenty graphs as in the tuning, in order where "
        "the positive is nearer than the negative, by chance half of them. The nearest patch is sought among those of "
        "other images. Directions are the effective rank of the features: where they are very few, classes have fallen "
        "together, and fine-tuning has little to start from."
    )
    out = [f'<h3>Features of patches</h3><p>{lead}</p><p class="muted small">{how}</p>']
    for own in sets:
        body = _table(runs, own) + _pictures(own) if own.panels else ""
        out.append(f"<h4>{escape(own.dataset)}</h4>{paragraphs(own.notes)}{body}")
    return "".join(out)


def class_groups(labels: Sequence[int], largest: int = _COLORS) -> list[list[int]]:
    """The classes that occur, in order, in as few groups as can be, as equal in size as can be."""
    classes = sorted(set(labels))
    count = math.ceil(len(classes) / largest)
    edges = [round(group * len(classes) / count) for group in range(count + 1)] if count else [0]
    return [classes[start:stop] for start, stop in itertools.pairwise(edges)]


def _table(runs: Sequence[RunSummary], own: PatchSet) -> str:
    by_name = {run.name: run for run in runs}
    body = []
    for panel in own.panels:
        run = by_name[panel.run]
        cells = f'<td class="method">{escape(run.method)}</td>'
        cells += "".join(f"<td>{decimal(100 * value)}</td>" for value in (panel.ordered, panel.nearest))
        cells += f"<td>{decimal(panel.directions)}</td>"
        body.append(f"<tr><th>{run_chip(run)}</th>{cells}</tr>")
    cells = "".join(f"<td>{decimal(100 * value)}</td>" for value in (0.5, own.chance))
    body.append(f'<tr class="together"><th>by chance</th><td class="method"></td>{cells}<td></td></tr>')
    columns = ("triplets in order, %", "nearest of the same class, %", "directions")
    head = '<th>run</th><th class="method">method</th>' + "".join(f"<th>{column}</th>" for column in columns)
    left_out = len(own.names) - len(set(own.labels))
    said = own.said + (f" Of {len(own.names)} classes {left_out} have none." if left_out else "")
    return (
        f'<p class="muted small">{escape(said)}</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _pictures(own: PatchSet) -> str:
    """For every group of classes a key, and a picture of each run."""
    drawn = [(panel, panel.places) for panel in own.panels if panel.places is not None]
    if not drawn:
        return ""
    across = max(2, math.ceil(len(drawn) / math.ceil(len(drawn) / _ACROSS)))
    groups = class_groups(own.labels)
    out = []
    for group in groups:
        keys = "".join(
            f'<li class="run run{color}"><i class="chip"></i>{escape(own.names[label])}</li>'
            for color, label in enumerate(group)
        )
        rest = '<li class="muted">in grey all others</li>' if len(groups) > 1 else ""
        figures = "".join(
            # no run's colour beside the colours of classes
            f"<figure>{_scatter(own, places, group, panel.run)}<figcaption>{escape(panel.run)}</figcaption></figure>"
            for panel, places in drawn
        )
        out.append(
            f'<ul class="key">{keys}{rest}</ul><div class="panel parts" style="--across:{across}">{figures}</div>'
        )
    return "".join(out)


def _scatter(own: PatchSet, places: NDArray[np.float64], group: Sequence[int], run: str) -> str:
    """The patches of some classes in colour, the others in grey behind them."""
    low, high = places.min(0), places.max(0)
    room = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    at = _MARGIN + (places - low) / np.maximum(high - low, 1e-9) * room
    labels = np.array(own.labels)
    parts = [f'<path class="others" d="{_dots(at[~np.isin(labels, group)])}"/>']
    for color, label in enumerate(group):
        name = escape(own.names[label])
        parts.append(
            f'<g class="run{color}"><title>{name}</title><path class="dots" d="{_dots(at[labels == label])}"/></g>'
        )
    title = escape(f"{own.dataset}: patches in {run}")
    return (
        f'<svg class="scatter patches" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
        f"{''.join(parts)}</svg>"
    )


def _dots(places: NDArray[np.float64]) -> str:
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
