"""Line charts as inline SVG: coloured by the page, so that they are right in light and dark, and without script.

Colours are CSS classes `run0`, `run1`, … (see `report.css`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

Points = Sequence[tuple[float, float]]

#: Colours in `report.css`; further runs take them again, dashed.
COLORS = 8
#: Classes of the strokes in `report.css`, for lines of one colour.
DASHES = ("", " dashed", " dotted", " dashdot")

_WIDTH, _HEIGHT = 480, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 10, 24
#: Room for an axis's title.
_TITLE = 18
#: More points than that are averaged in bins: a chart half a thousand pixels wide shows no more.
_MAX_POINTS = 150
#: From this many points on a line is drawn smoothed, over what was logged.
_SMOOTH_FROM = 20
_MAX_DOTS = 12


@dataclass(frozen=True)
class Line:
    """One run in a chart.

    Args:
        name: of the run.
        color: of the run, 0, 1, …
        points: (step, value), steps ascending, values finite.
        dash: 0, 1, …, where several lines have the same colour.
        marked: its points can be seen, where they are few, and are told under the pointer.
    """

    name: str
    color: int
    points: Points
    dash: int = 0
    marked: bool = True

    @property
    def style(self) -> str:
        """CSS classes of its colour and stroke."""
        return f"run{self.color % COLORS}{DASHES[(self.dash + self.color // COLORS) % len(DASHES)]}"


def line_chart(
    title: str,
    lines: Sequence[Line],
    from_zero: bool = False,
    axis: str = "step",
    smoothed: bool = True,
    logarithmic: bool = False,
    titles: tuple[str, str] | None = None,
) -> str:
    """An SVG of values against steps; the values of a step are shown under the pointer.

    Args:
        title: for screen readers.
        lines: at least one point altogether.
        from_zero: the value axis begins at zero, as it should for a loss.
        axis: what a step is called under the pointer.
        smoothed: long lines are drawn smoothed, over what was logged.
        logarithmic: the value axis is; values are positive.
        titles: of the step axis and of the value axis; drawn beside them.
    """
    if logarithmic:
        lines = [replace(line, points=[(step, math.log10(value)) for step, value in line.points]) for line in lines]
    lines = [replace(line, points=thin_out(line.points, _MAX_POINTS)) for line in lines if line.points]
    main = [smooth(line.points) if smoothed and len(line.points) >= _SMOOTH_FROM else line.points for line in lines]
    values = [value for points in main for _, value in points]  # so that one bad batch does not flatten the rest
    y_ticks = ticks(min(0.0, *values) if from_zero else min(values), max(values))
    last_step = max(1.0, *(line.points[-1][0] for line in lines))
    plot = _Plot(last_step, y_ticks[0], y_ticks[-1], logarithmic)
    drawn = [_draw(plot, line, points) for line, points in zip(lines, main, strict=True)]
    left, below = (_TITLE, _TITLE) if titles else (0, 0)
    return (
        f'<svg class="chart" viewBox="{-left} 0 {_WIDTH + left} {_HEIGHT + below}" role="img" '
        f'aria-label="{escape(title)}">{_grid(plot, step_ticks(last_step), y_ticks)}{_axis_titles(plot, titles)}'
        f'<svg x="{_LEFT}" y="{_TOP - 3}" width="{plot.width + 6}" height="{plot.height + 6}" '
        f'viewBox="0 -3 {plot.width + 6} {plot.height + 6}">{"".join(drawn)}</svg>'
        f"{_hover(plot, lines, axis)}</svg>"
    )


def line_sample(line: Line) -> str:
    """A short piece of a line, for a key."""
    stroke = f'<line class="line {line.style}" x1="1" x2="27" y1="5" y2="5"/>'
    return f'<svg class="sample" viewBox="0 0 28 10" aria-hidden="true">{stroke}</svg>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers, about `count` steps apart, that enclose a range."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    step = _round_up((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def step_ticks(last: float, count: int = 4) -> list[float]:
    """Round whole numbers from zero to at most `last`."""
    step = _round_up(max(1.0, last / count))
    return [index * step for index in range(math.floor(last / step) + 1)]


def _round_up(value: float) -> float:
    """To the next of …, 0.5, 1, 2, 5, 10, 20, …"""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def thin_out(points: Points, limit: int) -> Points:
    """At most `limit` points, each the mean of neighbours; the last one's step stays the last."""
    if len(points) <= limit:
        return points
    edges = [round(index * len(points) / limit) for index in range(limit + 1)]
    bins = [points[start:stop] for start, stop in pairwise(edges)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in bins]


