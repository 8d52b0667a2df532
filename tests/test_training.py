"""Runs from the command line to the run folder: what they leave, resuming after a kill, two processes against one."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny_run
from multiseg.cli import main
from multiseg.run_folder import RunFolder, load_model


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "multiseg", *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.fixture(scope="module")
def finished_run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted multi_head run of eight steps."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert run_command("train", "multi_head", *tiny_run.arguments(data_roots), "--run", run, "--quiet") == 0
    return run


def test_a_run_folder_keeps_its_contract(finished_run: Path) -> None:
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert metrics["method"] == "MultiHead" and metrics["step"] == 8
    assert set(metrics["datasets"]) == {"town", "park"}
    for scores in metrics["datasets"].values():
        assert 0 <= scores["mIoU"] <= 100 and scores["per_class"] and "pixel_accuracy" in scores
    assert metrics["mean"]["mIoU"] == pytest.approx(sum(s["mIoU"] for s in metrics["datasets"].values()) / 2)
    for name in ("config.yaml", "log.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/model.json"):
        assert (finished_run / name).is_file(), name
    assert list(finished_run.glob("events.out.tfevents.*"))
    rows = list(csv.DictReader((finished_run / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert float(rows[-1]["val/mIoU"]) == pytest.approx(metrics["mean"]["mIoU"], rel=1e-4)
    assert all(row["loss/town"] and row["share/park"] == "0.5" for row in rows)


def test_its_config_trains_the_same_run_again(finished_run: Path, tmp_path: Path) -> None:
    assert run_command("train", finished_run / "config.yaml", "--run", tmp_path / "again", "--quiet") == 0
    first, second = weights(finished_run), weights(tmp_path / "again")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_loading_workers_change_nothing(finished_run: Path, tmp_path: Path) -> None:
    arguments = ["--data.workers", 2, "--run", tmp_path / "workers", "--quiet"]
    assert run_command("train", finished_run / "config.yaml", *arguments) == 0
    first, second = weights(finished_run), weights(tmp_path / "workers")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_to_the_same_weights(
    finished_run: Path, train_arguments: list[str], tmp_path: Path
) -> None:
    """SIGKILL at a moment that the machine's load chooses, as soon as there is a checkpoint; then --resume."""
    run = tmp_path / "killed"
    arguments = ["train", "multi_head", *train_arguments, "--run", run, "--quiet", "--trainer.checkpoint_every", 1]
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "metrics.json").exists(), "the run was too fast to be killed"
    assert run_command(*arguments, "--resume") == 0
    first, second = weights(finished_run), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run / "log.csv").read_text() == (finished_run / "log.csv").read_text()
    assert (
        json.loads((run / "metrics.json").read_text())["datasets"]
        == (json.loads((finished_run / "metrics.json").read_text())["datasets"])
    )


