"""The section is asked what it shows; names are checked for lying on each other."""

import itertools
import re
import sys
from html import unescape

import numpy as np
import pytest

from multiseg.errors import MultisegError
from multiseg.evaluation.embedding_charts import (
    Cloud,
    Mark,
    Match,
    RunPrototypes,
    among,
    in_the_plane,
    place_labels,
    prototypes_section,
)

RED, BLUE, BLACK = (200, 0, 0), (0, 0, 200), (0, 0, 0)


def run(name="r", shared=False, notes=(), **changes):
    """Two datasets: town (road, sky, ghost) and park (tree, sky)."""
    clouds = [
        Cloud("town", "road", RED, np.array([[0.0, 0.0], [1.0, 2.0]])),
        Cloud("town", "sky", BLUE, np.array([[5.0, 5.0]])),
        Cloud("park", "sky", BLACK, np.array([[6.0, 5.0], [6.0, 6.0], [10.0, 4.0]])),
    ]
    marks = [Mark(("town",), "road", RED, (0.5, 1.0)), Mark(("park",), "tree", BLACK, (9.0, 1.0))]
    if shared:
        marks.append(Mark(("town", "park"), "sky", BLUE, (5.5, 5.0)))
    else:
        marks += [Mark(("town",), "sky", BLUE, (5.0, 4.0)), Mark(("park",), "sky", BLACK, (6.0, 5.5))]
    matches = {
        ("town", "road"): {"park": Match("tree", 0.25, False, False)},
        ("town", "sky"): {"park": Match("sky", 0.875, True, shared)},
        ("park", "tree"): {"town": Match("road", 0.25, True, False)},
        ("park", "sky"): {"town": Match("sky", 0.875, True, shared)},
    }
    classes = {"town": ("road", "sky", "ghost"), "park": ("tree", "sky")}
    made = {"run": name, "classes": classes, "clouds": clouds, "marks": marks, "matches": matches, "notes": notes}
    return RunPrototypes(**{**made, **changes})


def pictures(section):
    """By title: (dots as (title, colour class, colour, number)), (marks as (title, class, colour))."""
    out = {}
    for svg in re.findall(r'<svg class="scatter".*?</svg>', section, re.S):
        dots = [
            (unescape(title), kind, style, path.count("h0"))
            for kind, title, path, style in re.findall(
                r'<g class="(\w+)"><title>(.*?)</title>.*?<path class="dots" d="(.*?)"(.*?)/></g>', svg
            )
        ]
        marks = [
            (unescape(title), kind, style)
            for kind, style, title in re.findall(
                r'<path class="prototype (\w+)" d=".*?" transform=".*?"(.*?)><title>(.*?)</title>', svg
            )
        ]
        out[unescape(re.search(r'aria-label="(.*?)"', svg)[1])] = dots, marks
    return out


def names_in(svg):
    return [unescape(name) for name in re.findall(r"<text .*?>(.*?)</text>", svg)]


def text_of(section):
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<wbr>|<title>.*?</title>", "", section, flags=re.S)))


