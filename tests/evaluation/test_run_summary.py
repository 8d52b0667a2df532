"""Which runs on single datasets stand together as one row."""

import pytest

from multiseg.evaluation.run_summary import RunSummary, group_singles


def run(name, *trained_on, method="MaskFormer", images=None):
    return RunSummary(name, name, "", trained_on, method, images=images)


BOTH = run("both", "town", "park", method="LMSeg")


def grouped(*runs):
    return [(group.name, [member.name for member in group.runs], group.images) for group in group_singles(runs)]


def test_runs_of_one_method_that_cover_another_run_s_datasets_are_a_group():
    runs = [run("p", "park", images=30), run("t", "town", images=20), BOTH]
    assert grouped(*runs) == [("MaskFormer, one model each", ["t", "p"], 50)]
    (group,) = group_singles(runs)
    assert group.trained_on == ("town", "park") and group.method == "MaskFormer"


@pytest.mark.parametrize(
    "runs",
    [
        [run("t", "town"), run("p", "park")],  # nothing to stand beside
        [run("t", "town"), BOTH],  # no park
        [run("t", "town"), run("p", "park", method="Supervised"), BOTH],  # two methods
        [run("t", "town", method=""), run("p", "park", method=""), BOTH],  # unfinished
        [run("t", "town"), run("p", "park"), run("more", "town", "park", "moon")],  # no moon
        [],
    ],
)
def test_others_are_not(runs):
    assert grouped(*runs) == []


def test_runs_at_several_costs_are_groups_by_cost_and_what_is_over_is_in_none():
    runs = [
        *(run("t2", "town", images=200), run("t1", "town", images=100), run("t3", "town", images=300)),
        *(run("p1", "park", images=100), run("p2", "park", images=210), BOTH),
    ]
    assert grouped(*runs) == [
        ("MaskFormer, one model each (1)", ["t1", "p1"], 200),
        ("MaskFormer, one model each (2)", ["t2", "p2"], 410),
    ]


def test_runs_of_one_cost_are_taken_in_order_and_an_unknown_cost_stays_unknown():
    runs = [run("t1", "town"), run("t2", "town"), run("p1", "park", images=1), run("p2", "park", images=1), BOTH]
    assert grouped(*runs) == [
        ("MaskFormer, one model each (1)", ["t1", "p1"], None),
        ("MaskFormer, one model each (2)", ["t2", "p2"], None),
    ]


def test_each_set_of_datasets_has_groups_of_each_method():
    runs = [
        *(run(f"{name}_{method}", name, method=method) for name in ("town", "park", "moon") for method in "AB"),
        *(run("both", "park", "town"), run("again", "town", "park"), run("all", "town", "park", "moon")),
    ]
    assert [(name, members) for name, members, _ in grouped(*runs)] == [
        ("A, one model each of park, town", ["park_A", "town_A"]),
        ("B, one model each of park, town", ["park_B", "town_B"]),
        ("A, one model each of town, park, moon", ["town_A", "park_A", "moon_A"]),
        ("B, one model each of town, park, moon", ["town_B", "park_B", "moon_B"]),
    ]
