"""Pictures of patches: every patch a dot in every picture, in colour where its class is in the key."""

import re

import numpy as np
import pytest

from multiseg.evaluation.patch_charts import PatchPanel, PatchSet, class_groups, patches_section
from multiseg.evaluation.run_summary import RunSummary

RUNS = [RunSummary(name, f"runs/{name}", "a: 1\n", ("town",), "Method") for name in ("before", "<after>")]


def patch_set(classes=3, each=4, pictured=True, **changes):
    labels = np.repeat(np.arange(classes), each)
    places = np.random.default_rng(0).normal(size=(len(labels), 2))
    panels = [
        PatchPanel(run.name, 0.5 + number / 4, 0.25 + number / 2, 1.5 + number, places + number if pictured else None)
        for number, run in enumerate(RUNS)
    ]
    names = [f"class_{label}" for label in range(classes + 1)]
    given = {"dataset": "town", "split": "val", "names": names, "labels": labels.tolist(), "said": "Some patches."}
    return PatchSet(**{**given, "chance": 0.2, "panels": panels, **changes})


def pictures(section):
    """By picture the number of dots of each class, and of others."""
    found = []
    for svg in re.findall(r'<svg class="scatter patches".*?</svg>', section, re.S):
        dots = re.findall(r'<g class="(run\d)"><title>(.*?)</title><path class="dots" d="(.*?)"', svg)
        others = re.search(r'class="others" d="(.*?)"', svg)[1]
        found.append(({name: (color, path.count("M")) for color, name, path in dots}, others.count("M")))
    return found


def test_a_picture_a_run_and_the_figures_beside_what_is_by_chance():
    section = patches_section(RUNS, [patch_set()])
    drawn = {f"class_{label}": (f"run{label}", 4) for label in range(3)}
    assert pictures(section) == [(drawn, 0)] * 2
    rows = re.findall(r"<tr.*?</tr>", section)
    figures = [re.findall(r"<td>(.*?)</td>", row) for row in rows[1:]]
    assert figures == [["50.0", "25.0", "1.5"], ["75.0", "75.0", "2.5"], ["50.0", "20.0", ""]]
    assert "Some patches. Of 4 classes 1 have none." in section
    assert "&lt;after&gt;" in section and "<after>" not in section


def test_of_many_classes_each_is_coloured_in_one_picture_of_a_run_and_grey_in_the_others():
    section = patches_section(RUNS, [patch_set(16, 2)])
    found = pictures(section)
    assert [len(drawn) for drawn, _ in found] == [5, 5, 6, 6, 5, 5]  # three groups of two runs
    assert all(sum(count for _, count in drawn.values()) + others == 32 for drawn, others in found)
    assert len({name for drawn, _ in found for name in drawn}) == 16
    assert all(len({color for color, _ in drawn.values()}) == len(drawn) for drawn, _ in found)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 14, 15, 28])
def test_groups_are_few_and_equal(count):
    groups = class_groups([label for label in range(count) for _ in range(2)])
    assert [label for group in groups for label in group] == list(range(count))
    sizes = [len(group) for group in groups]
    assert len(sizes) == -(-count // 7) and (not sizes or (max(sizes) <= 7 and max(sizes) - min(sizes) <= 1))


def test_without_pictures_or_patches_the_rest_remains():
    section = patches_section(RUNS, [patch_set(pictured=False, notes=("No picture: <why>.",))])
    assert not pictures(section) and section.count("<tr") == 4 and "<p>No picture: &lt;why&gt;.</p>" in section
    gone = patch_set(panels=(), labels=(), notes=("No patches.",))
    assert "<table" not in patches_section(RUNS, [gone]) and "<p>No patches.</p>" in patches_section(RUNS, [gone])
    assert patches_section(RUNS, []) == ""


def test_equal_places_are_drawn():
    panel = PatchPanel("before", 0.5, 0.5, 2.0, np.zeros((12, 2)))
    assert "nan" not in patches_section(RUNS, [patch_set(panels=[panel])])
