"""A chart of classes is measured in the picture itself: how much of each colour there is."""

import numpy as np
import pytest
from PIL import Image

from multiseg.evaluation.class_chart import percent, write_class_chart
from multiseg.label_space import LabelClass, LabelSpace, pack_colors


def space(*colors, names=None):
    names = names or [f"class {place}" for place in range(len(colors))]
    return LabelSpace("s", tuple(LabelClass(n, (p,), c) for p, (n, c) in enumerate(zip(names, colors, strict=True))))


def draw(tmp_path, space, pixels, images=None, title="town/train", remark="3 images"):
    write_class_chart(tmp_path / "chart.png", title, remark, space, pixels, images or [share > 0 for share in pixels])
    with Image.open(tmp_path / "chart.png") as picture:
        return np.asarray(picture.convert("RGB"))


def bar(picture, color):
    """Left, right, top and bottom of what has a colour."""
    rows, columns = np.nonzero((picture == color).all(-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


RED, GREEN, BLUE = (250, 0, 0), (0, 200, 0), (0, 0, 240)


def test_bars_are_as_long_as_shares_and_the_longest_is_on_top(tmp_path):
    picture = draw(tmp_path, space(RED, GREEN, BLUE), [0.2, 0.5, 0.3])
    red, green, blue = (bar(picture, color) for color in (RED, GREEN, BLUE))
    assert red[0] == green[0] == blue[0]
    length = [right - left for left, right, *_ in (red, green, blue)]
    assert np.allclose(np.array(length) / length[1], [0.4, 1, 0.6], atol=0.02)
    assert green[2] < blue[2] < red[2]


def test_shares_far_apart_are_shown_by_their_factors(tmp_path):
    picture = draw(tmp_path, space(RED, GREEN, BLUE), [0.9, 0.009, 0.00009])
    red, green, blue = (right - left for left, right, *_ in (bar(picture, color) for color in (RED, GREEN, BLUE)))
    assert red - green == pytest.approx(green - blue, abs=3)
    assert blue > 5


def test_a_class_that_never_occurs_has_no_bar(tmp_path):
    picture = draw(tmp_path, space(RED, GREEN), [1, 0])
    assert (picture == RED).all(-1).any()
    assert not (picture == GREEN).all(-1).any()


@pytest.mark.parametrize("occurring", [0, 1, 40])
@pytest.mark.filterwarnings("error")  # a layout that fails is a warning
def test_columns_of_classes_that_never_occur_keep_their_place(tmp_path, occurring):
    picture = draw(tmp_path, space(*[RED] * 120), [0.2] * occurring + [0] * (120 - occurring))
    assert picture.shape[1] == 3 * 715
    if occurring:
        _, right, *_ = bar(picture, RED)
        assert right < 715


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (40, 1), (41, 2), (170, 4)])
def test_many_classes_stand_in_columns(tmp_path, count, columns):
    colors = [(place % 256, 100, place // 256) for place in range(count)]
    picture = draw(tmp_path, space(*colors), [0.2] * count)
    height, width, _ = picture.shape
    assert width == columns * 715
    rows = -(-count // columns)
    assert height == pytest.approx(110 * (0.21 * rows + 1.6), abs=2)
    # every class is there, and none reaches into the next column
    packed = pack_colors(picture)
    for column in range(columns):
        here = set(np.unique(packed[:, column * 715 : (column + 1) * 715]).tolist())
        shown = [place for place, color in enumerate(colors) if int(pack_colors(np.array(color, np.uint8))) in here]
        assert shown == list(range(column * rows, min(count, (column + 1) * rows)))


def test_names_are_shown_as_they_are(tmp_path):
    names = ["cost $5 and $6", "a_b^c", "[red]", "x" * 200]
    plain = draw(tmp_path, space(RED, RED, RED, RED), [0.25] * 4, title="$a$", remark="$b$ " * 90)
    odd = draw(tmp_path, space(RED, RED, RED, RED, names=names), [0.25] * 4, title="$a$", remark="$b$ " * 90)
    assert plain.shape == odd.shape
    left, right, *_ = bar(odd, RED)
    assert right > left + 10  # the long name leaves room for the bars


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1, "100.0"),
        (0.4149, "41.5"),
        (0.01, "1.0"),
        (0.007, "0.70"),
        (0.000704, "0.070"),
        (4e-6, "0.00040"),
        (0, "0.0"),
    ],
)
def test_percent_shows_the_digits_that_count(share, text):
    assert percent(share) == text
