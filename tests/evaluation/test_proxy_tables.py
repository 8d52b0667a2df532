"""Scores of proxy tasks on the page: figures beside what they are to be compared with."""

import re

import pytest

from multiseg.evaluation.proxy_tables import proxies_section, triplets_table
from multiseg.evaluation.run_summary import RunSummary, with_colors

PUZZLE = {"accuracy": 0.25, "chance": 0.01}
COLORS = {"loss": 1.5, "constant": 2.0, "gain": 0.5}


def run(name, proxy, method="Jigsaw", **curves):
    return RunSummary(name, f"runs/{name}", "a: 1\n", tuple(proxy), method, 10, 5.0, proxy=proxy, curves=curves)


def cells(section):
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.S)
    return [re.sub(r"<.*?>", "", re.sub(r"</t[hd]>", "|", row)).split("|")[:-1] for row in rows]


def test_each_task_has_its_own_table_with_a_row_a_run_and_dataset():
    runs = [
        run("puzzles", {"town": PUZZLE, "park": {"accuracy": 0.5, "chance": 0.01}}),
        run("paint", {"town": COLORS}, "Colorization"),
        RunSummary("plain", "runs/plain", "a: 1\n", ("town",)),
    ]
    section = proxies_section(with_colors(runs))
    assert re.findall("<h3>(.*?)</h3>", section) == ["Jigsaw puzzles", "Colours"]
    assert cells(section) == [
        ["run", "method", "dataset", "solved, %", "by chance, %", "times chance"],
        ["puzzles", "Jigsaw", "town", "25.0", "1.00", "25.0"],
        ["puzzles", "Jigsaw", "park", "50.0", "1.00", "50.0"],
        ["run", "method", "dataset", "loss", "best constant answer", "gain", "gain, % of it"],
        ["paint", "Colorization", "town", "1.500", "2.000", "0.500", "25.0"],
    ]
    assert "No better than" not in section and "plain" not in section


@pytest.mark.parametrize("value", [0.01, 0.005, float("nan")])
def test_what_learnt_nothing_is_named(value):
    section = proxies_section([run("a", {"town": PUZZLE, "park": {"accuracy": value, "chance": 0.01}})])
    assert "<p>No better than chance: a on park.</p>" in section
    lost = {"loss": 2.0 - value + 0.01, "constant": 2.0, "gain": value - 0.01}
    assert "No better than the best constant answer: b on town." in proxies_section([run("b", {"town": lost})])


def test_images_without_colour_leave_nothing_to_gain():
    assert cells(proxies_section([run("a", {"town": {"loss": 0.1, "constant": 0.0, "gain": -0.1}})]))[1][-1] == "–"


def test_curves_are_those_of_held_out_images_and_the_loss():
    curves = {"loss": [(1, 2.0), (2, 1.0)], "val/town/accuracy": [(2, 0.5)], "accuracy": [(1, 0.25)]}
    section = proxies_section([run("a", {"town": PUZZLE}, **curves)])
    titles = ["Jigsaw puzzles", "loss in training", "town: accuracy on held-out images"]
    assert re.findall("<h3>(.*?)</h3>", section) == titles
    assert "step 2\na: 0.5" in section and "a: 0.25" not in section


def test_a_task_of_one_s_own_is_shown_with_the_names_it_has():
    section = proxies_section([run("a", {"town": {"accuracy": 0.5}, "park": {"<error>": 2.0}}, "Mine")])
    assert cells(section)[1:] == [["a", "Mine", "town", "0.500", "–"], ["a", "Mine", "park", "–", "2.000"]]
    assert "&lt;error&gt;" in section and "<error>" not in section


def test_nothing_without_proxy_tasks():
    assert proxies_section([RunSummary("plain", "runs/plain", "a: 1\n", ("town",))]) == ""


def test_triplets_of_patches_have_a_table_in_their_own_section():
    tuning = run("mm", {"town": {"ordered": 0.75, "apart": -0.25}}, "MixAndMatch")
    runs = with_colors([tuning, run("puzzles", {"town": PUZZLE})])
    assert cells(triplets_table(runs))[1:] == [["mm", "MixAndMatch", "town", "75.0", "−0.250"]]
    assert "mm" not in proxies_section(runs) and triplets_table(runs[1:]) == "" == proxies_section(runs[:1])
