"""`multiseg taxonomy --model`: on a run that takes seconds, and with counts whose relations are known."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_run
from multiseg.cli import main
from multiseg.commands import measured_report
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.measured_relations import ClassCounts
from multiseg.taxonomy.relations import Relation, read_relations

METHODS = ("multi_head", "supervised", "label_remap")


@pytest.fixture(scope="module")
def runs(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("measured")
    for method in METHODS:
        arguments = tiny_run.arguments(data_roots)
        if method == "supervised":
            arguments = [word for word in arguments if not word.startswith("park=")]
            arguments.pop(2)  # its --data
        words = ["train", method, *arguments, "--steps", "2", "--run", str(folder / method), "--quiet"]
        assert main(words) == 0
    return {method: folder / method for method in METHODS}


def call(*arguments: object) -> int:
    return main(["taxonomy", *(str(argument) for argument in arguments)])


#: Rows are truth, columns predictions; town has (road, car, sky), park has (tree, sky).
COUNTS = {
    "town": {"town": [[90, 10, 0], [10, 90, 0], [0, 0, 50]], "park": [[95, 5], [90, 10], [0, 50]]},
    "park": {"town": [[60, 40, 0], [0, 0, 99]], "park": [[99, 1], [1, 99]]},
}


def use_counts(monkeypatch: pytest.MonkeyPatch, counts: Mapping[str, Mapping[str, Any]]) -> None:
    """The model's predictions are those, in thousands of pixels, on nine images."""

    def count(predictor: Any, dataset: Any, taxonomies: list[LabelSpace], *_: Any, **__: Any) -> ClassCounts:
        predicted = {t.name: 1000 * np.array(counts[dataset.name][t.name]) for t in taxonomies}
        return ClassCounts(dataset.label_space, np.full(len(dataset.label_space), 9), predicted)

    monkeypatch.setattr(measured_report, "count_predictions", count)


@pytest.fixture
def known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    use_counts(monkeypatch, COUNTS)


EXPECTED = [
    Relation("town", "sky", "same", "park", "sky"),
    Relation("park", "tree", "contains", "town", "road"),
    Relation("park", "tree", "contains", "town", "car"),
]


def test_what_is_printed(known_counts: None, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--model", runs["multi_head"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == ["dataset classes with partner", "town 3 3", "park 2 2", "union 4 1"]
    assert "3 relations suggested, for you to check:" in lines
    assert "town/sky same park/sky 100% 100% 100%, 100% 9, 9" in lines
    assert "park/tree contains town/road 62% 96% 60%, 95% 9, 9" in lines


def test_evidence_in_the_tsv_and_in_json(
    known_counts: None, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--model", runs["multi_head"], "--out", tmp_path / "r.tsv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [Relation(*row) for row in found["relations"]] == EXPECTED == read_relations(tmp_path / "r.tsv")
    assert found["threshold"] == 0.7 and found["not_enough_evidence"] == [] and found["homonyms"] == []
    header, _, road, _ = (line.split("\t") for line in (tmp_path / "r.tsv").read_text().splitlines())
    written = dict(zip(header[5:], map(float, road[5:]), strict=True))
    assert written == found["evidence"][1]
    assert (written["predicted_of_from"], written["predicted_of_to"], written["pixels_to"]) == (0.6, 0.95, 100_000)


def test_suggestions_can_be_a_master_table(
    known_counts: None, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--model", runs["multi_head"], "--out", tmp_path / "m.tsv", "--format", "mseg") == 0
    rows = {tuple(line.split("\t")[:2]) for line in (tmp_path / "m.tsv").read_text().splitlines()}
    assert {("town", "park"), ("sky", "sky"), ("road", "tree"), ("car", "tree"), ("", "tree")} == rows


def test_homonyms_and_missing_evidence_are_told(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {
        "town": {"town": [[5, 95, 0], [10, 90, 0], [0, 0, 50]], "park": [[95, 5], [99, 1], [50, 0]]},
        "park": {"town": [[0, 50, 50], [95, 5, 0]], "park": [[99, 1], [1, 99]]},
    }
    use_counts(monkeypatch, odd)
    assert call("--model", runs["multi_head"]) == 0
    shown = capsys.readouterr().out
    assert "town/sky  is not related to (0%, 0%)  park/sky" in shown
    assert "not enough evidence for:\n  town (1): road (5% found, mostly taken for car)" in shown
    assert "no relation found for:\n  park (1): sky" in shown


def test_a_real_run_with_options(
    runs: dict[str, Path], data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"{name}={root}" for name, root in data_roots.items()]
    options = ["--split", "train", "--limit", "4", "--threshold", "0.6", "--flip", "--device", "cpu", "--json"]
    assert call("--model", runs["multi_head"], *data, *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threshold"] == 0.6
    assert {row[1] for row in found["not_enough_evidence"]}  # four images are too few for any class
    assert found["relations"] == []


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("supervised", [], "taxonomy of one dataset only (town)"),
        ("label_remap", [], "taxonomy of one dataset only (town)"),
        ("multi_head", ["town={town}"], "give two at least"),
        ("multi_head", ["town={town}", "prak={park}"], "not trained on 'prak'; did you mean 'park'?"),
        ("multi_head", ["town={town}", "park={town}"], "knows 'park' with other classes"),
        ("multi_head", ["--by", "r.tsv"], "give one of the two"),
        ("multi_head", ["--columns", "a=b"], "give one of the two"),
        ("multi_head", ["--limit", "0"], "--limit must be at least 1"),
        ("multi_head", ["--threshold", "0.3"], "between 0.5 and 1, not at 0.3"),
        ("multi_head", ["--split", "tset"], "no split 'tset'"),
        ("multi_head", ["--device", "abacus"], "no device 'abacus'"),
    ],
)
def test_wrong_calls(
    method: str,
    options: list[str],
    message: str,
    runs: dict[str, Path],
    data_roots: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("--model", runs[method], *(option.format(**data_roots) for option in options)) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) <= 2


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--model", tmp_path / "none") == 2
    assert "does not exist" in capsys.readouterr().err
