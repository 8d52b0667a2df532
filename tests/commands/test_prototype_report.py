"""`multiseg taxonomy --prototypes`: on runs that take seconds, and with prototypes whose neighbours are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import tiny_run
from multiseg.cli import main
from multiseg.commands import prototype_report
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.taxonomy.prototype_relations import ClassPrototypes
from multiseg.taxonomy.relations import Relation, read_relations

MDP = ["--data.views.size", "[32, 48]", "--method.bank.batches", "4"]
METHODS = {"mdp": MDP, "by_name": [*MDP, "--method.union", "by_name"], "multi_head": []}


@pytest.fixture(scope="module")
def runs(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prototypes")
    for name, options in METHODS.items():
        recipe = "multi_head" if name == "multi_head" else "mdp"
        words = ["train", recipe, *tiny_run.arguments(data_roots), "--steps", "2", "--quiet", *options]
        assert main([*words, "--run", str(folder / name)]) == 0
    arguments = tiny_run.arguments(data_roots)
    alone = [word for word in arguments if not word.startswith("park=")]
    alone.pop(2)  # its --data
    assert main(["train", "mdp", *alone, *MDP, "--steps", "2", "--quiet", "--run", str(folder / "single")]) == 0
    return {name: folder / name for name in (*METHODS, "single")}


def call(*arguments: object) -> int:
    return main(["taxonomy", *(str(argument) for argument in arguments)])


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def prototypes(name: str, classes: str, vectors: object, first_id: int) -> ClassPrototypes:
    names = classes.split()
    space = LabelSpace(name, tuple(LabelClass(c, (i,), (0, 0, 0)) for i, c in enumerate(names)))
    known = np.array([c != "ghost" for c in names])
    return ClassPrototypes(space, np.array(vectors, float), known, first_id + np.arange(len(names)))


@pytest.fixture
def known_prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the run's model, whatever it has learnt."""
    eye = np.eye(5)
    found = [
        prototypes("town", "road sky light car ghost", [*eye[:4], eye[0]], 0),
        prototypes("lake", "sky way light sun", [0.8 * eye[1] + 0.6 * eye[4], eye[0], eye[4], eye[2]], 5),
    ]
    monkeypatch.setattr(prototype_report, "class_prototypes", lambda method: found)


EXPECTED = [
    Relation("town", "road", "same", "lake", "way"),
    Relation("town", "sky", "same", "lake", "sky"),
    Relation("town", "light", "same", "lake", "sun"),
]


