"""Atoms against small worlds in which every class is a known set; by hand where relations are incomplete or wrong."""

from __future__ import annotations

import re
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace, union_by_name
from multiseg.taxonomy.relations import Relation, read_relations, relations_by_name
from multiseg.taxonomy.universal_space import UniversalSpace, implied_relations, universal_space

World = dict[str, dict[str, frozenset[int]]]


def space(name: str, *classes: str, color: tuple[int, int, int] | None = None) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), color or (40 * i + 30, 0, 0)) for i, c in enumerate(classes)))


def facts(text: str) -> list[Relation]:
    """`a/x part of b/y; b/y same c/z` as relations."""
    form = re.compile(r" *(\w+)/(.+) (same|part of|contains|overlaps) (\w+)/(.+)")
    return [Relation(*match.groups()) for line in text.split(";") if (match := form.fullmatch(line))]


def atoms_of(universe: UniversalSpace, text: str) -> set[str]:
    """The names of the atoms of `dataset/class`."""
    dataset, name = text.split("/")
    row = next(source for source in universe.sources if source.name == dataset).index(name)
    return {universe.space.names[atom] for atom in np.flatnonzero(universe.members[dataset][row])}


def true_relations(world: World) -> list[Relation]:
    return [
        Relation(first, a, kind(world[first][a], world[second][b]), second, b)
        for first, second in combinations(world, 2)
        for a in world[first]
        for b in world[second]
        if world[first][a] & world[second][b]
    ]


def kind(inside: frozenset[int], other: frozenset[int]) -> str:
    if inside == other:
        return "same"
    return "part of" if inside < other else "contains" if inside > other else "overlaps"


