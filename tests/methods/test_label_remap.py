"""Label remapping by relations, in a run: the file is read once, an interrupted run goes on with the same labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

import tiny_run
from multiseg.cli import main
from multiseg.methods.label_remap import LabelRemap
from multiseg.taxonomy.relations import Relation, write_relations


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def finished_run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trees count as roads, which no name says. The relations are gone."""
    folder = tmp_path_factory.mktemp("label_remap")
    write_relations(folder / "relations.tsv", [Relation("park", "tree", "part of", "town", "road")])
    arguments = ["--method.relations", folder / "relations.tsv", "--run", folder / "run", "--quiet"]
    assert run_command("train", "label_remap", *tiny_run.arguments(data_roots), *arguments) == 0
    (folder / "relations.tsv").unlink()
    return folder / "run"


def test_the_configuration_holds_the_relations(finished_run: Path) -> None:
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    (row,) = config["method"]["init_args"]["relations"]
    assert Relation(**row) == Relation("park", "tree", "part of", "town", "road")
    assert run_command("evaluate", finished_run, f"town={config['data']['datasets']['town']['root']}") == 0


def test_an_interrupted_run_resumes_with_the_same_labels(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = LabelRemap.targets
    calls = []

    def interrupted(self: LabelRemap, *arguments: Any) -> Tensor:
        calls.append(1)
        if len(calls) > 2 * 5:  # two datasets: in the sixth step
            raise KeyboardInterrupt
        return targets(self, *arguments)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(LabelRemap, "targets", interrupted)
        assert run_command("train", finished_run / "config.yaml", "--run", run, "--quiet") != 0
    assert run_command("train", "--run", run, "--resume", "--quiet") == 0
    first, second = weights(finished_run), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