def rows(section):
    found = re.findall(r"<tr.*?</tr>", section)
    return [[unescape(re.sub("<(?!/?b>).*?>", "", c)) for c in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in found]


def test_pixels_and_prototypes_by_dataset_and_by_class():
    by_dataset, by_class = pictures(prototypes_section([run()])).values()
    assert [(title, kind, number) for title, kind, _, number in by_dataset[0]] == [
        ("town/road", "run0", 2),
        ("town/sky", "run0", 1),
        ("park/sky", "run1", 3),
    ]
    assert by_dataset[1] == [
        *(("town: road", "run0", ""), ("park: tree", "run1", "")),
        *(("town: sky", "run0", ""), ("park: sky", "run1", "")),
    ]
    assert {style for _, _, style, _ in by_dataset[0]} == {""}
    assert [re.search(r"stroke:(.*?)\"", style)[1] for _, _, style, _ in by_class[0]] == [
        *("rgb(200 0 0)", "rgb(0 0 200)", "rgb(0 0 0)"),
    ]
    assert [re.search(r"fill:(.*?)\"", style)[1] for _, _, style in by_class[1]] == [
        *("rgb(200 0 0)", "rgb(0 0 0)", "rgb(0 0 200)", "rgb(0 0 0)"),
    ]


def test_every_prototype_has_its_name_beside_it():
    for svg in re.findall(r'<svg class="scatter".*?</svg>', prototypes_section([run()]), re.S):
        assert names_in(svg) == ["road", "tree", "sky", "sky"]


def test_places_keep_their_order():
    """What is left in the plane is left in the picture, and all is inside it."""
    section = prototypes_section([run()])
    svg = re.search(r'<svg class="scatter".*?</svg>', section, re.S)[0]
    dots = [tuple(map(float, place)) for place in re.findall(r"M([\d.]+) ([\d.]+)h0", svg)]
    expected = np.concatenate([cloud.places for cloud in run().clouds])
    for axis in (0, 1):
        assert np.argsort([place[axis] for place in dots], kind="stable").tolist() == (
            np.argsort(expected[:, axis], kind="stable").tolist()
        )
    assert all(0 <= x <= 960 and 0 <= y <= 600 for x, y in dots)


def test_a_prototype_of_several_datasets_has_a_mark_of_its_own():
    section = prototypes_section([run(shared=True)])
    by_dataset, _ = pictures(section).values()
    assert ("town + park: sky", "several", "") in by_dataset[1]
    assert "of several datasets" in text_of(section)
    assert "of several datasets" not in text_of(prototypes_section([run()]))
    assert ["sky", "<b>sky</b>", "="] in rows(section)
    assert "one class to the model" in text_of(section)


def test_marks_of_datasets_differ_in_shape_or_colour():
    names = [f"d{number}" for number in range(12)]
    marks = [Mark((name,), "c", RED, (float(place), 0.0)) for place, name in enumerate(names)]
    many = run(classes=dict.fromkeys(names, ("c",)), clouds=[], marks=marks, matches={})
    svg = re.search(r'<svg class="scatter".*?</svg>', prototypes_section([many]), re.S)[0]
    kinds = re.findall(r'<path class="prototype (\w+)" d="(.*?)"', svg)
    assert len(kinds) == len(set(kinds)) == 12


def test_the_table_names_the_nearest_in_each_other_dataset():
    section = prototypes_section([run()])
    assert rows(section) == [
        ["town", "in park", ""],
        ["road", "tree", "0.25"],
        ["sky", "<b>sky</b>", "0.88"],
        ["ghost", "never seen"],
        ["park", "in town", ""],
        ["tree", "<b>road</b>", "0.25"],
        ["sky", "<b>sky</b>", "0.88"],
    ]
    assert "multiseg taxonomy --prototypes" in section


def test_one_dataset_has_a_picture_by_class_and_no_table():
    made = run()
    alone = run(
        classes={"town": made.classes["town"]},
        clouds=made.clouds[:2],
        marks=[mark for mark in made.marks if mark.datasets == ("town",)],
        matches={},
    )
    section = prototypes_section([alone])
    assert [*pictures(section)] == ["Prototypes and pixels by class"]
    assert "<table" not in section


def test_without_a_picture_the_table_and_the_reason_remain():
    section = prototypes_section([run(marks=[], clouds=[], notes=("No picture: <why>.",))])
    assert "<svg" not in section and "<p>No picture: &lt;why&gt;.</p>" in section
    assert ["road", "tree", "0.25"] in rows(section)


def test_without_runs_the_section_is_silent():
    assert prototypes_section([]) == ""


def test_of_many_runs_the_first_are_drawn_and_the_others_named():
    section = prototypes_section([run(f"r{number}") for number in range(6)])
    assert re.findall(r"<h3>(.*?)</h3>", section) == ["r0", "r1", "r2", "r3"]
    assert "since there are many: r4, r5." in text_of(section)


def test_names_are_escaped():
    evil = "<script>alert('x')</script>\"&"
    cloud = Cloud(evil, evil, RED, np.zeros((1, 2)))
    made = run(
        evil,
        notes=(evil,),
        classes={evil: (evil, "b"), "o": ("a",)},
        clouds=[cloud],
        marks=[Mark((evil,), evil, RED, (0.0, 0.0)), Mark((evil, "o"), evil, RED, (1.0, 1.0))],
        matches={(evil, evil): {"o": Match(evil, 1, True, True)}, ("o", "a"): {evil: Match(evil, 1, True, False)}},
    )
    section = prototypes_section([made, made])
    assert "<script" not in section
    assert evil in text_of(section)


# Names


def overlap(first, second):
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


@pytest.mark.parametrize("seed", range(5))
def test_names_lie_on_no_other_name_and_no_mark(seed):
    random = np.random.default_rng(seed)
    marks = random.uniform((100, 100), (500, 400), (40, 2)).tolist()
    names = ["x" * int(length) for length in random.integers(2, 20, 40)]
    labels = place_labels(names, marks)
    boxes = [label.box for label in labels if label]
    assert len(boxes) > 25
    assert not any(overlap(*pair) for pair in itertools.combinations(boxes, 2))
    for box, (x, y) in itertools.product(boxes, marks):
        assert not (box[0] < x < box[2] and box[1] < y < box[3])
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= 960 and box[3] <= 600 for box in boxes)


def test_where_there_is_no_room_a_name_is_left_out():
    labels = place_labels(["name"] * 60, [(300.0, 300.0)] * 60)
    assert labels[0] is not None and not labels[0].led
    assert any(label and label.led for label in labels)
    assert labels[-1] is None


# t-SNE


def test_clusters_stay_together_and_a_seed_decides():
    random = np.random.default_rng(0)
    centers = 5 * random.normal(size=(3, 8))
    vectors = np.concatenate([center + random.normal(size=(20, 8)) for center in centers])
    places = in_the_plane(vectors)
    assert places.shape == (60, 2) and np.isfinite(places).all()
    group = np.repeat(np.arange(3), 20)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.diag([np.inf] * 60)
    assert (group[apart.argmin(1)] == group).mean() > 0.95
    assert np.array_equal(places, in_the_plane(vectors))


def test_prototypes_lie_amidst_the_pixels_most_like_them():
    random = np.random.default_rng(0)
    others = random.normal(size=(30, 6))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    vectors, places = 3 * random.normal(size=(4, 6)), random.normal(size=(30, 2))
    found = among(vectors, others, places, count=5)
    for vector, place in zip(vectors, found, strict=True):
        most_like = sorted(range(30), key=lambda index: -float(vector @ others[index]))[:5]
        for axis in (0, 1):
            assert place[axis] == sorted(places[index][axis] for index in most_like)[2]
    assert among(vectors, others[:1], places[:1]).tolist() == [places[0].tolist()] * 4  # fewer than wanted


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 4), (3, 4), (5, 1)])
def test_few_vectors_and_short_ones(shape):
    places = in_the_plane(np.random.default_rng(0).normal(size=shape))
    assert places.shape == (shape[0], 2) and np.isfinite(places).all()


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MultisegError, match=r"it takes scikit-learn: pip install scikit-learn"):
        in_the_plane(np.zeros((5, 2)))