def smooth(points: Points) -> Points:
    """Each value the mean of its neighbourhood, a tenth of the line wide.

    Narrower at the start, where a loss falls steeply; one-sided at the end: one last batch tells little.
    """
    reach = max(1, len(points) // 20)
    out = []
    for index, (step, _) in enumerate(points):
        near = min(reach, index)
        window = points[index - near : index + near + 1]
        out.append((step, sum(value for _, value in window) / len(window)))
    return out


@dataclass(frozen=True)
class _Plot:
    """From steps and values to places; the step axis begins at zero, a logarithmic one has logarithms as values."""

    last_step: float
    low: float
    high: float
    logarithmic: bool = False

    width = _WIDTH - _LEFT - _RIGHT
    height = _HEIGHT - _TOP - _BOTTOM

    def x(self, step: float) -> float:
        return self.width * step / self.last_step

    def y(self, value: float) -> float:
        return self.height * (self.high - value) / (self.high - self.low)

    def told(self, value: float, digits: int) -> str:
        return f"{float(f'{10**value if self.logarithmic else value:.{digits}g}'):g}"

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)


def _draw(plot: _Plot, line: Line, smoothed: Points) -> str:
    out = f'<polyline class="line {line.style}" points="{plot.path(smoothed)}"/>'
    if smoothed is not line.points:
        out = f'<polyline class="line raw {line.style}" points="{plot.path(line.points)}"/>{out}'
    if line.marked and len(line.points) <= _MAX_DOTS:
        places = [(plot.x(step), plot.y(value)) for step, value in line.points]
        out += "".join(f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    return out


def _grid(plot: _Plot, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    out = []
    for value in y_ticks:
        y = _TOP + plot.y(value)
        out.append(f'<line x1="{_LEFT}" x2="{_LEFT + plot.width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = plot.told(value, 2 if plot.logarithmic else 12)
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step in x_ticks:
        out.append(f'<text x="{_LEFT + plot.x(step):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{_steps(step)}</text>')
    return f'<g class="grid">{"".join(out)}</g>'


def _axis_titles(plot: _Plot, titles: tuple[str, str] | None) -> str:
    if titles is None:
        return ""
    of_steps, of_values = map(escape, titles)
    x, y = _LEFT + plot.width / 2, _TOP + plot.height / 2
    return (
        f'<g class="grid"><text x="{x:.1f}" y="{_HEIGHT + _TITLE - 4}" text-anchor="middle">{of_steps}</text>'
        f'<text x="0" y="{y:.1f}" text-anchor="middle" transform="rotate(-90 0 {y:.1f})">{of_values}</text></g>'
    )


def _steps(step: float) -> str:
    if step >= 10_000_000:
        return f"{step / 1_000_000:g}M"
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"


def _hover(plot: _Plot, lines: Sequence[Line], axis: str) -> str:
    """Invisible bands, one a logged step, whose tooltips list every run's value there."""
    at: dict[float, list[str]] = {}
    for line in (line for line in lines if line.marked):
        for step, value in line.points:
            at.setdefault(step, []).append(f"{line.name}: {plot.told(value, 4)}")
    steps = sorted(at)
    edges = [steps[0], *((first + second) / 2 for first, second in pairwise(steps)), steps[-1]]
    bands = []
    for step, (start, stop) in zip(steps, pairwise(edges), strict=True):
        left, right = plot.x(start) - (step == steps[0]) * 4, plot.x(stop) + (step == steps[-1]) * 4
        told = escape("\n".join([f"{axis} {step:g}", *at[step]]))
        place = f'x="{_LEFT + left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{plot.height}"'
        bands.append(f'<rect class="band" {place}><title>{told}</title></rect>')
    return "".join(bands)
