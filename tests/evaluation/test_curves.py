"""The numbers behind a chart against plain loops; the drawing as XML, where every point must lie inside."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiseg.evaluation.curves import COLORS, Line, line_chart, line_sample, smooth, step_ticks, thin_out, ticks

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(finite, st.floats(0, 1e6))
def test_ticks_enclose_the_range_in_a_few_equal_steps(low, width):
    found = ticks(low, low + width)
    rounding = 1e-6 * max(1, abs(low), width)
    assert found[0] <= low + rounding
    assert found[-1] >= low + width - rounding
    assert 2 <= len(found) <= 7
    steps = [second - first for first, second in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=1e-9)


def test_ticks_are_round():
    assert ticks(47.3, 62.9) == [45, 50, 55, 60, 65]
    assert ticks(0, 2.34) == [0, 1, 2, 3]
    assert ticks(0.001, 0.0042) == [0.001, 0.002, 0.003, 0.004, 0.005]


@given(st.integers(1, 10**7))
def test_step_ticks_are_whole_and_within_the_run(last):
    found = step_ticks(last)
    assert all(tick == int(tick) for tick in found)
    assert found[0] == 0
    assert found[-1] <= last
    assert len(found) <= 5


def test_thinned_points_are_the_means_of_their_bins():
    points = [(float(step), float(step % 7)) for step in range(1, 101)]
    thin = thin_out(points, 25)
    expected = [(float(4 * i + 4), sum((4 * i + k) % 7 for k in range(1, 5)) / 4) for i in range(25)]
    assert np.array(thin) == pytest.approx(np.array(expected))
    assert thin_out(points, 100) == points


def test_smoothing_averages_around_a_point_narrower_at_the_start_and_one_sided_at_the_end():
    values = [float(step * step % 11) for step in range(60)]
    done = [value for _, value in smooth(list(enumerate(values)))]
    assert done[0] == values[0]
    assert done[1] == pytest.approx(sum(values[0:3]) / 3)
    assert done[30] == pytest.approx(sum(values[27:34]) / 7)
    assert done[59] == pytest.approx(sum(values[56:60]) / 4)


def parse(svg):
    """The chart; and (class, points) of what is drawn in the plot."""
    root = ElementTree.fromstring(svg)
    plot = root.find("svg")
    drawn = []
    for shape in plot:
        if shape.tag == "polyline":
            places = [tuple(map(float, pair.split(","))) for pair in shape.get("points").split()]
        else:
            places = [(float(shape.get("cx")), float(shape.get("cy")))]
        drawn.append((shape.get("class"), places))
    return root, plot, drawn


def test_a_chart_keeps_every_point_inside_and_larger_values_higher():
    svg = line_chart("mIoU", [Line("a", 0, [(10, 20.0), (20, 60.0)]), Line("b", 1, [(10, 40.0), (40, 30.0)])])
    _, plot, drawn = parse(svg)
    left, top, width, height = map(float, plot.get("viewBox").split())
    for _, places in drawn:
        assert all(left <= x <= left + width and top <= y <= top + height for x, y in places)
    (lines_a, lines_b) = [places for kind, places in drawn if "line" in kind]
    assert lines_a[1][1] < lines_b[0][1] < lines_b[1][1] < lines_a[0][1]
    assert lines_a[0][0] == lines_b[0][0]
    assert lines_b[1][0] == pytest.approx(4 * lines_b[0][0], rel=1e-2)
    assert sum("dot" in kind for kind, _ in drawn) == 4


def test_long_lines_are_drawn_as_logged_and_smoothed():
    noisy = [(float(step), 1.0 + (step % 2)) for step in range(1, 81)]
    _, _, drawn = parse(line_chart("loss", [Line("a", 2, noisy)], from_zero=True))
    assert [kind for kind, _ in drawn] == ["line raw run2", "line run2"]
    logged, smoothed = ([y for _, y in places][5:] for _, places in drawn)
    assert max(smoothed) - min(smoothed) < 0.3 * (max(logged) - min(logged))


def test_one_spike_does_not_flatten_the_rest():
    calm = [(float(step), 1.0) for step in range(1, 101)]
    spiky = [*calm[:50], (51.0, 1e6), *calm[51:]]
    root, _, _ = parse(line_chart("loss", [Line("a", 0, spiky)], from_zero=True))
    top = max(float(text.text) for text in root.iter("text") if text.get("text-anchor") == "end")
    assert top < 1e6 / 5


def test_the_pointer_shows_every_run_at_a_step():
    svg = line_chart("x", [Line("one & two", 0, [(10, 1.0), (20, 2.0)]), Line("b", 1, [(20, 3.0)])])
    root, _, _ = parse(svg)
    assert [title.text for title in root.iter("title")] == ["step 10\none & two: 1", "step 20\none & two: 2\nb: 3"]
    bands = [(float(band.get("x")), float(band.get("width"))) for band in root.iter("rect")]
    assert all(width > 0 for _, width in bands)
    assert bands[0][0] + bands[0][1] == pytest.approx(bands[1][0], abs=0.11)


@pytest.mark.parametrize("points", [[(1, 5.0)], [(1, 0.0), (2, 0.0)], [(700, 33.3)], [(1, 1e-9), (2, 1e9)]])
def test_odd_lines_are_drawn_with_finite_numbers(points):
    svg = line_chart("x", [Line("a", 0, points)], from_zero=True)
    parse(svg)
    assert not re.search(r"nan|inf", svg)


def test_a_run_without_points_leaves_the_others():
    _, _, drawn = parse(line_chart("x", [Line("a", 0, []), Line("b", 1, [(1, 1.0), (2, 2.0)])]))
    assert {kind for kind, _ in drawn} == {"line run1", "dot run1"}


def test_colours_come_back_dashed():
    _, _, drawn = parse(line_chart("x", [Line("a", COLORS + 1, [(1, 1.0), (2, math.pi)])]))
    assert drawn[0][0] == "line run1 dashed"


def test_a_line_that_is_not_to_be_smoothed_is_drawn_as_it_is():
    noisy = [(float(step), 1.0 + (step % 2)) for step in range(1, 81)]
    svg = line_chart("x", [Line("a", 2, noisy)], axis="channel", smoothed=False)
    root, _, drawn = parse(svg)
    assert [kind for kind, _ in drawn] == ["line run2"]
    assert len(drawn[0][1]) == 80
    assert next(root.iter("title")).text == "channel 1\na: 2"


def test_on_a_logarithmic_axis_equal_ratios_are_equally_far():
    svg = line_chart("x", [Line("a", 0, [(1, 0.01), (2, 1.0), (3, 100.0)])], logarithmic=True)
    root, _, drawn = parse(svg)
    heights = [y for _, y in drawn[0][1]]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert {"0.01", "1", "100"} <= {text.text for text in root.iter("text") if text.get("text-anchor") == "end"}
    assert [title.text for title in root.iter("title")] == ["step 1\na: 0.01", "step 2\na: 1", "step 3\na: 100"]


def test_lines_of_one_colour_have_different_strokes_as_in_their_key():
    lines = [Line(str(dash), 1, [(1, 1.0), (2, 2.0)], dash) for dash in range(4)]
    _, _, drawn = parse(line_chart("x", lines))
    kinds = [kind for kind, _ in drawn if "line" in kind]
    assert len(set(kinds)) == 4
    assert all(f'class="{kind}"' in line_sample(line) for kind, line in zip(kinds, lines, strict=True))


def test_titles_of_axes_stand_outside_the_plot():
    plain = line_chart("t", [Line("a", 0, [(1, 2), (3, 4)])])
    titled = line_chart("t", [Line("a", 0, [(1, 2), (3, 4)])], titles=("images <seen>", "mIoU, %"))
    assert "images &lt;seen&gt;" in titled and "mIoU, %" in titled
    left, top, width, height = map(float, re.search(r'viewBox="(.*?)"', titled)[1].split())
    old = [*map(float, re.search(r'viewBox="(.*?)"', plain)[1].split())]
    assert old[:2] == [0, 0] and left < 0 == top
    assert (left + width, height > old[3]) == (old[2], True)
    y = float(re.search(r'y="(\d+)" text-anchor="middle">images', titled)[1])
    ticks_at = max(map(float, re.findall(r'y="([\d.]+)" text-anchor="middle">\d', titled)))
    assert ticks_at + 10 < y < height


def test_a_line_that_is_not_marked_has_no_dots_and_no_tooltip():
    lines = [Line("mean", 0, [(1, 2), (3, 4)], marked=False), Line("run", 1, [(1, 2)])]
    chart = line_chart("t", lines)
    assert re.findall(r'class="dot (\w+)"', chart) == ["run1"]
    assert "run: 2" in chart and "mean: " not in chart
    assert 'class="line run0"' in chart


def test_many_steps_are_written_short():
    chart = line_chart("t", [Line("a", 0, [(1, 2), (40_000_000, 4)])])
    assert re.findall(r'text-anchor="middle">(.*?)<', chart) == ["0", "10M", "20M", "30M", "40M"]
