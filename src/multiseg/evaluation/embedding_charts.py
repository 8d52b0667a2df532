"""Pictures of where classes and pixels are embedded, tables of which are near, and a section of a report on prototypes.

Pictures are inline SVG, coloured by the page or by classes, so that they are right in light and dark, and without
script.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.evaluation.curves import COLORS

_WIDTH, _HEIGHT = 960, 600
_MARGIN = 40
#: So high for each mark, where there are many, for their names; and the highest.
_HEIGHT_A_MARK, _HIGHEST = 7, 1500
#: Half the height of a class's mark.
_MARK = 6.5
#: Of the names beside marks: height of a line, and the mean width of a letter.
_LINE, _LETTER = 13.0, 6.4
_LETTERS_A_NAME = 24

#: Marks of datasets; as there are no eight of them, no two of forty datasets agree in shape and colour.
_SHAPES = (
    "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0z",
    "M-5.5-5.5h11v11h-11z",
    "M0-7.5L7.5 0L0 7.5L-7.5 0z",
    "M0-7L7 5.5H-7z",
    "M0 7L-7-5.5H7z",
)
#: Of a class that several datasets share.
_STAR = "M0-8L2.2-2.7L7.6-2.5L3.4.9L4.9 6.3L0 3.2L-4.9 6.3L-3.4.9L-7.6-2.5L-2.2-2.7z"

#: A table of more classes is folded up.
_LONG_TABLE = 40

#: A report with more runs than that has pictures of the first ones.
_RUNS = 4

Color = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Cloud:
    """Pixels of one class of a dataset.

    Args:
        dataset: whose images they are of.
        name: of their class.
        color: of their class, RGB 0..255.
        places: (N, 2) in the plane.
    """

    dataset: str
    name: str
    color: Color
    places: NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A class: its prototype, or what its name means.

    Args:
        datasets: whose class it is; several where a union by name made theirs one.
        name: of the class.
        color: of the class, RGB 0..255.
        place: in the plane.
    """

    datasets: tuple[str, ...]
    name: str
    color: Color
    place: tuple[float, float]


@dataclass(frozen=True)
class Match:
    """The nearest class of another dataset.

    Args:
        name: of it.
        similarity: cosine.
        suggested: as the same, as each is the other's nearest and stands out.
        shared: the two have one prototype, or one name.
    """

    name: str
    similarity: float
    suggested: bool
    shared: bool


@dataclass(frozen=True, eq=False)
class RunPrototypes:
    """The prototypes of a run's model.

    Args:
        run: its name on the page.
        classes: names, by dataset.
        clouds: pixels.
        marks: prototypes; none where there is no picture.
        matches: by dataset and class the nearest in each other dataset; a class without a prototype is not in it.
        notes: sentences on what is missing.
    """

    run: str
    classes: Mapping[str, Sequence[str]]
    clouds: Sequence[Cloud]
    marks: Sequence[Mark]
    matches: Mapping[tuple[str, str], Mapping[str, Match]]
    notes: tuple[str, ...] = ()


def load_tsne() -> Any:
    """scikit-learn's t-SNE.

    Raises:
        MultisegError: it is not installed.
    """
    try:
        # seconds that other commands need not wait for, of a library that only this needs
        from sklearn.manifold import TSNE
    except ImportError:
        raise MultisegError("it takes scikit-learn: pip install scikit-learn.") from None
    return TSNE


