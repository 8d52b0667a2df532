"""Prototypes whose neighbours are known, and plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.taxonomy.name_conflicts import DatasetClass
from multiseg.taxonomy.prototype_relations import (
    ClassPrototypes,
    PrototypeComparison,
    compare_prototypes,
    cosine_similarities,
    leads,
    near_misses,
    prototype_homonyms,
)
from multiseg.taxonomy.relations import Relation


def prototypes(
    name: str, classes: str, vectors: NDArray[np.float64], unknown: str = "", first_id: int = 0, ids: object = None
) -> ClassPrototypes:
    """Classes are words of one text."""
    names = classes.split()
    space = LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(names)))
    known = np.array([c not in unknown.split() for c in names])
    union_ids = np.array(ids) if ids is not None else first_id + np.arange(len(names))
    return ClassPrototypes(space, np.asarray(vectors, float), known, union_ids)


def cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in first)) / math.sqrt(sum(float(b) ** 2 for b in second))


def random_datasets(seed: int) -> list[ClassPrototypes]:
    """Three datasets with classes in common, of which some have no prototype."""
    random = np.random.default_rng(seed)
    world = random.normal(size=(9, 12)) + 1.5  # all rather alike
    out = []
    for number, (name, count) in enumerate([("a", 5), ("b", 7), ("c", 4)]):
        vectors = world[random.permutation(9)[:count]] + 0.3 * random.normal(size=(count, 12))
        classes = " ".join(f"{name}{place}" for place in range(count))
        out.append(prototypes(name, classes, vectors * random.uniform(0.1, 9), f"{name}1", 100 * number))
    return out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5])
def test_neighbours_and_suggestions_against_loops(seed: int, threshold: float) -> None:
    datasets = random_datasets(seed)
    comparison = compare_prototypes(datasets, threshold)
    said = {(found.entry.dataset, found.entry.name, found.dataset): found for found in comparison.neighbours}

    def row(first: ClassPrototypes, place: int, second: ClassPrototypes) -> list[tuple[str, float]]:
        pairs = [
            (name, cosine(first.vectors[place], second.vectors[other]))
            for other, name in enumerate(second.space.names)
            if second.known[other]
        ]
        return sorted(pairs, key=lambda pair: -pair[1])

    def lead(first: ClassPrototypes, place: int, second: ClassPrototypes) -> float:
        """With each dataset's mean prototype taken away, which is the same."""
        scaled = []
        for dataset in (first, second):
            units = [vector / math.sqrt(sum(vector**2)) for vector in dataset.vectors[dataset.known]]
            scaled.append([unit - sum(units) / len(units) for unit in units])
        own = scaled[0][int(first.known[:place].sum())]
        names = [name for name, known in zip(second.space.names, second.known, strict=True) if known]
        standing_out = {name: float(own @ vector) for name, vector in zip(names, scaled[1], strict=True)}
        nearest = standing_out.pop(row(first, place, second)[0][0])
        others = list(standing_out.values())
        return max(0.0, nearest - max(others)) / (nearest - sum(others) / len(others))

    expected, compared = [], 0
    for first, second in itertools.permutations(datasets, 2):
        for place, name in enumerate(first.space.names):
            if not first.known[place]:
                assert (first.space.name, name, second.space.name) not in said
                continue
            ordered = row(first, place, second)
            found = said[first.space.name, name, second.space.name]
            compared += 1
            assert found.names == tuple(other for other, _ in ordered)
            assert found.similarities == pytest.approx([similarity for _, similarity in ordered])
            assert found.lead == pytest.approx(lead(first, place, second))
            nearest = second.space.names.index(ordered[0][0])
            back = row(second, nearest, first)
            assert found.mutual == (back[0][0] == name)
            assert not found.shared
            clear = min(lead(first, place, second), lead(second, nearest, first)) >= threshold
            if found.mutual and clear and datasets.index(first) < datasets.index(second):
                expected.append((first.space.name, name, second.space.name, ordered[0][0]))
    assert compared == len(comparison.neighbours) == 2 * (4 + 6 + 3)
    relations = [suggestion.relation for suggestion in comparison.suggestions]
    assert [(r.from_dataset, r.from_class, r.to_dataset, r.to_class) for r in relations] == expected
    assert {relation.relation for relation in relations} <= {"same"}
    assert [str(entry.entry) for entry in comparison.unjudged] == ["a/a1", "b/b1", "c/c1"]


