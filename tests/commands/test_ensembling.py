"""`multiseg evaluate --ensemble`: what it prints of several runs, and how it answers to wrong input."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny_run
from multiseg import predictor
from multiseg.cli import main
from multiseg.commands import evaluating
from multiseg.commands.ensembling import choose_taxonomies, split_runs
from multiseg.ensemble import Ensemble
from multiseg.label_space import LabelSpace
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.multi_head import MultiHead
from multiseg.run_folder import InputSize, Model, load_model
from tiny_methods import PARK, make


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes longer than reading three images."""
    monkeypatch.setattr(predictor, "default_workers", lambda: 0)


def change(
    run: Path,
    copy: Path,
    how: Callable[[dict[str, Any], dict[str, Any]], None],
    weights: Callable[[str, Tensor], Tensor],
) -> Path:
    """A copy of a run with model.json, the datasets of config.yaml and the weights of the town's classifier changed."""
    shutil.copytree(run, copy)
    model = json.loads((copy / "model/model.json").read_text())
    config = yaml.safe_load((copy / "config.yaml").read_text())
    how(model, config["data"]["datasets"])
    (copy / "model/model.json").write_text(json.dumps(model))
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    known = {f"classifiers.{space['name']}." for space in model["spaces"]}
    state = {
        name: weights(name, value).contiguous() if name.startswith("classifiers.town.") else value
        for name, value in load_file(copy / "model/model.safetensors").items()
        if not name.startswith("classifiers.") or name.startswith(tuple(known))
    }
    save_file(state, copy / "model/model.safetensors")
    return copy