def in_the_plane(vectors: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Places in the plane by t-SNE (van der Maaten and Hinton, JMLR 2008): near each other where vectors are.

    Args:
        vectors: (N, D).
        seed: of what is random in it.

    Returns:
        (N, 2).

    Raises:
        MultisegError: scikit-learn is not installed.
    """
    tsne = load_tsne()
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2))
    perplexity = max(1.0, min(30.0, (len(vectors) - 1) / 3))  # it must be less than the number of vectors
    init = "pca" if vectors.shape[1] > 1 else "random"
    places: NDArray[np.float64] = tsne(perplexity=perplexity, init=init, random_state=seed).fit_transform(vectors)
    return places.astype(np.float64)


def among(
    vectors: NDArray[np.float64], others: NDArray[np.float64], places: NDArray[np.float64], count: int = 10
) -> NDArray[np.float64]:
    """Places for vectors among others that have places: the median of those of the most similar ones.

    A prototype is a mean, and means are more like each other than like what they are means of: t-SNE of both together
    puts all prototypes on an island of their own, unless training has gone far.

    Args:
        vectors: (M, D), of any length.
        others: (N, D) of unit length; at least one.
        places: (N, 2) of the others.
        count: of the most similar ones.

    Returns:
        (M, 2).
    """
    nearest = np.argsort(-(vectors @ others.T), axis=1, kind="stable")[:, :count]
    found: NDArray[np.float64] = np.median(places[nearest], axis=1)
    return found


def prototypes_section(runs: Sequence[RunPrototypes]) -> str:
    """Pictures of prototypes and pixels, by dataset and by class, and a table of the nearest across datasets.

    Args:
        runs: those whose models have prototypes, in the order of the page.

    Returns:
        nothing where there is none.
    """
    if not runs:
        return ""
    lead = (
        "A prototype is the mean embedding of a class. Look for classes of different datasets that lie together: to "
        "the model they look alike."
    )
    how = (
        "Dots are pixels of validation images, drawn at random, of every class as many as of any other, and in the "
        "plane by t-SNE: it keeps near what is near, but how far groups lie apart, and how large they are, means "
        "nothing. Large marks with names are prototypes, each amidst the ten pixels that are most like it."
    )
    out = [f'<p>{lead}</p><p class="muted small">{how}</p>']
    for run in runs[:_RUNS]:
        heading = f"<h3>{_breakable(run.run)}</h3>" if len(runs) > 1 else ""
        notes = "".join(f"<p>{escape(note)}</p>" for note in run.notes)
        tables = nearest_tables(run.classes, run.matches, "Nearest prototypes", _said_of_nearest(run))
        out.append(f"{heading}{notes}{_pictures(run)}{tables}")
    if others := [run.run for run in runs[_RUNS:]]:
        out.append(f'<p class="muted small">Not drawn, since there are many: {escape(", ".join(others))}.</p>')
    return "".join(out)


# Pictures


def _pictures(run: RunPrototypes) -> str:
    if not run.marks:
        return ""
    datasets = list(run.classes)
    canvas = Canvas(datasets, run.marks, run.clouds)
    out = []
    if len(datasets) > 1:
        title = "Prototypes and pixels by dataset"
        out.append(f"<h4>{title}</h4>{dataset_keys(datasets, run.marks)}{canvas.draw(title, by_class=False)}")
    title = "Prototypes and pixels by class"
    out.append(f"<h4>{title}</h4>{_class_keys(run)}{canvas.draw(title, by_class=True)}")
    return "".join(out)


def dataset_keys(datasets: Sequence[str], marks: Sequence[Mark]) -> str:
    """The mark of each dataset, and that of classes of several where there are any."""
    keys = "".join(
        f'<li class="run{place % COLORS}">{_sample(datasets, (name,), "--run")}{escape(name)}</li>'
        for place, name in enumerate(datasets)
    )
    if any(len(mark.datasets) > 1 for mark in marks):
        keys += f"<li>{_sample(datasets, datasets, '--muted')}of several datasets</li>"
    return f'<ul class="key">{keys}</ul>'


def _class_keys(run: RunPrototypes) -> str:
    """A line for each dataset: its mark, and the colours of its classes that are in the picture."""
    datasets = list(run.classes)
    out = []
    for dataset in datasets:
        drawn = [(cloud.name, cloud.color) for cloud in run.clouds if cloud.dataset == dataset]
        drawn += [(mark.name, mark.color) for mark in run.marks if dataset in mark.datasets]
        colors = {name: color for name, color in reversed(drawn) if name in run.classes[dataset]}
        swatches = "".join(
            f'<li><span class="swatch" style="background:{_rgb(colors[name])}"></span>{escape(name)}</li>'
            for name in run.classes[dataset]
            if name in colors
        )
        own = (
            f"<li>{_sample(datasets, (dataset,), '--muted')}<b>{escape(dataset)}</b></li>" if len(datasets) > 1 else ""
        )
        out.append(f'<ul class="key">{own}{swatches}</ul>')
    return "".join(out)


def _sample(datasets: Sequence[str], own: Sequence[str], color: str) -> str:
    shape = f'<path d="{_shape(datasets, own)}" style="fill:var({color})"/>'
    return f'<svg class="mark" viewBox="-9 -9 18 18" aria-hidden="true">{shape}</svg>'


def _shape(datasets: Sequence[str], own: Sequence[str]) -> str:
    return _STAR if len(own) > 1 else _SHAPES[datasets.index(own[0]) % len(_SHAPES)]


class Canvas:
    """From the plane to a picture, in which all marks and dots are; of many marks a high one.

    Args:
        datasets: which have a mark each.
        marks: of classes; at least one.
        clouds: of pixels.
    """

    def __init__(self, datasets: Sequence[str], marks: Sequence[Mark], clouds: Sequence[Cloud] = ()) -> None:
        self.datasets, self.of_marks, self.clouds = list(datasets), marks, clouds
        self.height = min(max(_HEIGHT, _HEIGHT_A_MARK * len(marks)), _HIGHEST)
        points = np.concatenate([[mark.place for mark in marks], *(cloud.places for cloud in clouds)])
        low, high = points.min(0), points.max(0)
        size = np.array([_WIDTH - 2 * _MARGIN, self.height - 2 * _MARGIN])
        self.low, self.scale = low, size / np.maximum(high - low, 1e-9)
        self.marks = [self.at(np.array([mark.place]))[0] for mark in marks]
        self.labels = place_labels([_shortened(mark.name) for mark in marks], self.marks, self.height)

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape: (N, 2) to (N, 2)."""
        moved: NDArray[np.float64] = _MARGIN + (places - self.low) * self.scale
        return moved

    def draw(self, title: str, by_class: bool) -> str:
        dots, marks, names = [], [], []
        for cloud in self.clouds:
            path = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in self.at(cloud.places))
            kind = self._color((cloud.dataset,))
            color = f' style="stroke:{_rgb(cloud.color)}"' if by_class else ""
            told = f"<title>{escape(cloud.dataset)}/{escape(cloud.name)}</title>"
            rim = f'<path class="rim" d="{path}"/>' if by_class else ""  # some class colours are as dark as the page
            dots.append(f'<g class="{kind}">{told}{rim}<path class="dots" d="{path}"{color}/></g>')
        for mark, (x, y), label in zip(self.of_marks, self.marks, self.labels, strict=True):
            color = f' style="fill:{_rgb(mark.color)}"' if by_class else ""
            told = escape(f"{' + '.join(mark.datasets)}: {mark.name}")
            shape = f'<path class="prototype {self._color(mark.datasets)}" d="{_shape(self.datasets, mark.datasets)}"'
            marks.append(f'{shape} transform="translate({x:.1f} {y:.1f})"{color}><title>{told}</title></path>')
            if label:
                names.append(label.draw(_shortened(mark.name), x, y))
        return (
            f'<svg class="scatter" viewBox="0 0 {_WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(dots)}{''.join(marks)}{''.join(names)}</svg>"
        )

    def _color(self, datasets: Sequence[str]) -> str:
        return f"run{self.datasets.index(datasets[0]) % COLORS}" if len(datasets) == 1 else "several"