def closure(relations: list[Relation]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Which class lies in which, by trying all ways."""
    inside = set()
    for relation in relations:
        for fact in (relation, relation.turned()):
            if fact.relation in ("same", "part of"):
                inside.add(((fact.from_dataset, fact.from_class), (fact.to_dataset, fact.to_class)))
    while more := {(a, d) for a, b in inside for c, d in inside if b == c} - inside:
        inside |= more
    return inside


def without_what_follows(relations: list[Relation]) -> list[Relation]:
    kept = list(relations)
    for relation in relations:
        fewer = [other for other in kept if other is not relation]
        if relation.relation != "overlaps" and closure(fewer) == closure(kept):
            kept = fewer
    return kept


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A few elements; in each of two to four datasets some of them have a class."""
    elements = draw(st.integers(1, 6))
    world: World = {}
    for number in range(draw(st.integers(2, 4))):
        labels = draw(st.lists(st.integers(-1, 3), min_size=elements, max_size=elements).filter(lambda s: max(s) >= 0))
        world[f"d{number}"] = {
            f"c{label}": frozenset(place for place, other in enumerate(labels) if other == label)
            for label in sorted(set(labels) - {-1})
        }
    return world


def built(world: World, relations: list[Relation]) -> UniversalSpace:
    return universal_space([space(name, *classes) for name, classes in world.items()], relations)


@given(worlds(), st.randoms(), st.booleans())
def test_sets_of_atoms_relate_as_the_true_sets_do(world: World, random, only_needed: bool) -> None:
    relations = true_relations(world)
    relations = without_what_follows(relations) if only_needed else relations
    random.shuffle(relations)
    relations = [random.choice([relation, relation.turned()]) for relation in relations]
    universe = built(world, relations)
    true = [members for classes in world.values() for members in classes.values()]
    rows = np.concatenate([universe.members[name] for name in world])
    for (inside, row), (other, column) in permutations(zip(true, rows, strict=True), 2):
        assert bool(inside & other) == bool((row & column).any())
        assert (inside <= other) == bool((row <= column).all())
    for members in universe.members.values():
        assert members.any(1).all() and members.sum(0).max() <= 1


@given(worlds())
def test_every_place_of_the_world_has_an_atom_of_exactly_its_classes(world: World) -> None:
    """A pixel of three classes that overlap must have an atom in all three, or no prediction is right everywhere."""
    universe = built(world, true_relations(world))
    possible = {tuple(column) for column in np.concatenate([universe.members[name] for name in world]).T}
    for element in frozenset().union(*(members for classes in world.values() for members in classes.values())):
        assert tuple(element in members for classes in world.values() for members in classes.values()) in possible
    assert len(possible) == len(universe.space)  # no two atoms are one


def test_without_relations_it_is_the_disjoint_union() -> None:
    universe = universal_space([space("a", "x", "y"), space("b", "x")], [])
    assert universe.space.name == "universal"
    assert universe.space.names == ("a/x", "y", "b/x")
    assert universe.members["a"].tolist() == [[True, False, False], [False, True, False]]
    assert universe.members["b"].tolist() == [[False, False, True]]


def test_by_name_it_is_the_union_by_name() -> None:
    spaces = [space("a", "road", "Traffic-Light"), space("b", "tree", "traffic light", "Road"), space("c", "tree")]
    universe = universal_space(spaces, relations_by_name(spaces))
    union = union_by_name(spaces)
    assert universe.space.names == union.space.names
    for name, table in union.tables.items():
        assert [tuple(np.flatnonzero(row)) for row in universe.members[name]] == [(entry,) for entry in table]


def test_same_connects_across_datasets_and_directions() -> None:
    universe = universal_space(
        [space("a", "x"), space("b", "y"), space("c", "z"), space("d", "part")],
        facts("c/z same b/y; a/x same b/y; d/part part of c/z"),
    )
    assert universe.space.names == ("x (other)", "part")
    assert atoms_of(universe, "a/x") == atoms_of(universe, "b/y") == atoms_of(universe, "c/z") == {"x (other)", "part"}


def test_a_whole_contains_the_parts_of_its_parts() -> None:
    universe = universal_space(
        [space("a", "far"), space("b", "building", "tree"), space("c", "window")],
        facts("a/far contains b/building; b/tree part of a/far; c/window part of b/building"),
    )
    assert atoms_of(universe, "a/far") == {"far (other)", "building (other)", "tree", "window"}
    assert atoms_of(universe, "b/building") == {"building (other)", "window"}
    assert atoms_of(universe, "c/window") == {"window"}


def test_a_part_of_two_wholes_is_what_they_share() -> None:
    universe = universal_space(
        [space("a", "living"), space("b", "cyclist"), space("c", "rider")],
        facts("c/rider part of a/living; c/rider part of b/cyclist"),
    )
    assert atoms_of(universe, "a/living") & atoms_of(universe, "b/cyclist") == {"rider"}


def test_an_overlap_is_an_atom_of_both_and_of_what_contains_them() -> None:
    universe = universal_space(
        [space("a", "living", "vehicle"), space("b", "cyclist"), space("c", "traffic")],
        facts("a/living overlaps b/cyclist; b/cyclist overlaps a/vehicle; c/traffic contains a/vehicle"),
    )
    assert atoms_of(universe, "b/cyclist") == {"cyclist (other)", "living & cyclist", "vehicle & cyclist"}
    assert atoms_of(universe, "a/vehicle") == {"vehicle (other)", "vehicle & cyclist"}
    assert atoms_of(universe, "c/traffic") == {"traffic (other)", "vehicle (other)", "vehicle & cyclist"}


def test_an_overlap_with_a_part_is_one_with_the_whole() -> None:
    universe = universal_space(
        [space("a", "whole"), space("b", "part"), space("c", "other")],
        facts("a/whole contains b/part; c/other overlaps b/part"),
    )
    assert atoms_of(universe, "a/whole") & atoms_of(universe, "c/other") == {"part & other"}


def test_three_that_overlap_share_an_atom() -> None:
    universe = universal_space(
        [space("a", "x"), space("b", "y"), space("c", "z")],
        facts("a/x overlaps b/y; b/y overlaps c/z; c/z overlaps a/x"),
    )
    assert universe.space.names[3:] == ("x & y", "x & z", "y & z", "x & y & z")
    assert atoms_of(universe, "a/x") & atoms_of(universe, "b/y") & atoms_of(universe, "c/z") == {"x & y & z"}


def test_an_overlap_of_a_class_with_its_part_says_nothing_new() -> None:
    spaces = [space("a", "x"), space("b", "y"), space("c", "z")]
    told = "a/x contains b/y; b/y contains c/z"
    universe = universal_space(spaces, facts(f"{told}; c/z overlaps a/x"))
    assert universe.space.names == universal_space(spaces, facts(told)).space.names


def test_datasets_are_related_by_way_of_one_that_is_not_there() -> None:
    told = "a/car same m/car; m/auto same b/auto; m/auto same m/car; m/rider part of a/person; m/rider part of b/bike"
    universe = universal_space([space("a", "car", "person"), space("b", "auto", "bike")], facts(told))
    assert atoms_of(universe, "a/car") == atoms_of(universe, "b/auto") == {"car"}
    assert atoms_of(universe, "a/person") & atoms_of(universe, "b/bike") == {"rider"}
    assert set(universe.members) == {"a", "b"}


def test_classes_of_absent_datasets_split_nothing_without_need() -> None:
    universe = universal_space(
        [space("a", "x")], facts("m/p part of a/x; m/q overlaps a/x; m/r contains a/x; m/s same n/t")
    )
    assert universe.space.names == ("x",)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("a/x same b/z; b/z same a/y", "'a/x' and 'a/y', of one dataset, .* by 'a/x same b/z', 'b/z same a/y'"),
        ("a/x contains b/z; b/z part of a/y", "'a/x' and 'a/y', .* by 'a/x contains b/z', 'b/z part of a/y'"),
        ("a/x overlaps b/z; b/z part of a/y", "'a/x' and 'a/y', .* by 'b/z part of a/y', 'a/x overlaps b/z'"),
        ("a/x overlaps a/y", "'a/x' and 'a/y', of one dataset, cannot share pixels, but do by 'a/x overlaps a/y'"),
        ("a/x contains b/z; c/w same b/z; c/w overlaps a/y", "'a/x contains b/z', 'c/w overlaps a/y', 'c/w same b/z'"),
        ("a/x contains b/z; b/z contains a/x", "each other by 'a/x contains b/z', 'b/z contains a/x'; .* write 'same'"),
        (
            "a/x contains b/z; b/z contains c/w; c/w contains a/x",
            "'b/z' and 'a/x' contain each other by 'a/x contains b/z', 'c/w contains a/x', 'b/z contains c/w'",
        ),
        ("a/x contains b/z; a/x same b/z", "'b/z' and 'a/x' contain each other"),
        ("a/xx same b/z", "relation 'a/xx same b/z': dataset 'a' has no class 'xx'; did you mean 'x'"),
    ],
)
def test_relations_that_cannot_be_are_told(told: str, message: str) -> None:
    with pytest.raises(MultisegError, match=message) as caught:
        universal_space([space("a", "x", "y"), space("b", "z"), space("c", "w")], facts(told))
    assert "\n" not in str(caught.value)