@pytest.mark.parametrize("step", [3, pytest.param(4, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)])
def test_resuming_at_any_step_ends_the_same(
    finished_run: Path, train_arguments: list[str], tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also right at a validation (step 4), by a method that breaks off after so many steps."""
    from multiseg.methods.multi_head import MultiHead

    class PowerCut(Exception):
        pass

    original = MultiHead.training_step

    def breaking(self: MultiHead, batch: object, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == step:
            raise PowerCut
        return original(self, batch, batch_idx)  # type: ignore[arg-type]

    run = tmp_path / "cut"
    arguments = ["train", "multi_head", *train_arguments, "--run", run, "--quiet", "--trainer.checkpoint_every", 1]
    with monkeypatch.context() as patch:
        patch.setattr(MultiHead, "training_step", breaking)
        with pytest.raises(PowerCut):
            run_command(*arguments)
    assert run_command(*arguments, "--resume") == 0
    first, second = weights(finished_run), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run / "log.csv").read_text() == (finished_run / "log.csv").read_text()


def test_two_processes_train_and_evaluate_like_one(train_arguments: list[str], tmp_path: Path) -> None:
    """gloo, equal global batch, datasets of unequal size and a validation split of odd size; without dropout."""
    plain = ["--method.network.decoder.dropout", 0, "--method.network.auxiliary.dropout", 0]
    arguments = ["train", "multi_head", *train_arguments, *plain]
    two = start(*arguments, "--run", tmp_path / "two", "--devices", 2, "--trainer.accelerator", "cpu")
    assert run_command(*arguments, "--run", tmp_path / "one", "--quiet") == 0
    output = two.communicate(timeout=180)[0]
    assert two.returncode == 0, output
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    one, other = (list(csv.DictReader((tmp_path / run / "log.csv").open())) for run in ("one", "two"))
    for row, same in zip(one, other, strict=True):
        for key in ("loss", "loss/town", "loss/park"):
            assert float(row[key]) == pytest.approx(float(same[key]), rel=1e-3)
    scores = [json.loads((tmp_path / run / "metrics.json").read_text())["datasets"] for run in ("one", "two")]
    for name in scores[0]:
        assert scores[0][name]["pixel_accuracy"] == pytest.approx(scores[1][name]["pixel_accuracy"], abs=0.2)


@pytest.mark.parametrize("recipe", ["by_name", "label_remap"])
def test_other_methods_train_and_load(recipe: str, train_arguments: list[str], tmp_path: Path) -> None:
    arguments = [*train_arguments, "--steps", 2, "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", recipe, *arguments) == 0
    model = load_model(RunFolder(tmp_path / "run"))
    assert model.method.predict_labels(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), (9, 9), "town").shape == (1, 9, 9)


def test_alternation_with_accumulation_runs(train_arguments: list[str], tmp_path: Path) -> None:
    plan = ["--data.plan", "{class_path: multiseg.loading.sampling.Alternating}", "--trainer.accumulate", 2]
    assert run_command("train", "multi_head", *train_arguments, *plan, "--run", tmp_path / "run", "--quiet") == 0
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert int(rows[-1]["step"]) == 8


def test_validation_at_the_end_where_steps_are_no_multiple(train_arguments: list[str], tmp_path: Path) -> None:
    arguments = [*train_arguments, "--steps", 5, "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", "multi_head", *arguments) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["step"] == 5


def test_fine_tuning_takes_the_backbone_and_says_so(
    finished_run: Path, train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*train_arguments, "--steps", 1, "--method.optimizer.lr", 1e-9, "--init.weights", finished_run]
    assert run_command("train", "by_name", *arguments, "--run", tmp_path / "run", "--quiet") == 0
    start_weights, tuned = weights(finished_run), weights(tmp_path / "run")
    name = "network.backbone.features.conv1.0.weight"
    name = (
        name if name in tuned else next(k for k in tuned if k.startswith("network.backbone") and k.endswith("weight"))
    )
    torch.testing.assert_close(start_weights[name], tuned[name], atol=1e-5, rtol=0)
    other = next(k for k in tuned if k.startswith("network.decoder") and k.endswith("weight") and tuned[k].dim() == 4)
    assert not torch.allclose(start_weights[other], tuned[other], atol=1e-5)
    assert str(finished_run) in capsys.readouterr().err


def test_a_finished_run_is_not_overwritten(
    finished_run: Path, train_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished_run / "metrics.json").read_bytes()
    assert run_command("train", "multi_head", *train_arguments, "--run", finished_run) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert run_command("train", "multi_head", *train_arguments, "--run", finished_run, "--resume") == 2
    assert "is finished" in capsys.readouterr().err
    assert (finished_run / "metrics.json").read_bytes() == before


def test_a_resumed_run_keeps_its_settings(
    finished_run: Path, train_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*train_arguments, "--seed", 5, "--run", finished_run, "--resume"]
    assert run_command("train", "multi_head", *arguments) == 2
    assert "trainer.seed = 0, not 5" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_resumes(finished_run: Path, train_arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "interrupted"
    arguments = ["train", "multi_head", *train_arguments, "--run", run, "--trainer.checkpoint_every", 1]
    arguments += ["--data.workers", 1]
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loading worker gets it too
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Traceback" not in output, output
    assert f"--run {run} --resume" in output
    assert run_command(*arguments, "--quiet", "--resume") == 0
    first, second = weights(finished_run), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)


ERRORS = {
    "no such recipe": (["multi_heed"], "no recipe 'multi_heed'; did you mean 'multi_head'?"),
    "misspelt section": (["multi_head", "--metod.lr", "1"], "no option '--metod.lr'"),
    "misspelt key": (["multi_head", "--method.optimizer.lrr", "1"], "method.optimizer has no key 'lrr'"),
    "misspelt nested key": (["multi_head", "--data.pipeline.long_sid", "1"], "did you mean 'long_side'?"),
    "misspelt key of a class": (["multi_head", "--method.network.decoder.chanels", "1"], "did you mean 'channels'?"),
    "misspelt key with keys below": (["multi_head", "--method.optimizr.lr", "1"], "did you mean 'optimizer'?"),
    "misspelt class": (
        ["multi_head", "--method.class_path", "multiseg.methods.multi_head.MultiHed"],
        "did you mean 'MultiHead'?",
    ),
    "missing module": (["multi_head", "--method.class_path", "multiseg.methods.nope.X"], "nope"),
    "wrong type": (["multi_head", "--steps", "many"], "trainer.steps must be int, not 'many'"),
    "wrong choice": (
        ["multi_head", "--init.part", "head"],
        "init.part must be one of 'backbone', 'network', not 'head'",
    ),
    "impossible value": (["multi_head", "--steps", "0"], "trainer.steps must be at least 1, not 0"),
    "missing weights": (["multi_head", "--init.weights", "nowhere.ckpt"], "nowhere.ckpt"),
    "unknown backbone": (["multi_head", "--method.network.backbone.name", "resnet19"], "resnet19"),
    "no data": (["multi_head"], "--data NAME=ROOT"),
    "no data, only how it is to be read": (["multi_head", "cdcl/table_1b_cdcl"], "--data NAME=ROOT"),
    "a dataset without a root": (
        ["multi_head", "--data.datasets.park.train", "val"],
        "nothing says where the dataset 'park' lies: add --data park=ROOT",
    ),
    "unknown precision": (["multi_head", "--trainer.precision", "bf17"], "trainer: "),
    "sharded weights": (["multi_head", "--trainer.strategy", "fsdp"], "trainer.strategy: fsdp shards the weights"),
    "impossible seed": (["multi_head", "--seed", "-1"], "trainer.seed must be at least 0"),
    "wrong type of a dataset's own key": (
        ["multi_head", "--data.datasets.town.pipeline", "{crop: 64}"],
        "data.datasets.town.pipeline: crop must be 2 numbers",
    ),
    "a cycle of longer turns": (
        ["cdcl", "--data.plan.interval", "2", "--data.plan.update", "cycle"],
        "with an interval of 2 every batch is an update; a larger data.batch_size makes it larger.\n",
    ),
    "unknown parameter group": (["multi_head", "--method.optimizer.lr_multipliers", "{netwrk: 2}"], "netwrk"),
    "unknown dataset in the weights": (
        ["multi_head", "--data.plan.class_path", "multiseg.loading.sampling.Mixed", "--data.plan.weights", "{twon: 1}"],
        "did you mean 'town'?",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_input_gets_one_line(
    case: str, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = ERRORS[case]
    data = [] if case.startswith("no data") else ["--data", f"town={data_roots['town']}"]
    assert run_command("train", *arguments, *data, "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) <= 2, error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("town=/nowhere/at/all", "/nowhere/at/all does not exist"),
        ("camwid={root}", "no dataset reader 'camwid'; did you mean 'camvid'?"),
        ("town={root}", "{root} needs a dataset.yaml (`multiseg datasets init` writes it); for another name say town:"),
        ("town={root}/file.txt", "{root}/file.txt is no folder"),
        ("town", "not of the form NAME=ROOT"),
        ("a.b={root}", "only letters, digits"),
        ("items:folder={root}", "means something else"),
    ],
)
def test_wrong_data_gets_one_line(data: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.txt").touch()
    assert run_command("train", "multi_head", "--data", data.format(root=tmp_path), "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert message.format(root=tmp_path) in error and len(error.strip().splitlines()) <= 2


def test_broken_files_are_named_before_training(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = {
        "unknown id": lambda root: Image.new("L", (64, 48), 77).save(root / "masks/train/3.png"),
        "another size": lambda root: Image.new("L", (60, 48), 0).save(root / "masks/train/3.png"),
        "undecodable": lambda root: (root / "images/train/3.png").write_bytes(b"no image"),
        "missing": lambda root: (root / "masks/train/3.png").unlink(),
    }
    for fault, damage in faults.items():
        root = tmp_path / fault.replace(" ", "_")
        shutil.copytree(data_roots["town"], root)
        damage(root)
        assert run_command("train", "supervised", "--data", f"town={root}", "--run", tmp_path / "run") == 2, fault
        error = capsys.readouterr().err.split("error: ")[1]
        assert "3" in error and len(error.strip().splitlines()) <= 2, error
        assert not (tmp_path / "run").exists()


def test_a_file_that_breaks_in_a_loading_worker_gets_one_line(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torch wraps what a worker raises into its traceback; the check before training has not seen this file."""
    root = tmp_path / "town"
    shutil.copytree(data_roots["town"], root)
    Image.new("L", (64, 48), 77).save(root / "masks/train/3.png")
    arguments = tiny_run.arguments({"town": root, "park": data_roots["park"]})
    arguments += ["--data.workers", "1", "--trainer.check_files", "1", "--run", str(tmp_path / "run"), "--quiet"]
    assert run_command("train", "multi_head", *arguments) == 2
    error = capsys.readouterr().err.split("error: ")[1]
    assert "3.png: id 77" in error and "Traceback" not in error and len(error.strip().splitlines()) <= 2, error


def test_a_run_that_lost_only_its_end_is_finished_by_resuming(
    finished_run: Path, train_arguments: list[str], tmp_path: Path
) -> None:
    """Killed after the last checkpoint, before the scores and the model were written."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "model")
    assert run_command("train", "--run", run, "--resume", "--quiet") == 0
    first, second = weights(finished_run), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    scores = [json.loads((folder / "metrics.json").read_text())["datasets"] for folder in (finished_run, run)]
    assert scores[0] == scores[1]


def test_a_broken_checkpoint_is_named(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["train", "multi_head", *train_arguments, "--run", run, "--quiet"]
    assert run_command(*arguments, "--steps", 1) == 0
    (run / "checkpoints/last.ckpt").write_bytes(b"broken")
    assert run_command("train", "--run", run, "--resume") == 2
    assert "last.ckpt is broken" in capsys.readouterr().err
    (run / "model/model.safetensors").write_bytes(b"broken")
    assert run_command("evaluate", run) == 2
    assert "model.safetensors is broken" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_without_permission_is_named(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run_command("train", "multi_head", *train_arguments, "--run", tmp_path / "locked" / "run") == 2
    assert "locked" in capsys.readouterr().err


def test_a_run_folder_that_cannot_be_made_is_named(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run_command("train", "multi_head", *train_arguments, "--run", tmp_path / "file" / "run") == 2
    assert "cannot write into the run folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_result(
    finished_run: Path, train_arguments: list[str], tmp_path: Path
) -> None:
    arguments = [*train_arguments, "--trainer.compile", "true", "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", "multi_head", *arguments) == 0
    first, second = weights(finished_run), weights(tmp_path / "run")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-2, atol=1e-3)
