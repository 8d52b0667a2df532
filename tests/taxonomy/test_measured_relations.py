"""Relations from counts: simulated ones, of which the truth is known, and those of a model trained here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from multiseg.cli import main
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.synthetic import DOMAINS
from multiseg.synthetic.domains import render
from multiseg.synthetic.world import WORLD_CLASSES, WORLD_IDS
from multiseg.taxonomy.measured_relations import (
    ClassCounts,
    Measurement,
    explain_by_mixtures,
    measure_relations,
    measured_homonyms,
    relation_kinds,
)
from multiseg.taxonomy.name_conflicts import ends
from multiseg.taxonomy.relations import Relation, read_relations

#: What each class of a taxonomy stands for.
Meaning = Mapping[str, frozenset[str]]

PIXELS = 100_000


def space(name: str, names: list[str]) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(names)))


def simulated(meanings: Mapping[str, Meaning], recall: float = 1.0, unknown: tuple[str, ...] = ()) -> list[ClassCounts]:
    """What a model would predict that knows the meanings, but takes a part of each class for the next one.

    Every thing of a taxonomy covers as much of its dataset's images as every other; what a taxonomy has no class for is
    taken for its first class.

    Args:
        meanings: by dataset.
        recall: share of each class that is found.
        unknown: classes that are never found.
    """
    finds = {}
    for dataset, meaning in meanings.items():
        found = np.array([0.0 if name in unknown else recall for name in meaning])
        finds[dataset] = np.diag(found) + np.roll(np.diag(1 - found), 1, axis=1)
    counts = []
    for dataset, meaning in meanings.items():
        predicted = {}
        for taxonomy, other in meanings.items():
            shown = np.zeros((len(meaning), len(other)))
            for row, things in enumerate(meaning.values()):
                for thing in things:
                    column = next((k for k, names in enumerate(other.values()) if thing in names), 0)
                    shown[row] += finds[taxonomy][column] * PIXELS
            predicted[taxonomy] = shown.round().astype(np.int64)
        images = np.full(len(meaning), 20)
        counts.append(ClassCounts(space(dataset, list(meaning)), images, predicted))
    return counts


def true_relations(meanings: Mapping[str, Meaning]) -> set[Relation]:
    """From the whole to the part; of others in the order of the datasets."""
    facts = set()
    names = list(meanings)
    for number, a in enumerate(names):
        for b in names[number + 1 :]:
            for x, own in meanings[a].items():
                for y, theirs in meanings[b].items():
                    if own == theirs or (own & theirs and not own <= theirs and not theirs <= own):
                        facts.add(Relation(a, x, "same" if own == theirs else "overlaps", b, y))
                    elif own < theirs:
                        facts.add(Relation(b, y, "contains", a, x))
                    elif theirs < own:
                        facts.add(Relation(a, x, "contains", b, y))
    return facts


def suggested(measurement: Measurement) -> set[Relation]:
    return {suggestion.relation for suggestion in measurement.suggestions}


def meaning(**classes: str) -> Meaning:
    return {name: frozenset(things.split()) for name, things in classes.items()}


TWO = {
    "fine": meaning(sky="sky", car="car", bus="bus", rider="rider", bike="bike", tree="tree", house="house"),
    "coarse": meaning(Sky="sky", vehicle="car bus bike", alive="rider", far="tree house"),
}


@pytest.mark.parametrize("recall", [1.0, 0.8, 0.6, 0.5])
def test_finds_the_relations_however_often_the_model_errs(recall: float) -> None:
    assert suggested(measure_relations(simulated(TWO, recall))) == true_relations(TWO)


@pytest.mark.parametrize("recall", [1.0, 0.6])
def test_finds_the_relations_of_the_synthetic_taxonomies(recall: float) -> None:
    """Those of three places in which the same world classes occur."""
    names = ("street", "square", "harbour")
    common = set.intersection(*(set().union(*DOMAINS[name].meaning.values()) for name in names))
    meanings = {
        name: {c: things & common for c, things in DOMAINS[name].meaning.items() if things & common} for name in names
    }
    found, true = suggested(measure_relations(simulated(meanings, recall))), true_relations(meanings)
    assert len(true) > 30
    assert found == true


def test_shares_and_evidence_are_those_of_the_simulation() -> None:
    (suggestion,) = [s for s in measure_relations(simulated(TWO, 0.6)).suggestions if s.relation.to_class == "car"]
    assert suggestion.relation == Relation("coarse", "vehicle", "contains", "fine", "car")
    assert suggestion.shares == pytest.approx((1 / 3, 1), abs=0.01)
    assert suggestion.predicted == pytest.approx((0.6 / 3, 0.6), abs=0.01)  # a third each, of which 60 % are found
    assert suggestion.pixels == (3 * PIXELS, PIXELS) and suggestion.images == (20, 20)
    assert suggestion.evidence() == {
        **{"share_of_from": pytest.approx(0.333, abs=0.01), "share_of_to": pytest.approx(1, abs=0.01)},
        **{"predicted_of_from": 0.2, "predicted_of_to": 0.6},
        **{"pixels_from": 3 * PIXELS, "pixels_to": PIXELS, "images_from": 20, "images_to": 20},
    }


def test_overlaps() -> None:
    meanings = {"a": meaning(x="1 2", y="3", z="4"), "b": meaning(u="2 4", v="3", w="1")}
    assert Relation("a", "x", "overlaps", "b", "u") in suggested(measure_relations(simulated(meanings)))


def test_what_the_other_taxonomy_has_nothing_for_gets_no_relation() -> None:
    """On the street water must be called something, and is called road; but no road is called water."""
    meanings = {"harbour": meaning(water="water", quay="road", sky="sky"), "street": meaning(road="road", sky="sky")}
    found = suggested(measure_relations(simulated(meanings, 0.9)))
    assert found == {
        Relation("harbour", "quay", "same", "street", "road"),
        Relation("harbour", "sky", "same", "street", "sky"),
    }


def test_a_class_that_the_model_does_not_find_is_not_judged() -> None:
    measurement = measure_relations(simulated(TWO, 0.8, unknown=("bus",)))
    assert suggested(measurement) == {r for r in true_relations(TWO) if r.to_class != "bus"}
    (unjudged,) = measurement.unjudged
    assert (str(unjudged.entry), unjudged.reason) == ("fine/bus", "0% found, mostly taken for rider")


def test_rare_classes_are_not_judged() -> None:
    counts = simulated(TWO)
    counts[0].images[0] = 4
    for matrix in counts[0].predicted.values():
        matrix[1] //= 200
    reasons = {str(u.entry): u.reason for u in measure_relations(counts).unjudged}
    assert reasons == {"fine/sky": "on 4 images", "fine/car": "500 pixels"}


def test_a_class_that_never_occurs_is_not_judged() -> None:
    counts = simulated(TWO)
    counts[0].images[0] = 0
    for matrix in counts[0].predicted.values():
        matrix[0] = 0
    measurement = measure_relations(counts)
    assert [u.reason for u in measurement.unjudged] == ["on 0 images"]
    assert suggested(measurement) == {r for r in true_relations(TWO) if r.from_class != "sky"}


def test_a_dataset_of_which_nothing_is_known_gives_nothing() -> None:
    counts = simulated(TWO, unknown=tuple(TWO["coarse"]))
    measurement = measure_relations(counts)
    assert measurement.suggestions == [] and len(measurement.unjudged) == 4


@pytest.mark.parametrize("threshold", [0.5, 1.0, -1.0, float("nan")])
def test_a_threshold_must_leave_one_whole(threshold: float) -> None:
    with pytest.raises(MultisegError, match=r"between 0\.5 and 1"):
        measure_relations([], threshold)


def test_three_datasets_are_compared_two_by_two() -> None:
    meanings = {**TWO, "third": meaning(heaven="sky", all="car bus bike rider")}
    found = suggested(measure_relations(simulated(meanings, 0.9)))
    assert found == true_relations(meanings)
    assert {(r.from_dataset, r.to_dataset) for r in found} == {
        *(("coarse", "fine"), ("fine", "coarse")),
        *(("third", "fine"), ("fine", "third"), ("third", "coarse"), ("coarse", "third")),
    }


def test_namesakes_that_are_not_the_same_are_homonyms() -> None:
    meanings = {
        "a": meaning(person="person", rider="rider", sky="sky", bank="bench"),
        "b": meaning(person="person rider", sky="sky", bank="house", bench="bench"),
    }
    counts = simulated(meanings, 0.9)
    homonyms = measured_homonyms(counts, measure_relations(counts))
    assert [(str(h.first), h.reason) for h in homonyms] == [
        ("a/person", "part of (100%, 50%)"),
        ("a/bank", "is not related to (0%, 0%)"),
    ]


def test_namesakes_that_cannot_be_judged_are_not_accused() -> None:
    counts = simulated({"a": meaning(bank="bench", sky="sky"), "b": meaning(bank="house", sky="sky")})
    counts[0].images[0] = 1
    assert measured_homonyms(counts, measure_relations(counts)) == []


# Kinds of shares


def kind(forth: list[list[float]], back: list[list[float]], threshold: float = 0.7) -> Mapping[tuple[int, int], str]:
    return relation_kinds(np.array(forth), np.array(back), threshold)


@pytest.mark.parametrize(
    ("forth", "back", "expected"),
    [
        (0.9, 0.9, "same"),
        (0.86, 0.99, "same"),
        (0.99, 0.84, "part of"),  # the doubt is more than half of what is granted
        (0.84, 0.99, "contains"),
        (0.72, 0.71, "part of"),
        (0.7, 0.3, "part of"),
        (0.7, 0.02, "part of"),
        (0.7, 0.01, None),  # no trace of it from the other side
        (0.69, 0.2, "overlaps"),
        (0.69, 0.05, None),
        (0.29, 0.29, None),
        (0.1, 0.31, "overlaps"),
        (0.0, 0.0, None),
    ],
)
def test_the_kind_of_two_shares(forth: float, back: float, expected: str | None) -> None:
    assert kind([[forth]], [[back]]).get((0, 0)) == expected


def test_a_class_with_two_parts_is_the_same_as_neither() -> None:
    assert kind([[0.95], [0.9]], [[0.9, 0.05]]) == {(0, 0): "part of", (1, 0): "part of"}
    assert kind([[0.9, 0.05]], [[0.95], [0.9]]) == {(0, 0): "contains", (0, 1): "contains"}


def test_a_lower_threshold_calls_more_a_part() -> None:
    assert kind([[0.6]], [[0.2]]) == {(0, 0): "overlaps"}
    assert kind([[0.6]], [[0.2]], 0.55) == {(0, 0): "part of"}


# Mixtures


def test_mixtures_are_found_again() -> None:
    random = np.random.default_rng(0)
    components = random.dirichlet(np.full(6, 0.3), 4)
    shares = random.dirichlet(np.ones(4), 5)
    assert explain_by_mixtures(shares @ components, components) == pytest.approx(shares, abs=0.02)


def test_mixtures_of_predictions_that_no_component_makes_are_finite() -> None:
    shares = explain_by_mixtures(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert shares == pytest.approx(np.array([[0.5, 0.5]]))


# A trained model


def write_labelled(root: Path, taxonomy: str, seed: int) -> None:
    """Street scenes in the taxonomy of a synthetic domain, for the reader `folder`."""
    meaning = DOMAINS[taxonomy].meaning
    table: NDArray[np.uint8] = np.full(len(WORLD_CLASSES), 255, np.uint8)
    for label, things in enumerate(meaning.values()):
        table[[WORLD_IDS[thing] for thing in things]] = label
    for split, count in {"train": 80, "val": 30}.items():
        for kind_of_file in ("images", "masks"):
            (root / kind_of_file / split).mkdir(parents=True)
        for index in range(count):
            scene = render(DOMAINS["street"], seed, index, split=split)
            Image.fromarray(scene.image).save(root / f"images/{split}/{index}.png")
            Image.fromarray(table[scene.classes]).save(root / f"masks/{split}/{index}.png")
    splits = {split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in ("train", "val")}
    description = {"name": root.name, "classes": list(meaning), "ignore": [255], "splits": splits}
    (root / "dataset.yaml").write_text(yaml.safe_dump(description))


@pytest.mark.slow
def test_a_trained_model_suggests_true_relations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every suggested pair shares something, and most suggestions are of the true kind; the rest are those of classes
    whose other parts a small model does not find.
    """
    for seed, name in enumerate(("street", "harbour")):
        write_labelled(tmp_path / name, name, seed)
    data = [word for name in ("street", "harbour") for word in ("--data", f"{name}:folder={tmp_path / name}")]
    options = ["--steps", "120", "--batch-size", "4", "--data.workers", "0", "--devices", "1", "--quiet"]
    run, out = str(tmp_path / "run"), tmp_path / "relations.tsv"
    assert main(["train", "multi_head", "demo", *data, *options, "--run", run]) == 0
    assert main(["taxonomy", "--model", run, "--out", str(out)]) == 0
    print(capsys.readouterr().out)
    meanings = {name: DOMAINS[name].meaning for name in ("street", "harbour")}
    true = {frozenset(ends(relation)): relation for relation in true_relations(meanings)}
    found = read_relations(out)
    right = [relation for relation in found if true.get(frozenset(ends(relation))) == relation]
    shared = [relation for relation in found if frozenset(ends(relation)) in true]
    print(f"{len(found)} suggested, {len(shared)} of classes that share something, {len(right)} of the true kind")
    assert len(found) >= 4 and len(shared) == len(found) and len(right) >= len(found) / 2
    assert Relation("harbour", "background", "contains", "street", "building") in found