def test_that_suggestions_are_made_and_withheld() -> None:
    """So that the loops above have something to agree on."""
    counts = [len(compare_prototypes(random_datasets(seed), t).suggestions) for seed in range(6) for t in (0, 0.3)]
    assert min(counts[::2]) > 0
    assert sum(counts[1::2]) < sum(counts[::2])


def test_landmarks_of_the_lead() -> None:
    rows = np.eye(4)
    assert leads(rows) == pytest.approx(1)
    assert leads(0.05 * rows + 0.93) == pytest.approx(1)  # compressed as in a run that has just begun
    assert leads(np.ones((4, 4))) == pytest.approx(0)
    rows[0, 1] = rows[1, 0] = 1  # two are as near to the first
    assert leads(rows) == pytest.approx([0, 0, 6 / 7, 6 / 7])
    assert leads(rows + np.array([0, 0, 0, 0.9])) == pytest.approx(leads(rows))  # a class near to all
    for shape in ((4, 2), (2, 4)):
        assert np.isnan(leads(np.ones(shape))).all() and leads(np.ones(shape)).shape == shape[:1]


def test_similarities_against_a_loop() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(3, 5)), 7 * random.normal(size=(4, 5))
    found = cosine_similarities(first, second)
    assert found == pytest.approx(np.array([[cosine(a, b) for b in second] for a in first]))
    assert not cosine_similarities(np.zeros((1, 5)), second).any()


EYE = np.eye(6)


def clear_pair() -> list[ClassPrototypes]:
    """The classes of one name are the nearest, but for the light, which is a lamp here and the sun there."""
    return [
        prototypes("town", "road sky light car", EYE[:4]),
        prototypes("park", "sky road light sun bench", EYE[[1, 0, 4, 2, 5]], first_id=4),
    ]


def relations_of(comparison: PrototypeComparison) -> list[Relation]:
    return [suggestion.relation for suggestion in comparison.suggestions]


def test_evidence_of_a_suggestion() -> None:
    first, second = clear_pair()
    second.vectors[0] += 0.75 * EYE[5]  # the sky of the park: 0.8 alike
    comparison = compare_prototypes([first, second])
    assert relations_of(comparison) == [
        Relation("town", "road", "same", "park", "road"),
        Relation("town", "sky", "same", "park", "sky"),
        Relation("town", "light", "same", "park", "sun"),
    ]
    evidence = comparison.suggestions[1].evidence()
    assert evidence == {
        **{"similarity": 0.8, "second_of_from": 0.0, "second_of_to": 0.0, "by": "prototypes"},
        # similarities less the means of the other side: (0.6, 0, 0, -0.25, -0.25), and (0.64, 0, -0.2, -0.2)
        **{"lead_of_from": round(0.6 / (0.6 + 0.5 / 4), 3), "lead_of_to": round(0.64 / (0.64 + 0.4 / 3), 3)},
    }


def test_namesakes_that_are_not_nearest_are_homonyms() -> None:
    datasets = clear_pair()
    (found,) = prototype_homonyms(datasets, compare_prototypes(datasets))
    assert (found.first, found.second) == (DatasetClass("town", "light"), DatasetClass("park", "light"))
    assert found.reason == "is not nearest to (0.00)"


def test_classes_without_a_prototype_are_nowhere_else() -> None:
    first, second = clear_pair()
    first.known[1] = second.known[2] = False
    comparison = compare_prototypes([first, second])
    assert [(str(entry.entry), entry.reason) for entry in comparison.unjudged] == [
        ("town/sky", "never seen in training"),
        ("park/light", "never seen in training"),
    ]
    assert not any(str(found.entry) in ("town/sky", "park/light") for found in comparison.neighbours)
    assert not any("sky" in found.names for found in comparison.neighbours if found.dataset == "town")
    assert not any("light" in found.names for found in comparison.neighbours if found.dataset == "park")
    assert Relation("town", "road", "same", "park", "road") in relations_of(comparison)
    assert "sky" not in {relation.from_class for relation in relations_of(comparison)}
    assert prototype_homonyms([first, second], comparison) == []


def test_a_dataset_without_any_prototype_has_no_neighbours() -> None:
    first, second = clear_pair()
    second.known[:] = False
    comparison = compare_prototypes([first, second])
    assert comparison.neighbours == [] and comparison.suggestions == [] and len(comparison.unjudged) == 5


