"""What names say about classes, and where they mislead."""

import random
import time

import pytest

from multiseg.label_space import LabelClass, LabelSpace
from multiseg.taxonomy.name_conflicts import (
    DatasetClass,
    homonyms_by_flags,
    homonyms_by_relations,
    namesakes,
    similar_names,
    union_by_relations,
    without_partner,
)
from multiseg.taxonomy.relations import Relation, relations_by_name


def space(name: str, *classes: str, things: tuple[str, ...] = ()) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0), c in things) for i, c in enumerate(classes)))


A = space("a", "road", "traffic-light", "person", "sky")
B = space("b", "Traffic Light", "person", "rider")
C = space("c", "people", "street")


def test_namesakes_do_not_mind_case_and_hyphens() -> None:
    assert [(str(x), str(y)) for x, y in namesakes([A, B, C])] == [
        ("a/traffic-light", "b/Traffic Light"),
        ("a/person", "b/person"),
    ]


def test_the_union_follows_chains_of_same() -> None:
    facts = [Relation("c", "people", "same", "b", "person"), Relation("b", "person", "same", "a", "person")]
    union = union_by_relations([A, B, C], facts)
    assert len(union) == 9 - 2
    (shared,) = [entry for entry in union if entry.shared]
    assert shared.name == "person"  # as the first dataset spells it
    assert [str(member) for member in shared.members] == ["a/person", "b/person", "c/people"]


def test_other_relations_unite_nothing() -> None:
    facts = [Relation("a", "person", kind, "b", "person") for kind in ("part of", "contains", "overlaps")]
    assert not any(entry.shared for entry in union_by_relations([A, B], facts))


def test_a_class_without_partner_is_in_no_relation() -> None:
    facts = [Relation("a", "road", "overlaps", "c", "street")]
    assert without_partner([A, C], facts) == {"a": ["traffic-light", "person", "sky"], "c": ["people"]}


def test_namesakes_of_which_one_is_counted_are_suspect() -> None:
    first = space("a", "light", "sky", "car", things=("light", "car"))
    second = space("b", "light", "sky", "car", things=("car",))
    (found,) = homonyms_by_flags([first, second])
    assert (str(found.first), found.reason, str(found.second)) == ("a/light", "is a thing, but stuff in", "b/light")
    (found,) = homonyms_by_flags([second, first])
    assert found.reason == "is stuff, but a thing in"


def test_a_dataset_that_counts_nothing_is_not_held_against_others() -> None:
    assert homonyms_by_flags([space("a", "car", things=("car",)), space("b", "car")]) == []


def test_namesakes_that_relations_do_not_unite_are_homonyms() -> None:
    facts = [Relation("b", "person", "contains", "a", "person")]
    found = {(str(pair.first), pair.reason) for pair in homonyms_by_relations([A, B], facts)}
    assert found == {("a/person", "part of"), ("a/traffic-light", "is not related to")}


def test_namesakes_united_through_a_third_class_are_no_homonyms() -> None:
    facts = [Relation("a", "person", "same", "c", "people"), Relation("c", "people", "same", "b", "person")]
    assert {str(pair.first) for pair in homonyms_by_relations([A, B, C], facts)} == {"a/traffic-light"}


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("car", "cars", "spelling"),
        ("bus", "buses", "spelling"),
        ("body", "bodies", "spelling"),
        ("sky", "sky-other-merged", "spelling"),
        ("potted plant", "pottedplant", "spelling"),
        ("street light", "Streetlight", "spelling"),
        ("aeroplane", "airplane", "spelling"),
        ("wall", "wall-brick", "contained"),
        ("traffic sign", "Traffic Sign (Front)", "contained"),
        ("sign", "SignSymbol", "contained"),
        ("drivable", "non-drivable", None),
        ("motorcycle", "motorcyclist", None),
        ("computer", "counter", None),
        ("cat", "cars", None),
        ("grass", "gras", None),
        ("bus", "bu", None),
        ("Sky", "sky", None),  # equal
    ],
)
def test_similar_names(first: str, second: str, kind: str | None) -> None:
    for spaces in ([space("a", first), space("b", second)], [space("a", second), space("b", first)]):
        assert [pair.kind for pair in similar_names(spaces)] == ([kind] if kind else [])


def test_of_two_similar_names_the_shorter_stands_first() -> None:
    (pair,) = similar_names([space("a", "wall-brick"), space("b", "wall")])
    assert (pair.first, pair.second) == (DatasetClass("b", "wall"), DatasetClass("a", "wall-brick"))


def test_related_classes_and_those_of_one_dataset_are_not_similar() -> None:
    spaces = [space("a", "wall", "wall-brick"), space("b", "walls")]
    assert len(similar_names(spaces)) == 2
    facts = [Relation("b", "walls", "contains", "a", "wall")]
    assert [str(pair.second) for pair in similar_names(spaces, facts)] == ["a/wall-brick"]


def test_a_name_of_filling_words_only_is_compared_as_it_is() -> None:
    assert similar_names([space("a", "other"), space("b", "the rest", "road")]) == []
    assert similar_names([space("a", "…"), space("b", "!?")]) == []


def test_ten_taxonomies_of_150_classes_take_seconds() -> None:
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    draw = random.Random(0)
    classes = [["".join(draw.choices(syllables, k=draw.randint(2, 5))) for _ in range(150)] for _ in range(10)]
    spaces = [space(f"dataset{k}", *dict.fromkeys(names)) for k, names in enumerate(classes)]
    started = time.process_time()
    similar_names(spaces, relations_by_name(spaces))
    assert time.process_time() - started < 10