@dataclass(frozen=True)
class Label:
    """Where a name stands.

    Args:
        box: left, top, right, bottom.
        side: of the mark: -1 left, 1 right, 0 above or below.
        led: a line must show whose it is.
    """

    box: tuple[float, float, float, float]
    side: int
    led: bool

    def draw(self, name: str, x: float, y: float) -> str:
        left, top, right, bottom = self.box
        # from the side of the mark, for the width of letters is only about right
        at, anchor = {-1: (right - 2, "end"), 0: ((left + right) / 2, "middle"), 1: (left + 2, "start")}[self.side]
        text = f'<text x="{at:.1f}" y="{bottom - 3:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        end, middle = min(max(x, left), right), (top + bottom) / 2
        return (f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{middle:.1f}"/>' if self.led else "") + text


def place_labels(names: Sequence[str], marks: Sequence[Sequence[float]], height: float = _HEIGHT) -> list[Label | None]:
    """A place for each name near its mark, on no other name and no mark; None where there is none.

    Args:
        names: to be written.
        marks: x and y of each one's mark.
        height: of the picture.
    """
    taken = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks]
    placed: list[Label | None] = []
    for name, (x, y) in zip(names, marks, strict=True):
        width = _LETTER * len(name) + 4
        candidates = (Label(_box(x, y, width, *way), way[0], way[2] > 1) for way in _WAYS)
        inside = (label for label in candidates if _is_inside(label.box, height))
        found = next((label for label in inside if not any(_overlap(label.box, other) for other in taken)), None)
        placed.append(found)
        if found:
            taken.append(found.box)
    return placed


