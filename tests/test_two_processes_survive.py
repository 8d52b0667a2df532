"""What happens to one of two processes ends both, soon and with an explanation, and the run can be resumed.

python -m pytest -m slow tests/test_two_processes_survive.py
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import every_method
import sabotage
from multiseg.run_folder import read_checkpoint
from processes import free_port, torchrun_environment

pytestmark = pytest.mark.slow

METHODS = ("multi_head", "mdp")
MORE = ["--steps", "6", "--trainer.checkpoint_every", "1", "--trainer.val_every", "3", "--devices", "2"]
MORE += ["--trainer.accelerator", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return every_method.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=METHODS)
def whole(request: pytest.FixtureRequest, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp(request.param) / "whole"
    assert [process.wait() for process in start(request.param, roots, run)] == [0, 0]
    return run


def start(
    name: str, roots: dict[str, Path], run: Path, *more: str, sabotaged: Callable[[], None] | None = None
) -> list[sabotage.Run]:
    """Two processes, as torchrun starts them; something happens to the second one."""
    command, port = [*every_method.arguments(name, roots), *MORE, "--run", run, *more], free_port()
    run.mkdir(exist_ok=True)
    for output in run.glob("output*"):
        output.unlink()
    return [
        sabotage.Run(command, run / f"output{rank}", sabotaged if rank else None, torchrun_environment(rank, 2, port))
        for rank in range(2)
    ]


def assert_resumes(whole: Path, roots: dict[str, Path], run: Path) -> None:
    processes = start(whole.parent.name.rstrip("0123456789"), roots, run, "--resume")
    assert [process.wait() for process in processes] == [0, 0], processes[0].said()
    first, second = (load_file(folder / "model/model.safetensors") for folder in (whole, run))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run / "log.csv").read_text() == (whole / "log.csv").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_one_is_killed(whole: Path, rank: int, roots: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start(whole.parent.name.rstrip("0123456789"), roots, run, sabotaged=sabotage.SlowDisk())
    assert processes[0].wait_for(run / "checkpoints/last.ckpt"), [process.said() for process in processes]
    processes[rank].kill()
    killed = time.monotonic()
    left = processes[1 - rank]
    assert left.wait() == 2, left.said()
    assert time.monotonic() - killed < 30
    said = left.said()
    assert "another process of this run ended" in said and f"--run {run} --resume" in said, said
    assert "Traceback" not in said, said
    assert_resumes(whole, roots, run)


@pytest.mark.parametrize("asked", [[0], [1], [0, 1]])
def test_some_are_asked_to_end(whole: Path, asked: list[int], roots: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start(whole.parent.name.rstrip("0123456789"), roots, run)
    assert processes[0].wait_for(run / "checkpoints/last.ckpt"), [process.said() for process in processes]
    for rank in asked:
        processes[rank].kill(signal.SIGTERM)
    codes = [process.wait() for process in processes]
    said = [process.said() for process in processes]
    assert 128 + signal.SIGTERM in codes and set(codes) <= {2, 128 + signal.SIGTERM}, said
    assert "Traceback" not in "".join(said) and f"--run {run} --resume" in said[0], said
    assert_resumes(whole, roots, run)


def test_one_has_a_loss_that_is_no_number(whole: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    """The first process tells of it, with the images of both."""
    run = tmp_path / "run"
    processes = start(whole.parent.name.rstrip("0123456789"), roots, run, sabotaged=sabotage.LossOfNothing(4))
    assert [process.wait() for process in processes] == [2, 2], [process.said() for process in processes]
    told, silent = (process.said() for process in processes)
    assert "the loss of batch 4 is not finite; its images: " in told and told.count("/train/") == 4, told
    assert "error:" not in silent and "Traceback" not in told + silent, silent
    state = read_checkpoint(run / "checkpoints/last.ckpt")
    assert state["global_step"] == 4 and all(own.isfinite().all() for own in state["state_dict"].values())
    assert_resumes(whole, roots, run)


def test_one_runs_out_of_memory(whole: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    broken = sabotage.AtStep(3, sabotage.OutOfMemory())
    processes = start(whole.parent.name.rstrip("0123456789"), roots, run, sabotaged=broken)
    assert [process.wait() for process in processes] == [2, 2], [process.said() for process in processes]
    said = [process.said() for process in processes]
    assert "another process of this run ended" in said[0] and "out of memory" in said[1], said
    assert "Traceback" not in "".join(said), said
    assert_resumes(whole, roots, run)
