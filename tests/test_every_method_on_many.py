"""One process or many: for every method runs on two and on four processes are compared with a run on one.

    python -m pytest -m slow tests/test_every_method_on_many.py

The data are unequal on purpose: `yard` has one image to train on and one to judge by, fewer than there are processes;
with eight images a step of three datasets most processes lack a dataset in most steps, and which one changes. Nothing
divides the images to judge by equally. An incomplete batch there is none in training: a plan has no end, and an epoch
ends within a batch.

All is computed in double precision, in one process as in many. What then differs are mistakes and not rounding, so the
tolerance is tight: 1e-6, relative and absolute, for all that the checkpoint holds (weights, optimiser, banks, queues,
momentum encoders), six digits for what the log prints with six, and nothing for the scores. Dropout is off: its masks
are each process's own. Sums of all processes are taken in another order than sums of one, which in double precision
shows in the last few of sixteen digits; three updates, and divisions by small variances of batch norms, magnify it.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import every_method
from multiseg.run_folder import read_checkpoint
from processes import Processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return every_method.write_data(tmp_path_factory.mktemp("unequal"))


@pytest.fixture(scope="module")
def runs(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR/COUNT/NAME: every run on one, two and four processes."""
    root = tmp_path_factory.mktemp("many")

    def commands(count: int) -> list[list[object]]:
        return [[*every_method.arguments(name, roots), "--run", root / str(count) / name] for name in every_method.RUNS]

    for count in (1, 2, 4):
        Processes(commands(count), count, double=True).wait(timeout=900)
    return root


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", every_method.RUNS)
def test_many_processes_train_and_judge_like_one(name: str, count: int, runs: Path) -> None:
    one, many = runs / "1" / name, runs / str(count) / name
    first, second = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, many))
    for part in ("state_dict", "optimizer_states", "queue", "latest_losses"):
        assert_equal(first.get(part), second.get(part), part)
    logs = [list(csv.DictReader((run / "log.csv").open())) for run in (one, many)]
    assert len(logs[0]) == len(logs[1]) == 3
    for row, same in zip(*logs, strict=True):
        assert {key: number(value) for key, value in row.items()} == pytest.approx(
            {key: number(value) for key, value in same.items()}, rel=1e-5, abs=1e-6, nan_ok=True
        )
    scores = [json.loads((run / "metrics.json").read_text()) for run in (one, many)]
    assert_equal(*({key: value for key, value in entry.items() if key != "seconds"} for entry in scores), "metrics")


def assert_equal(value: Any, other: Any, name: str) -> None:
    """Two parts of checkpoints, whatever they are made of."""
    if isinstance(value, torch.Tensor):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-6, msg=lambda text: f"{name}: {text}")
    elif isinstance(value, dict):
        assert value.keys() == other.keys(), name
        for key in value:
            assert_equal(value[key], other[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        assert len(value) == len(other), name
        for place, entry in enumerate(value):
            assert_equal(entry, other[place], f"{name}.{place}")
    elif isinstance(value, float):
        assert value == pytest.approx(other, rel=1e-6), name
    else:
        assert value == other, name


def number(text: str) -> float:
    return float(text) if text else -1.0
