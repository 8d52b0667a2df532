"""Each damage is found as what it is, and the documentation says what the command says."""

import pytest

import damaged_trees
from multiseg.inspection.checking import PROBLEMS


@pytest.mark.parametrize("damage", damaged_trees.DAMAGES, ids=lambda damage: damage.what)
def test_a_damage_is_found_and_nothing_else(damage):
    answer = damaged_trees.answer_to(damage)
    assert {problem["kind"] for problem in answer.problems} == set(damage.kinds), damage.what
    severities = {PROBLEMS[kind][0] for kind in damage.kinds}
    assert answer.code == int("error" in severities)
    assert answer.strict_code == int(severities != {"note"})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (damaged_trees.write_ids, "harbour"),
        (damaged_trees.write_colors, "harbour"),
        (damaged_trees.write_panoptic, "panoptic"),
    ],
)
def test_the_trees_are_sound_before_they_are_damaged(make, name, tmp_path):
    make(tmp_path)
    answer = damaged_trees.check(tmp_path, (name,))
    assert (answer.problems, answer.code, answer.strict_code) == ([], 0, 0)


def test_every_kind_of_problem_has_its_damage():
    shown = {kind for damage in damaged_trees.DAMAGES for kind in damage.kinds}
    assert set(PROBLEMS) - shown == {"withheld_labels"}  # no damage, and tested with the check


def test_the_documentation_shows_what_the_command_says():
    page = damaged_trees.PAGE.read_text("utf-8")
    assert damaged_trees.page_with_table(page) == page, "out of date: run python tests/damaged_trees.py"