def test_two_datasets_of_one_name_are_refused() -> None:
    with pytest.raises(MultisegError, match="a, a have the same name"):
        universal_space([space("a", "x"), space("a", "y")], [])


def test_too_many_overlaps_are_refused_at_once() -> None:
    spaces = [space(f"d{number}", "x") for number in range(20)]
    told = [Relation(a.name, "x", "overlaps", b.name, "x") for a, b in combinations(spaces, 2)]
    with pytest.raises(MultisegError, match="more than 32767 classes"):
        universal_space(spaces, told)


def test_names_are_told_apart_whatever_classes_are_called() -> None:
    universe = universal_space(
        [space("a", "x", "x (other)", "b/z", "x & z"), space("b", "z", "X")], facts("a/x overlaps b/z")
    )
    assert len(set(universe.space.names)) == len(universe.space)


def test_colours_can_be_told_apart_and_are_the_classes_own_where_possible() -> None:
    spaces = [space("a", "x", "y", color=(200, 30, 40)), space("b", *(f"c{i}" for i in range(60)), color=(9, 9, 9))]
    universe = universal_space(spaces, facts("a/x overlaps b/c3; a/x contains b/c4"))
    colors = universe.space.colors.astype(int)
    assert tuple(colors[1]) == (200, 30, 40)  # of y, which is whole
    distances = np.linalg.norm(colors[:, None] - colors, axis=-1) + 1000 * np.eye(len(colors))
    assert distances.min() >= 16
    assert np.linalg.norm(colors, axis=-1).min() >= 16  # black is ignored pixels


def test_more_classes_than_colours_are_no_error() -> None:
    assert len(universal_space([space("a", *map(str, range(400)), color=(1, 2, 3))], []).space) == 400


def test_an_overlap_is_countable_where_both_are() -> None:
    things = LabelSpace("a", (LabelClass("x", (0,), (1, 1, 1), True), LabelClass("y", (1,), (9, 9, 9), False)))
    other = LabelSpace("b", (LabelClass("z", (0,), (5, 5, 5), True),))
    universe = universal_space([things, other], facts("a/x overlaps b/z; a/y overlaps b/z"))
    shown = dict(zip(universe.space.names, universe.space.things.tolist(), strict=True))
    assert shown["x & z"] and not shown["y & z"] and shown["x (other)"] and not shown["y (other)"]


def test_atoms_are_parts_of_the_classes_they_belong_to() -> None:
    universe = universal_space([space("a", "x"), space("b", "y")], facts("a/x contains b/y"))
    wanted = "universal/x (other) part of a/x; universal/y part of a/x; universal/y same b/y"
    assert universe.relations() == facts(wanted)


@given(worlds())
def test_implied_relations_are_those_of_every_way(world: World) -> None:
    relations = without_what_follows(true_relations(world))
    first, *_, last = (space(name, *classes) for name, classes in world.items())
    found = {(fact.from_class, fact.to_class) for fact in implied_relations(first, last, relations)}
    assert found == {
        (a, b) for a in first.names for b in last.names if ((first.name, a), (last.name, b)) in closure(relations)
    }


def test_the_example_of_the_documentation_builds() -> None:
    path = Path(__file__).parents[2] / "docs/assets/street_relations.tsv"
    spaces = [find_reader(name).label_space for name in ("camvid", "idd_lite", "labelmefacade_swapped")]
    relations = read_relations(path, spaces)
    assert relations == read_relations(path)  # no dataset is misspelt
    universe = universal_space(spaces, relations)
    assert atoms_of(universe, "camvid/Building") == {
        "camvid/Building (other)",
        "labelmefacade_swapped/building",
        "window",
        "door",
    }
    assert atoms_of(universe, "idd_lite/living things") & atoms_of(universe, "camvid/Bicyclist") == {
        "Bicyclist & living things"
    }
    assert atoms_of(universe, "labelmefacade_swapped/sky") == atoms_of(universe, "idd_lite/sky") == {"Sky"}
