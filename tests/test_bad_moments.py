"""What goes wrong in the middle of a run gets a line or two, and costs nothing; here on one method, in this process.

`test_every_method_survives.py` does it to all, in processes of their own.
"""

import csv
import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tiny_run
from multiseg.checkpoint_files import newest_checkpoint
from multiseg.cli import main
from multiseg.loading.sampling import Mixed, PlannedSampler
from multiseg.methods.multi_head import MultiHead
from multiseg.mishaps import explanation
from multiseg.run_folder import RunFolder, read_checkpoint


class PowerCut(Exception):
    pass


@pytest.fixture(scope="module")
def whole(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five updates, validated after three and at the end, to which nothing happened."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*command(data_roots, run)]) == 0
    return run


def command(roots: dict[str, Path], run: Path, *more: object) -> list[str]:
    steps = ["--steps", "5", "--trainer.val_every", "3", "--trainer.checkpoint_every", "1"]
    return ["train", "multi_head", *tiny_run.arguments(roots), *steps, "--run", str(run), "--quiet", *map(str, more)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[Any], Any]], None]]:
    """Calls something with the method as a step begins; undone by `monkeypatch.undo`."""

    def patch(step: int, action: Callable[[Any], Any]) -> None:
        original = MultiHead.training_step

        def sabotaged(self: MultiHead, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.trainer.global_step == step:
                action(self)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(MultiHead, "training_step", sabotaged)

    yield patch


def raising(error: BaseException) -> Callable[..., Any]:
    def act(*args: Any, **kwargs: Any) -> None:
        raise error

    return act


def assert_same(run: Path, whole: Path) -> None:
    first, second = (load_file(folder / "model/model.safetensors") for folder in (whole, run))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run / "log.csv").read_text() == (whole / "log.csv").read_text()
    scores = [json.loads((folder / "metrics.json").read_text())["datasets"] for folder in (run, whole)]
    assert scores[0] == scores[1]
    steps = [read_checkpoint(folder / "checkpoints/best.ckpt")["global_step"] for folder in (run, whole)]
    assert steps[0] == steps[1]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.partition("error: ")[2]
    assert len(error.strip().splitlines()) <= 2 and "Traceback" not in error, error
    return error