@pytest.fixture(scope="module")
def runs(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of two methods; `heads` knows both datasets, `one` only the town, with weights of its own in the classifier."""
    folder = tmp_path_factory.mktemp("ensemble")
    short = ["--steps", 2, "--quiet", "--method.optimizer.lr", 0.1]
    assert call("train", "multi_head", *tiny_run.arguments(data_roots), *short, "--run", folder / "heads") == 0

    def supervise(model: dict[str, Any], datasets: dict[str, Any]) -> None:
        model["method"]["class_path"] = "multiseg.methods.supervised.Supervised"
        model["spaces"] = [town(model)]
        del datasets["park"]

    generator = torch.Generator().manual_seed(0)

    def other_weights(name: str, value: Tensor) -> Tensor:
        return torch.randn(value.shape, generator=generator)

    change(folder / "heads", folder / "one", supervise, other_weights)
    return {name: folder / name for name in ("heads", "one")}


def town(model: dict[str, Any]) -> dict[str, Any]:
    return next(space for space in model["spaces"] if space["name"] == "town")


def result(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_shows_the_ensemble_and_each_run(
    runs: dict[str, Path], data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, names = f"town={data_roots['town']}", [str(path) for path in runs.values()]
    assert call("evaluate", *names, data, "--ensemble", "--flip", "--json") == 0
    found = result(capsys)
    assert list(found["runs"]) == names
    assert call("evaluate", runs["one"], data, "--flip", "--json") == 0
    assert found["runs"][names[1]] == result(capsys)
    cost = sum(own["datasets"]["town"]["GFLOPs"] for own in found["runs"].values())
    assert found["datasets"]["town"]["GFLOPs"] == pytest.approx(cost, abs=0.01)
    assert found["mean"]["mIoU"] == found["datasets"]["town"]["mIoU"]
    assert call("evaluate", *names, data, "--ensemble", "--flip") == 0
    shown = capsys.readouterr().out
    best = max(names, key=lambda name: found["runs"][name]["mean"]["mIoU"])
    gain = found["mean"]["mIoU"] - found["runs"][best]["mean"]["mIoU"]
    assert f"town: {gain:+.1f} mIoU over the best run, {best}" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    for label, value in found["datasets"]["town"]["per_class"].items():
        own = [entry["datasets"]["town"]["per_class"][label] for entry in found["runs"].values()]
        assert rows[label] == [f"{number:.1f}" for number in (value, *own)]


def test_of_their_own_datasets_those_that_all_know(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "--ensemble", *runs.values(), "--json") == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["datasets"]) == ["town"]
    assert f"park is left out: {runs['one']} was not trained on it" in printed.err
    assert call("evaluate", "--ensemble", runs["heads"], runs["heads"], "--json") == 0
    found = result(capsys)
    assert list(found["runs"]) == [str(runs["heads"]), f"{runs['heads']} (2)"]
    assert list(found["datasets"]) == ["town", "park"]
    for own in found["runs"].values():
        for name, entry in own["datasets"].items():
            assert entry["per_class"] == found["datasets"][name]["per_class"]


def test_a_run_that_learnt_the_classes_in_another_order(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = [2, 0, 1]

    def turn(model: dict[str, Any], datasets: dict[str, Any]) -> None:
        space = town(model)
        space["classes"] = [space["classes"][place] for place in order]

    def turn_weights(name: str, value: Tensor) -> Tensor:
        return value[order] if len(value) == len(order) else value

    copy = change(runs["heads"], tmp_path / "turned", turn, turn_weights)
    assert call("evaluate", "--ensemble", runs["heads"], copy, "--json") == 0
    found = result(capsys)
    scores = [entry["datasets"]["town"]["per_class"] for entry in (found, *found["runs"].values())]
    assert scores[0] == scores[1] == scores[2]


def test_in_a_named_taxonomy(
    runs: dict[str, Path],
    data_roots: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MultiHead, "panoptic", True)
    unseen = f"unseen={data_roots['park']}"
    assert call("evaluate", *runs.values(), unseen, "--ensemble", "--taxonomy", "town", "--json") == 0
    printed = capsys.readouterr()
    assert f"segments cannot be averaged: of {runs['heads']} only the classes are judged." in printed.err
    found = json.loads(printed.out)["datasets"]["unseen"]
    assert found["taxonomy"] == "town" and found["unreached"] == ["tree"] and set(found["per_class"]) == {"sky"}


def test_one_line_says_what_is_wrong(
    runs: dict[str, Path],
    data_roots: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evaluating, "load_model", cache(load_model))  # once each

    def rename(model: dict[str, Any], datasets: dict[str, Any]) -> None:
        town(model)["classes"][2]["name"] = "heaven"
        del datasets["town"]  # what it was trained on

    heads, one, other = (
        runs["heads"],
        runs["one"],
        change(runs["heads"], tmp_path / "other", rename, lambda _, value: value),
    )
    data = f"town={data_roots['town']}"
    for arguments, message in [
        ([heads], f"--ensemble needs several runs; there is only {heads}."),
        ([heads, one, data, "--out", "x"], "segments, which cannot be averaged"),
        ([one, other], f"no dataset is common to all runs: {one} has town; {other} has park."),
        ([one, other, data], f"{other}: its taxonomy 'town' lacks: sky"),
        (
            [one, other, f"unseen={data_roots['town']}", "--taxonomy", "town"],
            f"{other}: its taxonomy 'town' lacks: sky",
        ),
        ([heads, one, f"unseen={data_roots['town']}"], f"{heads}: the model was not trained on 'unseen'"),
        ([heads, one, f"park={data_roots['park']}"], f"{one}: the model was not trained on 'park'"),
        ([heads, one, "--norms", "town"], "one set of batch norms"),
        ([heads, "nothing", data], "the run folder nothing does not exist"),
    ]:
        assert call("evaluate", "--ensemble", *arguments) == 2, message
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error and error.startswith("error: ")
    assert call("evaluate", heads, one) == 2
    assert f"'{one}' is not of the form NAME=ROOT" in capsys.readouterr().err


def test_runs_whose_names_have_an_equals_sign(tmp_path: Path) -> None:
    run = tmp_path / "lr=0.1"
    run.mkdir()
    assert split_runs(["a", str(run), "town=/d/town"]) == (["a", str(run)], ["town=/d/town"])


def test_a_run_answers_by_words_where_another_was_trained(data_roots: dict[str, Path]) -> None:
    dataset = open_dataset("town", DatasetEntry(data_roots["town"]), "val")
    other = LabelSpace("town", PARK.classes, PARK.ignore_ids)  # a dataset of the same name with classes of its own
    members = {
        name: predictor.Predictor(
            Model(method.eval().requires_grad_(False), {"town": InputSize(64, (32, 48))}, "32-true"), "cpu"
        )
        for name, method in {"heads": make(MultiHead), "words": make(LMSeg, [other])}.items()
    }
    taxonomies, remapping = choose_taxonomies(members, dataset, None, None)
    assert taxonomies == {"heads": "town", "words": "town-words"} and remapping is None
    found = Ensemble(members).evaluate(dataset, taxonomies)
    assert found.together.taxonomy == "town" and found.alone["words"].taxonomy == "town-words"
    assert found.alone["words"] == members["words"].evaluate(dataset, "town-words")
