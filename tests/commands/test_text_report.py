"""`multiseg taxonomy --by text`: with vectors of words that are known, and with the real sentence encoder."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import fake_trees
from multiseg.cli import main
from multiseg.commands import text_report
from multiseg.commands.text_report import PREFIX, text_encoder
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.networks.text_encoder import ClipText, SentenceText, TextEncoderSpec, encode_cached, spoken
from multiseg.taxonomy.prototype_relations import PrototypeComparison, compare_prototypes
from multiseg.taxonomy.relations import Relation, read_relations
from multiseg.taxonomy.text_relations import classes_as_texts

EYE = np.eye(8)

#: What the words of the fake encoder mean.
MEANINGS = {
    "road": EYE[0],
    "street": EYE[0] + 0.2 * EYE[5],
    "sky": EYE[1],
    "car": EYE[2],
    "van": EYE[2] + 0.5 * EYE[6],
    "vehicle": EYE[2] + 0.1 * EYE[7],
    "tree": EYE[3],
}

CLASSES = {"town": ("Road", "sky", "car", "van"), "lake": ("street", "Sky", "vehicle", "tree")}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TextEncoderSpec, str]]:
    """What the fake encoder was asked for."""
    calls = []

    def encode(spec: TextEncoderSpec, texts: Sequence[str], prefix: str = "") -> torch.Tensor:
        calls.append((spec, prefix))
        return torch.tensor(np.stack([MEANINGS[text] for text in texts]), dtype=torch.float32)

    monkeypatch.setattr(text_report, "encode_cached", encode)
    return calls


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    """Datasets of which only the description is looked at."""
    for name, classes in CLASSES.items():
        for split in ("train", "val"):
            fake_trees.write_image(tmp_path / name / f"images/{split}/0.png", (4, 4))
            fake_trees.write_mask(tmp_path / name / f"masks/{split}/0.png", (4, 4), [0])
        (tmp_path / name / "dataset.yaml").write_text(
            f"name: {name}\nclasses: [{', '.join(classes)}]\nsplits:\n"
            "  train: {images: images/train, masks: masks/train}\n  val: {images: images/val, masks: masks/val}\n"
        )
    return [f"{name}:folder={tmp_path / name}" for name in CLASSES]


def call(*arguments: object) -> int:
    return main(["taxonomy", *(str(argument) for argument in arguments), "--by", "text"])


EXPECTED = [
    Relation("town", "Road", "same", "lake", "street"),
    Relation("town", "sky", "same", "lake", "Sky"),
    Relation("town", "car", "same", "lake", "vehicle"),
]


def test_what_is_printed(asked: list[object], roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*roots, "--threshold", "0.05") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == ["dataset classes with partner", "town 4 3", "lake 4 3", "union 5 3"]
    assert any(line.startswith("town/sky lake Sky (same name) ") for line in lines)
    assert any(line.startswith("town/Road lake street 0.98 * ") for line in lines)
    assert "3 relations suggested, for you to check:" in lines
    assert "town/sky same lake/Sky by name" in lines
    assert "1 doubtful ones, which are no more than remarks:" in lines
    assert any(line.startswith("town/van part of lake/vehicle 0.89 0.00, 1.00 ") for line in lines)
    assert lines[lines.index("no relation suggested for:") + 1 :] == ["town (1): van", "lake (1): tree"]


def test_the_table_can_be_edited_and_read_again(
    asked: list[tuple[TextEncoderSpec, str]], roots: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.tsv"
    assert call(*roots, "--threshold", "0.05", "--out", path, "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "wrote 3 relations" in said.err and "1 doubtful ones as remarks" in said.err
    assert [Relation(*row) for row in found["relations"]] == EXPECTED == read_relations(path)
    assert [entry["by"] for entry in found["evidence"]] == ["text", "name", "text"]
    (doubtful,) = found["doubtful"]
    van = Relation("town", "van", "part of", "lake", "vehicle")
    assert Relation(*doubtful["relation"]) == van and doubtful["evidence"]["lead_of_to"] == 0
    assert (found["prefix"], found["threshold"]) == (PREFIX, 0.05)
    assert found["text_encoder"] == SentenceText().identity
    assert asked == [(SentenceText(), PREFIX)]
    path.write_text(path.read_text().replace("# town", "town"))
    assert read_relations(path) == [*EXPECTED, van]
    assert main(["taxonomy", *roots, "--by", str(path)]) == 0


def test_two_classes_are_too_few_to_judge(
    asked: list[object], data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*(f"{name}={root}" for name, root in data_roots.items()), "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [Relation(*row) for row in found["relations"]] == [Relation("town", "sky", "same", "park", "sky")]
    assert found["doubtful"] == []
    assert "park has 2 classes: too few to tell what is near" in said.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("sentence", SentenceText()),
        ("sentence:/m/mpnet", SentenceText("/m/mpnet")),
        ("clip", ClipText()),
        ("clip:ViT-B-16", ClipText("ViT-B-16")),
        ("clip:ViT-B-16:/m/vit.pt", ClipText("ViT-B-16", "/m/vit.pt")),
    ],
)
def test_encoders_by_name(written: str, spec: TextEncoderSpec) -> None:
    assert text_encoder(written) == spec


def test_an_unknown_encoder() -> None:
    with pytest.raises(MultisegError, match=r"expected sentence or clip:MODEL\[:PRETRAINED\]; did you mean 'clip'"):
        text_encoder("clipp:RN50")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "text", "--columns", "a=b"], "--columns is for a master table"),
        (["--by", "text", "--threshold", "1"], "at least 0 and below 1, not 1"),
        (["--by", "text", "--split", "val"], "--split is for measuring"),
        (["--by", "text", "--text-encoder", "clip:RN51"], "no model 'RN51'; did you mean 'RN50'?"),
        (["--by", "text", "--model", "runs/a"], "one of the two"),
        (["--by", "text", "--prototypes", "runs/a"], "one of the two"),
        (["--text-encoder", "sentence"], "it needs --by text"),
        (["--by", "text", "--format", "mseg"], "it needs --out FILE"),
    ],
)
def test_wrong_calls(options: list[str], message: str, roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["taxonomy", *roots, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_one_dataset_is_not_enough(asked: list[object], roots: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(roots[0]) == 2
    assert "give two at least" in capsys.readouterr().err


def official(name: str) -> LabelSpace:
    """The classes of a dataset, without any of its files."""
    table = Path(__file__).parents[1] / "datasets" / "label_ids" / f"{name}.csv"
    with table.open(encoding="utf-8") as lines:
        names = dict.fromkeys(row["name"] for row in csv.DictReader(lines) if row["ignored"] == "0")
    return LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(names)))


def compared(*names: str) -> PrototypeComparison:
    """As the command does, with the real encoder."""
    pytest.importorskip("transformers")
    spaces = [official(name) for name in names]
    vectors = [
        encode_cached(SentenceText(), [spoken(c) for c in space.names], PREFIX).double().numpy() for space in spaces
    ]
    return compare_prototypes(classes_as_texts(spaces, vectors))


def test_what_the_sentence_encoder_says_of_street_scenes() -> None:
    comparison = compared("camvid", "idd_lite", "labelmefacade", "cityscapes")
    nearest = {(str(found.entry), found.dataset): found.nearest.name for found in comparison.neighbours}
    assert nearest["camvid/Bicyclist", "idd_lite"] == "vehicles"
    assert nearest["camvid/Bicyclist", "cityscapes"] == "bicycle"
    assert nearest["camvid/Tree", "labelmefacade"] == "vegetation"
    assert nearest["camvid/SignSymbol", "cityscapes"] == "traffic sign"
    found = next(f for f in comparison.neighbours if str(f.entry) == "camvid/Pavement" and f.dataset == "labelmefacade")
    assert found.names[:2] == ("pavement", "road")  # no other dataset's class is nearer to one of another name
    said = {(str(own.relation.from_class), own.relation.to_class) for own in comparison.suggestions}
    assert {("Sky", "sky"), ("Car", "vehicles"), ("Tree", "vegetation"), ("Road", "road")} <= said


def test_what_the_sentence_encoder_says_of_objects() -> None:
    comparison = compared("voc", "ade20k")
    said = {(own.relation.from_class, own.relation.to_class.split(",")[0]) for own in comparison.suggestions}
    assert {("tvmonitor", "television"), ("sofa", "sofa"), ("person", "person")} <= said
    animals = {f.entry.name for f in comparison.neighbours if f.dataset == "ade20k" and f.names[0].startswith("animal")}
    assert {"bird", "cat", "cow", "dog", "horse", "sheep"} <= animals