@pytest.mark.parametrize("broken", ["truncated", "damaged", "about to be replaced"])
def test_the_checkpoint_before_takes_the_place_of_a_broken_one(
    broken: str,
    run: Path,
    whole: Path,
    data_roots: dict[str, Path],
    at_step: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_step(3, raising(PowerCut()))
    with pytest.raises(PowerCut):
        main(command(data_roots, run))
    monkeypatch.undo()
    last, previous = run / "checkpoints/last.ckpt", run / "checkpoints/previous.ckpt"
    kept = previous.read_bytes()
    content = bytearray(last.read_bytes())
    if broken == "truncated":
        last.write_bytes(content[:-1000])
    elif broken == "damaged":
        content[len(content) // 2] ^= 1
        last.write_bytes(content)
    else:
        os.replace(last, previous)
    assert newest_checkpoint(RunFolder(run)) == (previous, 3)
    said = capsys.readouterr().err
    assert ("last.ckpt is broken" in said and "previous.ckpt" in said) != (broken == "about to be replaced")
    # a broken one never takes the place of a good one
    at_step(3, raising(PowerCut()))
    with pytest.raises(PowerCut):
        main(command(data_roots, run, "--resume"))
    assert broken == "about to be replaced" or previous.read_bytes() == kept
    monkeypatch.undo()
    assert main(command(data_roots, run, "--resume")) == 0
    assert_same(run, whole)


def test_without_any_good_checkpoint_all_are_named(
    run: Path, whole: Path, data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, run)
    (run / "metrics.json").unlink()
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"PK")
    assert main(command(data_roots, run, "--resume")) == 2
    error = error_of(capsys)
    assert all(f"{name}.ckpt is broken" in error for name in ("last", "previous", "best"))


def test_the_end_of_a_job_saves_and_resumes(
    run: Path,
    whole: Path,
    data_roots: dict[str, Path],
    at_step: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    at_step(1, lambda method: os.kill(os.getpid(), signal.SIGTERM))
    assert main(command(data_roots, run)) == 128 + signal.SIGTERM
    assert f"--run {run} --resume" in capsys.readouterr().err
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 2, "the step is finished"
    assert signal.getsignal(signal.SIGTERM) == handler
    monkeypatch.undo()
    assert main(command(data_roots, run, "--resume")) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("step", [3, 5])
def test_a_validation_that_was_cut_off_is_made_up_for(
    step: int, run: Path, whole: Path, data_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 3 steps in the middle of a run, after 5 at its end; by a signal, on which nothing waits for the rest."""
    original = MultiHead.validation_step

    def asked(self: MultiHead, *args: Any) -> None:
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)  # a cluster may send it more than once
        original(self, *args)

    monkeypatch.setattr(MultiHead, "validation_step", asked)
    assert main(command(data_roots, run, "--data.eval_batch_size", 1)) == 128 + signal.SIGUSR1
    monkeypatch.undo()
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == step
    assert main(command(data_roots, run, "--resume", "--data.eval_batch_size", 4)) == 0
    assert_same(run, whole)


def test_event_files_go_on_where_the_checkpoint_is(
    run: Path, whole: Path, data_roots: dict[str, Path], at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, raising(PowerCut()))
    with pytest.raises(PowerCut):
        main(command(data_roots, run, "--trainer.checkpoint_every", 2))
    monkeypatch.undo()
    assert main(command(data_roots, run, "--resume", "--trainer.checkpoint_every", 2)) == 0
    shown = [EventAccumulator(str(folder)).Reload() for folder in (run, whole)]
    for tag in ("loss", "val/mIoU"):
        steps = [sorted({event.step for event in own.Scalars(tag)}) for own in shown]
        assert steps[0] == steps[1] and len(steps[0]) > 1, tag


@pytest.mark.parametrize("ruined", ["loss", "gradients", "gradients before a checkpoint"])
def test_what_is_no_number_stops_the_run_and_is_never_saved(
    ruined: str,
    run: Path,
    whole: Path,
    data_roots: dict[str, Path],
    at_step: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ruin(method: MultiHead) -> None:
        parameter = next(method.parameters())
        if ruined == "loss":
            parameter.data.fill_(float("nan"))
        else:
            parameter.register_hook(lambda gradient: gradient * float("nan"))

    at_step(2, ruin)
    every = 1 if ruined == "gradients before a checkpoint" else 2
    assert main(command(data_roots, run, "--trainer.checkpoint_every", every)) == 2
    error = error_of(capsys)
    what = {
        "loss": "the gradients of batch 1 were not finite",  # so it looks: nothing else ruins weights
        "gradients": "the weights are no longer finite after step 3",  # a validation follows, which saves
        "gradients before a checkpoint": "the weights are no longer finite after step 3",
    }
    assert what[ruined] in error and "images: town/images/train/" in error and "gradient_clip" in error
    state = read_checkpoint(run / "checkpoints/last.ckpt")
    assert state["global_step"] == 2 and all(own.isfinite().all() for own in state["state_dict"].values())
    monkeypatch.undo()
    assert main(command(data_roots, run, "--trainer.checkpoint_every", every, "--resume")) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("place", ["checkpoint", "log", "model", "scores"])
def test_a_full_disk_loses_nothing(
    place: str,
    run: Path,
    whole: Path,
    data_roots: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    saved = torch.save

    def half(checkpoint: dict[str, Any], file: Any) -> None:
        if checkpoint["global_step"] == 4:
            file.write(b"PK\x03\x04")
            raise RuntimeError("unexpected pos 576 vs 534") from full  # as torch says it
        saved(checkpoint, file)

    targets: dict[str, tuple[str, Callable[..., Any]]] = {
        "checkpoint": ("torch.save", half),
        "log": ("multiseg.log.csv.DictWriter.writerows", raising(full)),
        "model": ("multiseg.run_folder.save_file", raising(full)),
        "scores": ("multiseg.training.RunFolder.write_metrics", raising(full)),
    }
    monkeypatch.setattr(*targets[place])
    assert main(command(data_roots, run)) == 2
    assert "no space is left" in error_of(capsys)
    assert not list(run.rglob("*.ckpt.partial")) and not (run / "metrics.json").exists()
    monkeypatch.undo()
    assert main(command(data_roots, run, "--resume")) == 0
    assert_same(run, whole)


def test_a_resumed_run_must_find_the_same_images(
    run: Path,
    data_roots: dict[str, Path],
    tmp_path: Path,
    at_step: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_step(3, raising(PowerCut()))
    with pytest.raises(PowerCut):
        main(command(data_roots, run))
    monkeypatch.undo()
    more = tmp_path / "town"
    shutil.copytree(data_roots["town"], more)
    for kind in ("images", "masks"):
        shutil.copyfile(more / kind / "train/0.png", more / kind / "train/99.png")
    # that data lie elsewhere is no contradiction, that there are more is one
    assert main(["train", "--run", str(run), "--resume", "--data.datasets.town.root", str(more)]) == 2
    assert "the dataset 'town' has 10 images now, and had 9" in error_of(capsys)


def test_what_was_never_started_is_not_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--run", str(run), "--resume"]) == 2
    assert f"{run} holds no run" in error_of(capsys) and not run.exists()


def test_a_resumed_run_may_use_the_machine_otherwise(
    run: Path, whole: Path, data_roots: dict[str, Path], at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(3, raising(PowerCut()))
    with pytest.raises(PowerCut):
        main(command(data_roots, run))
    monkeypatch.undo()
    otherwise = ["--data.workers", "1", "--data.eval_batch_size", "1", "--trainer.check_files", "1"]
    assert main(["train", "--run", str(run), "--resume", "--quiet", *otherwise]) == 0
    assert_same(run, whole)
    assert "eval_batch_size: 1" in (run / "config.yaml").read_text()


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_files_are_skipped_if_wanted(
    workers: int, run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In training and in validation, by the process itself and by a worker; the check before only warns."""
    town = tmp_path / "town"
    shutil.copytree(data_roots["town"], town)
    for path in (town / "images/train/3.png", town / "images/val/1.png"):
        path.write_bytes(path.read_bytes()[:200])
    arguments = command({**data_roots, "town": town}, run, "--data.broken_files", "skip", "--data.workers", workers)
    assert main([*arguments, "--steps", "9"]) == 0
    said = capsys.readouterr().err
    assert "first images/train/3.png is truncated; to be skipped" in said
    row = list(csv.DictReader((run / "log.csv").open()))[-1]
    assert float(row["skipped/town"]) >= 3 and float(row["skipped/park"]) == 0  # an epoch, and two validations


def test_where_nothing_can_be_read_skipping_ends(
    run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = tmp_path / "town"
    shutil.copytree(data_roots["town"], town)
    for path in (town / "images/train").iterdir():
        if path.stem != "0":
            path.write_bytes(path.read_bytes()[:200])
    arguments = command({**data_roots, "town": town}, run, "--data.broken_files", "skip", "--trainer.check_files", "1")
    (town / "images/train/0.png").touch()
    assert main(arguments) == 0, "one image is left"
    shutil.rmtree(run)

    def vanish(*args: Any) -> None:
        (town / "images/train/0.png").unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lightning.Trainer,
            "fit",
            lambda self, *args, fit=lightning.Trainer.fit, **kw: [vanish(), fit(self, *args, **kw)],
        )
        capsys.readouterr()
        assert main(arguments) == 2
    assert "9 images of 'town' in a row cannot be read" in error_of(capsys)


MISHAPS: dict[str, tuple[BaseException, str]] = {
    "accelerator": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "--devices"),
    "host": (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), "memory"),
    "python": (MemoryError(), "out of memory"),
    "stuck": (RuntimeError("DataLoader timed out after 600 seconds"), "no batch for 600 s"),
    "killed": (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "lower data.workers"),
    "shared memory": (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. "), "/dev/shm"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space is left for"),
    "stale": (OSError(errno.ESTALE, "Stale file handle", "/d/a.png"), "/d/a.png: Stale file handle"),
    "in a worker": (
        OSError("Caught OSError in DataLoader worker process 0.\nTraceback …\nOSError: [Errno 5] bad: '/d/a.png'"),
        "/d/a.png: Input/output error",
    ),
    "a peer": (RuntimeError("[../gloo/transport/tcp/pair.cc:538] Connection closed by peer"), "another process"),
}


@pytest.mark.parametrize("name", MISHAPS)
def test_mishaps_are_explained(name: str, run: Path) -> None:
    error, words = MISHAPS[name]
    told = explanation(error, RunFolder(run))
    assert told is not None and words in told and told.endswith(".") and "\n" not in told
    try:
        raise ValueError("in the end") from error
    except ValueError as later:
        assert explanation(later, RunFolder(run)) == told


def test_what_nobody_foresaw_is_not_explained_away(run: Path) -> None:
    assert explanation(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RunFolder(run)) is None
    assert "eval_batch_size" in str(explanation(torch.OutOfMemoryError(), RunFolder(run), validating=True))


def test_a_run_is_resumed_in_seconds_wherever_it_stopped() -> None:
    started = time.monotonic()
    sampler = PlannedSampler(Mixed(), {"town": 100_000, "park": 50}, 48, seed=0, start=2_000_000, stop=2_000_001)
    assert len(next(iter(sampler))) == 48
    assert time.monotonic() - started < 10  # it takes a third of a second
