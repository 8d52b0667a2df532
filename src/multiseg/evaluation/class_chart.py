"""How often each class of a dataset occurs, as a bar chart that can be read with hundreds of classes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseg.label_space import LabelSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: So many classes stand in one column, until there are four columns.
_ROWS = 40
_COLUMNS = 4
_COLUMN_INCHES, _ROW_INCHES, _FRAME_INCHES = 6.5, 0.21, 1.6
_DOTS_PER_INCH = 110
_LETTERS_A_COLUMN, _LETTERS_A_NAME = 95, 28

_INK, _MUTED, _RULE = "#1d2129", "#646b78", "#e3e5e9"

#: Where the largest share of pixels is so many times the smallest, equal steps are equal factors.
_LOGARITHMIC_FROM = 50


def write_class_chart(
    path: Path, title: str, remark: str, space: LabelSpace, pixel_shares: Sequence[float], image_shares: Sequence[float]
) -> None:
    """A PNG with a bar for each class's share of the pixels and a ring for its share of the images, largest bar first.

    Args:
        path: of the file.
        title: heading.
        remark: below it, wrapped.
        space: gives names and colours.
        pixel_shares: 0 to 1, of each class.
        image_shares: 0 to 1, of each class.
    """
    # half a second that other commands need not wait for
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    order = sorted(range(len(space)), key=lambda place: (-pixel_shares[place], -image_shares[place], place))
    columns = min(_COLUMNS, math.ceil(len(order) / _ROWS))
    rows = math.ceil(len(order) / columns)
    lowest = _lowest(pixel_shares)
    size = (columns * _COLUMN_INCHES, rows * _ROW_INCHES + _FRAME_INCHES)
    figure = Figure(size, dpi=_DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
    heading, *axes = figure.subplot_mosaic(
        [["heading"] * columns, [f"{column}" for column in range(columns)]],
        height_ratios=[0.5, rows * _ROW_INCHES],
    ).values()
    _write_heading(heading, title, textwrap.fill(remark, columns * _LETTERS_A_COLUMN))
    for column, part in enumerate(axes):
        places = order[column * rows : (column + 1) * rows]
        _frame(part, lowest, rows, [space.names[place] for place in places])
        _draw(
            part,
            [space.classes[place].color for place in places],
            [pixel_shares[place] for place in places],
            [image_shares[place] for place in places],
        )
    figure.savefig(path, format="png")


def _write_heading(axes: Axes, title: str, remark: str) -> None:
    axes.axis("off")
    # from the left edge of the picture, and not of the bars, whatever room the layout leaves for names of classes
    place: dict[str, Any] = {"xycoords": ("figure fraction", "axes fraction"), "va": "top", "parse_math": False}
    for text in (
        axes.annotate(title, (0.02, 1), fontsize=14, fontweight="bold", color=_INK, **place),
        axes.annotate(remark, (0.02, 0.3), fontsize=8.5, color=_MUTED, **place),
    ):
        text.set_in_layout(False)


def _lowest(shares: Sequence[float]) -> float:
    """Where the axis begins, in percent: at a power of ten below all shares, or at 0."""
    known = [100 * share for share in shares if share > 0]
    if not known or max(known) < _LOGARITHMIC_FROM * min(known):
        return 0
    return float(10.0 ** math.floor(math.log10(min(known)) - 0.05))


#: Where the figures beside the bars end, in points from the axes.
_PIXELS_AT, _IMAGES_AT = 48, 96


def _frame(axes: Axes, lowest: float, rows: int, names: Sequence[str]) -> None:
    axes.set_xscale("log" if lowest else "linear")
    axes.set_xlim(lowest, 100)
    if lowest:
        ticks = [10.0**power for power in range(round(math.log10(lowest)), 3)]
        axes.set_xticks(ticks[:: math.ceil(len(ticks) / 7)])
        axes.set_xticks([], minor=True)
    else:
        axes.set_xticks([0, 25, 50, 75, 100])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.9f}".rstrip("0").rstrip(".") + " %")
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_yticks(range(len(names)), labels=[_shortened(name) for name in names], parse_math=False)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=_INK)
    axes.tick_params(axis="x", labelcolor=_MUTED, labelsize=7.5)
    axes.grid(axis="x", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    for place, text in ((_PIXELS_AT, "▬ pixels"), (_IMAGES_AT, "○ images")):
        _write(axes, place, -1.2, text, _MUTED)


def _draw(
    axes: Axes, colors: Sequence[tuple[int, int, int]], pixel_shares: Sequence[float], image_shares: Sequence[float]
) -> None:
    """Bars, rings and figures of one column, from top to bottom."""
    occurring = [row for row, share in enumerate(image_shares) if share > 0]
    axes.barh(
        occurring,
        [100 * pixel_shares[row] for row in occurring],
        height=0.72,
        color=[tuple(part / 255 for part in colors[row]) for row in occurring],
        edgecolor=_MUTED,
        linewidth=0.5,
    )
    if occurring:  # the layout fails at a line without points
        rings = [100 * image_shares[row] for row in occurring]
        axes.plot(rings, occurring, "o", markersize=5, color="white", markeredgecolor=_INK, clip_on=False)
    for row, (pixel_share, image_share) in enumerate(zip(pixel_shares, image_shares, strict=True)):
        if image_share > 0:
            _write(axes, _PIXELS_AT, row, percent(pixel_share), _INK)
            _write(axes, _IMAGES_AT, row, percent(image_share), _MUTED)
        else:
            _write(axes, _PIXELS_AT, row, "never", _MUTED)


def _write(axes: Axes, right: float, row: float, text: str, color: str) -> None:
    axes.annotate(
        text,
        (1, row),
        (right, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7.5,
        color=color,
    )


def _shortened(name: str) -> str:
    return name if len(name) <= _LETTERS_A_NAME else name[: _LETTERS_A_NAME - 1] + "…"


def percent(share: float) -> str:
    """A share, 0 to 1, in percent with two or three digits that count: "41.5", "0.07", "0.0004"."""
    value = 100 * share
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.{1 - math.floor(math.log10(value))}f}"
