import re
from html import unescape

import numpy as np

from multiseg.evaluation.embedding_charts import Mark, Match
from multiseg.evaluation.word_charts import RunWords, words_section


def run(name="r", **changes):
    """Two datasets: town (road, sky) and park (tree, sky)."""
    encoded = [
        Mark(("town",), "road", (1, 2, 3), (0.0, 0.0)),
        Mark(("town", "park"), "sky", (1, 2, 3), (1.0, 5.0)),
        Mark(("park",), "tree", (1, 2, 3), (9.0, 1.0)),
    ]
    adapted = [Mark(mark.datasets, mark.name, mark.color, (mark.place[1], 3.0)) for mark in encoded]
    matches = {
        ("town", "road"): {"park": Match("tree", 0.25, False, False)},
        ("town", "sky"): {"park": Match("sky", 1.0, True, True)},
        ("park", "sky"): {"town": Match("sky", 1.0, True, True)},
        ("park", "tree"): {"town": Match("road", 0.25, False, False)},
    }
    classes = {"town": ("road", "sky"), "park": ("sky", "tree")}
    return RunWords(
        **{"run": name, "classes": classes, "encoded": encoded, "adapted": adapted, "matches": matches, **changes}
    )


def svgs(section):
    return re.findall(r'<svg class="scatter".*?</svg>', section, re.S)


def test_words_before_and_behind_the_adapter_and_the_nearest():
    section = words_section([run()])
    first, second = svgs(section)
    for svg in (first, second):
        assert re.findall(r'<path class="prototype (\w+)"', svg) == ["run0", "several", "run1"]
        assert re.findall(r"<text .*?>(.*?)</text>", svg) == ["road", "sky", "tree"]
        assert "dots" not in svg
    assert re.findall('transform="(.*?)"', first) != re.findall('transform="(.*?)"', second)
    assert re.findall("<h4>(.*?)</h4>", section) == [
        *("As the text encoder gives them", "Behind the adapter, as queries are compared with them", "Nearest words"),
    ]
    assert section.count("of several datasets") == 2 and "Classes marked = have one name." in section
    assert section.count("<table") == 2 and "0.25" in section


def test_one_dataset_has_pictures_and_no_table_and_no_picture_leaves_the_reason():
    alone = run(classes={"town": ("road",)}, encoded=run().encoded[:1], adapted=run().adapted[:1], matches={})
    assert len(svgs(words_section([alone]))) == 2 and "<table" not in words_section([alone])
    without = words_section([run(encoded=(), adapted=(), notes=("No picture: <why>.",))])
    assert not svgs(without) and "<p>No picture: &lt;why&gt;.</p>" in without and without.count("<table") == 2
    assert words_section([]) == ""


def test_of_many_classes_most_have_names_on_a_higher_picture_and_the_table_is_folded():
    random = np.random.default_rng(0)
    names = [f"class {number}" for number in range(150)]
    marks = [Mark(("town",), name, (1, 2, 3), tuple(random.normal(size=2))) for name in names]
    matches = {("town", name): {"park": Match("sky", 0.5, False, False)} for name in names}
    matches["park", "sky"] = {"town": Match("class 1", 0.5, False, False)}
    many = run(classes={"town": names, "park": ("sky",)}, encoded=marks, adapted=(), matches=matches)
    section = words_section([many])
    (svg,) = svgs(section)
    height = float(re.search(r'viewBox="0 0 960 (\d+)"', svg)[1])
    assert height > 900
    assert svg.count("<text") > 120
    places = [tuple(map(float, place.split())) for place in re.findall(r"translate\((.*?)\)", svg)]
    assert len(places) == 150 and max(y for _, y in places) > 900
    assert all(0 <= x <= 960 and 0 <= y <= height for x, y in places)
    assert section.count("<details>") == 1 and "town: 150 classes" in section


def test_names_are_escaped_and_of_many_runs_the_first_are_drawn():
    evil = '<script>&"'
    marks = [Mark((evil,), evil, (1, 2, 3), (0.0, 0.0)), Mark((evil, "o"), evil, (1, 2, 3), (1.0, 1.0))]
    section = words_section(
        [run(evil, classes={evil: (evil,), "o": ("a",)}, encoded=marks, adapted=(), notes=(evil,))] * 2
    )
    assert "<script" not in section and evil in unescape(section)
    many = words_section([run(f"r{number}") for number in range(6)])
    assert re.findall("<h3>(.*?)</h3>", many) == ["r0", "r1", "r2", "r3"] and "since there are many: r4, r5." in many
