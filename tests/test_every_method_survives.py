"""Every method killed, interrupted and sabotaged: what is resumed ends as if nothing had been, and nothing is lost.

    python -m pytest -m slow tests/test_every_method_survives.py

A run of six updates writes a checkpoint after each. Where it is resumed, its weights, log, scores, best checkpoint and
event files are those of a run that nothing happened to: bit for bit, on the CPU.
"""

import csv
import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import every_method
import sabotage
from multiseg.run_folder import read_checkpoint

pytestmark = pytest.mark.slow

#: One of each method; the rest of `every_method.RUNS` are variants.
METHODS = [name for name in every_method.RUNS if "," not in name] + ["lmseg, panoptic", "mdp, regions"]
LONGER = ["--steps", "6", "--trainer.checkpoint_every", "1", "--trainer.val_every", "3"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return every_method.write_data(tmp_path_factory.mktemp("data"))


class Bench:
    """Runs of one method, beside one that nothing happens to."""

    def __init__(self, name: str, roots: dict[str, Path], folder: Path) -> None:
        self.command = [*every_method.arguments(name, roots), *LONGER, "--quiet"]
        self.folder = folder
        self.pictures: dict[Path, bytes] = {}
        self.run = folder / "run"
        self.whole = folder / "whole"
        assert self.start(self.whole).wait() == 0, (folder / "output").read_text()

    def start(self, run: Path, *more: object, sabotaged: Callable[[], None] | None = None) -> sabotage.Run:
        (self.folder / "output").unlink(missing_ok=True)
        return sabotage.Run([*self.command, "--run", run, *more], self.folder / "output", sabotaged)

    def go_on(self, *more: object, sabotaged: Callable[[], None] | None = None) -> sabotage.Run:
        return self.start(self.run, "--resume", *more, sabotaged=sabotaged)

    def ends_as_whole(self) -> None:
        """Goes on to the end, and compares everything."""
        child = self.go_on()
        assert child.wait() == 0, child.said()
        first, second = (load_file(run / "model/model.safetensors") for run in (self.whole, self.run))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        assert (self.run / "log.csv").read_text() == (self.whole / "log.csv").read_text()
        metrics = [json.loads((run / "metrics.json").read_text()) for run in (self.whole, self.run)]
        assert all(part.pop("seconds") >= 0 for part in metrics) and metrics[0] == metrics[1]
        shown, wanted = events(self.run), events(self.whole)
        assert shown.keys() == wanted.keys()
        for tag in wanted:  # the event of the step of a checkpoint is written anew from the log's six digits
            assert shown[tag] == pytest.approx(wanted[tag], rel=1e-5, nan_ok=True), tag
        best = [read_checkpoint(run / "checkpoints/best.ckpt") for run in (self.whole, self.run)]
        assert best[0]["global_step"] == best[1]["global_step"]
        weights = [checkpoint["state_dict"] for checkpoint in best]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
        assert not list(self.run.rglob("*.partial"))

    def mend(self) -> None:
        """Makes `pictures` whole again."""
        for path, content in self.pictures.items():
            path.unlink()
            path.write_bytes(content)

    def stopped_with(self, child: sabotage.Run, *words: str) -> None:
        """It ended with one error of a line or two, and something to go on from."""
        assert child.wait() == 2, child.said()
        said = child.said().partition("error: ")[2]
        assert all(word in said for word in words) and "Traceback" not in said, child.said()
        assert len(said.strip().splitlines()) <= 2, said
        assert f"--run {self.run} --resume" in said
        state = read_checkpoint(self.run / "checkpoints/last.ckpt")["state_dict"]
        assert all(entry.isfinite().all() for entry in state.values() if entry.is_floating_point())


def events(run: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows of a run, but for what Lightning adds: by tag and step."""
    shown = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in shown.Tags()["scalars"] if tag != "epoch"]
    return {tag: {event.step: event.value for event in shown.Scalars(tag)} for tag in tags}


@pytest.fixture(scope="module")
def benches(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {}


@pytest.fixture(params=METHODS)
def bench(
    request: pytest.FixtureRequest,
    benches: dict[str, Bench],
    roots: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    name = request.param
    if name not in benches:
        benches[name] = Bench(name, roots, tmp_path_factory.mktemp("runs"))
    shutil.rmtree(benches[name].run, ignore_errors=True)
    return benches[name]


def test_killed_at_random_moments(bench: Bench) -> None:
    """Four SIGKILLs: one while a checkpoint is being written for certain, the others at random, and most then too."""
    moments = random.Random(str(bench.command))
    child = bench.start(bench.run, sabotaged=sabotage.SlowDisk())
    for attempt in range(4):
        if attempt:
            child.process.join(moments.uniform(0.5, 3.0))
        else:
            assert child.wait_for(bench.run / "checkpoints/last.ckpt"), child.said()
            assert child.wait_for(bench.run / "checkpoints/last.ckpt.partial"), child.said()
        child.kill()
        child.wait()
        child = bench.go_on(sabotaged=sabotage.SlowDisk())
    child.kill()
    child.wait()
    if (bench.run / "metrics.json").exists():  # it was faster than all of them
        (bench.run / "metrics.json").unlink()
    bench.ends_as_whole()


def test_ended_by_the_cluster(bench: Bench) -> None:
    child = bench.start(bench.run, sabotaged=sabotage.SlowDisk())
    assert child.wait_for(bench.run / "checkpoints/last.ckpt"), child.said()
    child.kill(signal.SIGTERM)
    assert child.wait() == 128 + signal.SIGTERM, child.said()
    assert f"--run {bench.run} --resume" in child.said() and "Traceback" not in child.said()
    assert not (bench.run / "metrics.json").exists()
    bench.ends_as_whole()


def test_a_truncated_checkpoint(bench: Bench) -> None:
    child = bench.start(bench.run, sabotaged=sabotage.AtStep(4, sabotage.OutOfMemory()))
    bench.stopped_with(child, "out of memory", "--devices")
    sabotage.Truncate([bench.run / "checkpoints/last.ckpt"])()
    child = bench.go_on(sabotaged=sabotage.AtStep(4, sabotage.OutOfMemory()))
    assert child.wait() == 2 and "last.ckpt is broken" in child.said() and "previous.ckpt" in child.said()
    bench.ends_as_whole()


def test_a_loss_that_is_no_number(bench: Bench) -> None:
    child = bench.start(bench.run, sabotaged=sabotage.LossOfNothing(4))
    bench.stopped_with(child, "is not finite; its images: ")
    bench.ends_as_whole()


def test_a_full_disk(bench: Bench) -> None:
    child = bench.start(bench.run, sabotaged=sabotage.AtStep(2, sabotage.DiskFull()))
    bench.stopped_with(child, "no space is left")
    bench.ends_as_whole()


@pytest.fixture
def images(bench: Bench, roots: dict[str, Path]) -> Iterator[list[Path]]:
    """The training images of the method's first dataset but one; afterwards they are whole again."""
    name = next(word.partition("=")[0] for word in bench.command if word.partition("=")[0] in roots)
    pictures = [path for path in sorted(roots[name].rglob("*.png")) if "train" in path.parts]
    images = [path for path in pictures if not {"masks", "gtFine"} & set(path.parts)][1:]
    bench.pictures = {path: path.read_bytes() for path in images}
    yield images
    bench.mend()


def test_files_that_break_meanwhile(bench: Bench, images: list[Path]) -> None:
    child = bench.start(bench.run, sabotaged=sabotage.AtStep(2, sabotage.Truncate(images)))
    bench.stopped_with(child, str(images[0].parent))
    bench.mend()
    bench.ends_as_whole()


def test_broken_files_are_skipped_if_wanted(bench: Bench, images: list[Path]) -> None:
    broken = sabotage.AtStep(2, sabotage.Truncate(images))
    child = bench.start(bench.run, "--data.broken_files", "skip", sabotaged=broken)
    assert child.wait() == 0, child.said()
    assert f"skipped: {images[0].parent}" in child.said() and "Traceback" not in child.said()
    row = list(csv.DictReader((bench.run / "log.csv").open()))[-1]
    assert sum(float(value) for key, value in row.items() if key.startswith("skipped/")) > 0


def test_a_disk_that_hangs(bench: Bench, images: list[Path]) -> None:
    child = bench.start(
        *[bench.run, "--data.workers", 1, "--data.timeout", 3],
        sabotaged=sabotage.AtStep(1, sabotage.Block(images)),
    )
    bench.stopped_with(child, "gave no batch for 3 s")
    bench.mend()
    bench.ends_as_whole()