def test_with_two_classes_nothing_shows_what_is_near() -> None:
    first = prototypes("town", "road sky light car", EYE[:4])
    second = prototypes("park", "sky road", EYE[[1, 0]], first_id=4)
    comparison = compare_prototypes([first, second], 0.0)
    assert comparison.suggestions == []
    assert all(math.isnan(found.lead) for found in comparison.neighbours)
    assert compare_prototypes([second, first], 0.0).suggestions == []


def test_classes_that_a_union_by_name_made_one_are_the_same() -> None:
    """Even where two classes are too few to judge others by."""
    first = prototypes("town", "road sky car", EYE[:3])
    second = prototypes("park", "sky tree", EYE[[1, 3]], ids=[1, 3])
    comparison = compare_prototypes([first, second])
    (suggestion,) = comparison.suggestions
    assert suggestion.relation == Relation("town", "sky", "same", "park", "sky") and suggestion.shared
    assert suggestion.evidence()["by"] == "name" and suggestion.evidence()["lead_of_from"] is None
    shared = {(str(found.entry), found.dataset) for found in comparison.neighbours if found.shared}
    assert shared == {("town/sky", "park"), ("park/sky", "town")}


def test_of_equal_vectors_the_same_name_is_nearest() -> None:
    first = prototypes("town", "tree road sky", EYE[:3], ids=[0, 1, 2])
    second = prototypes("park", "trees tree way", EYE[[0, 0, 1]], ids=[7, 0, 8])
    (suggestion,) = compare_prototypes([first, second], 0.9).suggestions
    assert suggestion.relation == Relation("town", "tree", "same", "park", "tree")


def test_what_is_near_but_not_suggested() -> None:
    """`sofa` is one of two near `seat`, `lamp` hesitates between two, and the sky is clear."""
    e = np.eye(8)
    first = prototypes("a", "sky sofa chair lamp", [e[0], e[1] + 0.2 * e[4], e[1] + 0.5 * e[5], e[2]])
    second = prototypes("b", "heaven seat bulb torch", [e[0], e[1], e[2] + 0.3 * e[6], e[2] + 0.4 * e[7]], first_id=9)
    comparison = compare_prototypes([first, second], 0.5)
    assert [own.relation for own in comparison.suggestions] == [Relation("a", "sky", "same", "b", "heaven")]
    missed = near_misses(comparison, 0.5)
    assert [own.relation for own in missed] == [
        Relation("a", "sofa", "same", "b", "seat"),
        Relation("a", "lamp", "same", "b", "bulb"),
        Relation("b", "torch", "part of", "a", "lamp"),
        Relation("a", "chair", "part of", "b", "seat"),
    ]
    chair = missed[-1]
    said = {(found.entry.name, found.dataset): found for found in comparison.neighbours}
    assert chair.similarity == pytest.approx(1 / math.sqrt(1.25))
    assert chair.second == (0, pytest.approx(1 / math.sqrt(1.04)))  # of `seat`, to the sofa
    assert chair.leads == (said["chair", "b"].lead, 0)
    assert near_misses(comparison, 1.0)[:2] == missed[:2]  # each other's nearest need not lead at all
    assert len(near_misses(comparison, 1.0)) == 2


def test_nothing_is_missed_where_nothing_could_be_suggested() -> None:
    first, second = prototypes("a", "road sky car", EYE[:3]), prototypes("b", "way air", EYE[:2], first_id=9)
    assert near_misses(compare_prototypes([first, second], 0.0), 0.0) == []


def test_few_classes_placed_at_random_are_taken_for_the_same() -> None:
    """As the documentation has it: half are each other's nearest, but few lead."""
    random = np.random.default_rng(0)
    names = " ".join(f"c{place}" for place in range(19))
    found = {0.0: 0, 0.3: 0}
    for _, threshold in itertools.product(range(20), found):
        datasets = [prototypes(name, names, random.normal(size=(19, 256)), first_id=i) for i, name in enumerate("ab")]
        found[threshold] += len(compare_prototypes(datasets, threshold).suggestions)
    assert 0.4 < found[0.0] / (20 * 19) < 0.6
    assert found[0.3] / (20 * 19) < 0.15


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_thresholds_out_of_range(threshold: float) -> None:
    with pytest.raises(MultisegError, match="at least 0 and below 1, not"):
        compare_prototypes(clear_pair(), threshold)