def test_what_is_printed(known_prototypes: None, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--prototypes", runs["mdp"]) == 0
    lines = lines_of(capsys)
    assert lines[:4] == ["dataset classes with partner", "town 5 3", "lake 4 3", "union 6 3"]
    assert "town/road lake way 1.00 * sky 0.00 light 0.00 0.83" in lines
    assert "lake/sky town sky 0.80 * road 0.00 light 0.00 0.78" in lines
    assert "3 relations suggested, for you to check:" in lines
    assert "town/sky same lake/sky 0.80 0.00, 0.00 0.78, 0.78" in lines
    assert "town/light is not nearest to (0.00) lake/light" in lines
    assert "town (1): ghost (never seen in training)" in lines[lines.index("not judged:") :]
    assert lines[lines.index("no relation suggested for:") + 1 :] == ["town (1): car", "lake (1): light"]


def test_the_table_of_relations_can_be_used(
    known_prototypes: None, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "r.tsv"
    assert call("--prototypes", runs["mdp"], "--out", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [Relation(*row) for row in found["relations"]] == EXPECTED == read_relations(path)
    assert found["not_enough_evidence"] == [["town", "ghost", "never seen in training"]]
    assert found["threshold"] == 0.3
    assert found["homonyms"] == [
        {"classes": [["town", "light"], ["lake", "light"]], "reason": "is not nearest to (0.00)"}
    ]
    first = found["nearest"][1]
    assert (first["class"], first["dataset"], first["nearest"][0]) == (["town", "sky"], "lake", ["sky", 0.8])
    assert first["mutual"] and not first["shared"] and len(first["nearest"]) == 3
    header, _, sky, _ = (line.split("\t") for line in path.read_text().splitlines())
    written = dict(zip(header[5:], sky[5:], strict=True))
    assert written.pop("by") == found["evidence"][1].pop("by") == "prototypes"
    assert {name: float(value) for name, value in written.items()} == found["evidence"][1]


def test_suggestions_can_be_a_master_table(known_prototypes: None, runs: dict[str, Path], tmp_path: Path) -> None:
    assert call("--prototypes", runs["mdp"], "--out", tmp_path / "m.tsv", "--format", "mseg") == 0
    rows = {tuple(line.split("\t")[:2]) for line in (tmp_path / "m.tsv").read_text().splitlines()}
    assert {("town", "lake"), ("road", "way"), ("sky", "sky"), ("light", "sun"), ("car", ""), ("", "light")} <= rows


def test_a_higher_threshold_suggests_less(
    known_prototypes: None, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--prototypes", runs["mdp"], "--threshold", "0.8", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threshold"] == 0.8
    assert [Relation(*row) for row in found["relations"]] == [EXPECTED[0], EXPECTED[2]]


def test_long_tables_are_cut_unless_all_is_wanted(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = " ".join(f"c{number}" for number in range(25))
    vectors = np.random.default_rng(0).normal(size=(2, 25, 16))
    many = [prototypes("a", names, vectors[0], 0), prototypes("b", names, vectors[1], 25)]
    monkeypatch.setattr(prototype_report, "class_prototypes", lambda method: many)
    shown = []
    for options in ([], ["--all"]):
        assert call("--prototypes", runs["mdp"], *options) == 0
        shown.append(lines_of(capsys))
    assert "… and 10 more: --all shows them" in shown[0]
    assert [sum(line.startswith("a/c") and " b c" in line for line in lines) for lines in shown] == [20, 25]
    assert not any("more: --all" in line for line in shown[1])


def test_a_real_run_with_and_without_its_datasets(
    runs: dict[str, Path], data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"{name}={root}" for name, root in data_roots.items()]
    answers = []
    for given in ([], data, data[::-1]):
        assert call("--prototypes", runs["mdp"], *given, "--json") == 0
        said = capsys.readouterr()
        assert "park has 2 classes with a prototype: too few to tell what is near." in said.err
        answers.append(json.loads(said.out))
    assert answers[0] == answers[1]
    assert [entry["class"][0] for entry in answers[2]["nearest"]] == ["park"] * 2 + ["town"] * 3
    assert answers[0]["relations"] == [] and answers[0]["not_enough_evidence"] == []
    similarity = {(*entry["class"], name): value for entry in answers[0]["nearest"] for name, value in entry["nearest"]}
    assert similarity["town", "sky", "sky"] == similarity["park", "sky", "sky"] < 1


def test_no_image_is_needed(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model alone, as one would copy it."""
    shutil.copytree(runs["mdp"] / "model", tmp_path / "copy/model")
    assert call("--prototypes", tmp_path / "copy") == 0
    assert "town/road" in capsys.readouterr().out


def test_classes_never_seen_in_a_real_run(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs["mdp"] / "model", tmp_path / "run/model")
    file = tmp_path / "run/model/model.safetensors"
    state = load_file(file)
    state["known"][1] = False  # the union is road, car, sky of town, then tree, sky of park
    save_file(state, file)
    assert call("--prototypes", tmp_path / "run") == 0
    lines = lines_of(capsys)
    assert "town (1): car (never seen in training)" in lines
    assert not any(line.startswith("town/car") for line in lines)
    state["prototypes"][0, 0] = float("nan")
    save_file(state, file)
    assert call("--prototypes", tmp_path / "run") == 2
    assert "prototypes are not finite" in capsys.readouterr().err


def test_names_that_the_run_united(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--prototypes", runs["by_name"], "--out", tmp_path / "r.tsv") == 0
    said = capsys.readouterr()
    assert "1 pairs therefore have one prototype" in said.err.replace("\n", " ")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "town/sky same park/sky by name" in lines
    assert any(line.startswith("town/sky park sky (shared) tree ") for line in lines)
    assert read_relations(tmp_path / "r.tsv") == [Relation("town", "sky", "same", "park", "sky")]
    header, sky = (line.split("\t") for line in (tmp_path / "r.tsv").read_text().splitlines())
    written = dict(zip(header, sky, strict=True))
    assert (written["by"], written["similarity"], written["lead_of_from"]) == ("name", "1.0", "")


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        ("multi_head", [], "MultiHead has no prototypes of classes; MDP has: `multiseg train mdp` makes such a run."),
        ("single", [], "relations are between datasets: the run has 1 only."),
        ("mdp", ["town={town}"], "give two at least"),
        ("mdp", ["town={town}", "prak:folder={park}"], "no prototypes of 'prak'; did you mean 'park'?"),
        ("mdp", ["town={town}", "park={town}"], "knows 'park' with other classes"),
        ("mdp", ["--by", "r.tsv"], "give one of the two"),
        ("mdp", ["--columns", "a=b"], "give one of the two"),
        ("mdp", ["--model", "runs/a"], "give one of the two"),
        ("mdp", ["--split", "val"], "--split is for measuring: it needs --model RUN"),
        ("mdp", ["--limit", "3"], "--limit is for measuring"),
        ("mdp", ["--flip"], "--flip is for measuring"),
        ("mdp", ["--device", "cpu"], "--device is for measuring"),
        ("mdp", ["--threshold", "1"], "at least 0 and below 1, not 1"),
        ("mdp", ["--format", "mseg"], "it needs --out FILE"),
    ],
)
def test_wrong_calls(
    run: str,
    options: list[str],
    message: str,
    runs: dict[str, Path],
    data_roots: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("--prototypes", runs[run], *(option.format(**data_roots) for option in options)) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--prototypes", tmp_path / "none") == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_threshold_needs_something_to_be_applied_to(
    data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"{name}={root}" for name, root in data_roots.items()]
    assert call(*data, "--threshold", "0.5") == 2
    assert "it needs --model RUN, --prototypes RUN or --by text" in capsys.readouterr().err