#: Directions in which a name may stand from its mark, and how far: beside, below, above, at the corners; then farther.
_WAYS = [
    (across, down, far)
    for far in (1, 2.5, 4.5, 7)
    for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
]


def _box(x: float, y: float, width: float, across: int, down: int, far: float) -> tuple[float, float, float, float]:
    middle = x + across * (width / 2 + _MARK + 2 + (far - 1) * 8)
    center = y + down * (_LINE / 2 + _MARK + 1 + (far - 1) * 8)
    return middle - width / 2, center - _LINE / 2, middle + width / 2, center + _LINE / 2


def _is_inside(box: Sequence[float], height: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= _WIDTH and box[3] <= height


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


# Tables


def _said_of_nearest(run: RunPrototypes) -> str:
    said = (
        "The nearest class of each other dataset, with the cosine between prototypes. How high a similarity is high "
        "differs from run to run, and every class has a nearest one. Bold are those that stand out among each other's "
        "neighbours: <code>multiseg taxonomy --prototypes</code> suggests that they are the same, and lists more."
    )
    if any(match.shared for own in run.matches.values() for match in own.values()):
        said += " Classes marked = are one class to the model, since it was told to unite names."
    return said


def nearest_tables(
    classes: Mapping[str, Sequence[str]],
    matches: Mapping[tuple[str, str], Mapping[str, Match]],
    title: str,
    said: str,
) -> str:
    """For each dataset its classes with the nearest in each other one; folded up where a dataset has many.

    Args:
        classes: names, by dataset.
        matches: by dataset and class the nearest in each other dataset.
        title: of the tables.
        said: HTML, what they show.

    Returns:
        nothing where fewer than two datasets have any.
    """
    datasets = [name for name in classes if any(dataset == name for dataset, _ in matches)]
    if len(datasets) < 2:
        return ""
    out = [f'<h4>{title}</h4><p class="muted small">{said}</p>']
    for dataset in datasets:
        others = [name for name in datasets if name != dataset]
        head = "".join(f'<th class="text">in {_breakable(name)}</th><th></th>' for name in others)
        rows = "".join(_row(name, matches.get((dataset, name)), others) for name in classes[dataset])
        table = (
            f'<div class="scroll"><table><thead><tr><th>{_breakable(dataset)}</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
        if len(classes[dataset]) > _LONG_TABLE:
            summary = f"{escape(dataset)}: {len(classes[dataset])} classes"
            table = f"<details><summary>{summary}</summary>{table}</details>"
        out.append(table)
    return "".join(out)


def _row(name: str, matches: Mapping[str, Match] | None, others: Sequence[str]) -> str:
    if matches is None:
        return f'<tr><th>{escape(name)}</th><td class="text muted" colspan="{2 * len(others)}">never seen</td></tr>'
    cells = itertools.chain.from_iterable(_cells(matches.get(other)) for other in others)
    return f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>"


def _cells(match: Match | None) -> Iterable[str]:
    if match is None:
        return ("<td></td>", "<td></td>")
    name = f"<b>{escape(match.name)}</b>" if match.suggested else escape(match.name)
    return (f'<td class="text">{name}</td>', f"<td>{'=' if match.shared else f'{match.similarity:.2f}'}</td>")


# Pieces


def _rgb(color: Color) -> str:
    return "rgb({} {} {})".format(*color)


def _shortened(name: str) -> str:
    return name if len(name) <= _LETTERS_A_NAME else name[: _LETTERS_A_NAME - 1] + "…"


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>")
