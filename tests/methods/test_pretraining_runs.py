"""MDP, MoCo, M&M and its proxy tasks from the command line: interrupted, on two processes, as a start for other runs,
wrongly asked for.
"""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_run
from multiseg.cli import main
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.colorization import Colorization
from multiseg.methods.jigsaw import Jigsaw
from multiseg.methods.mdp import MDP
from multiseg.methods.mix_and_match import MixAndMatch
from multiseg.methods.moco import MoCo
from multiseg.run_folder import read_checkpoint
from processes import Processes

VIEWS = ["--data.views.size", "[64, 96]"]
SMALL = [*VIEWS, "--method.projection_channels", "16"]
RECIPES: dict[str, list[str]] = {
    "mdp": ["mdp", *SMALL, "--method.bank.batches", "3", "--method.coding", "{alpha: 0.5, count: 5}"],
    "regions": [
        "mdp",
        *SMALL,
        "--method.bank",
        "{class_path: multiseg.losses.prototype_bank.RegionBank, init_args: {images: 10}}",
    ],
    "pixels": ["mdp", "pixel_to_pixel", *SMALL],
    "moco": ["moco", *SMALL, "--method.queue", "32"],
    "mix_and_match": ["mix_and_match", "--data.patches", "{per_image: 4, size: [32, 32], sides: [16, 40]}"],
    "jigsaw": [
        *["jigsaw", "--data.tiles", "{cell: 36, tile: 32}", "--method.permutations", "6"],
        *["--method.tile_channels", "16", "--method.channels", "32"],
    ],
    "colorization": ["colorization", "--method.network.decoder.points", "16", "--method.bins", "8"],
}
KINDS: dict[str, type[SegmentationMethod]] = {
    "mdp": MDP,
    "moco": MoCo,
    "mix_and_match": MixAndMatch,
    "jigsaw": Jigsaw,
    "colorization": Colorization,
}
JUDGED_BY = {"mix_and_match": "ordered", "jigsaw": "accuracy", "colorization": "gain"}
PROXIES = ("jigsaw", "colorization")


def tiny_arguments(name: str, roots: dict[str, Path]) -> list[str]:
    """As `tiny_run.arguments`; a hypercolumn has no bins."""
    arguments = tiny_run.arguments(roots)
    return arguments[: arguments.index("--method.network.decoder.bins")] if name == "colorization" else arguments


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "log.csv").open()))


@pytest.fixture(scope="module")
def finished_runs(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pretraining")
    for name in KINDS:
        arguments = [*RECIPES[name], *tiny_arguments(name, data_roots), "--trainer.checkpoint_every", 1]
        assert run_command("train", *arguments, "--run", root / name, "--quiet") == 0
    return {name: root / name for name in KINDS}


def test_a_run_has_scores_by_nearest_prototypes_and_losses_of_both_parts(finished_runs: dict[str, Path]) -> None:
    run = finished_runs["mdp"]
    for row in rows(run):
        assert float(row["loss"]) == pytest.approx(float(row["loss/views"]) + float(row["loss/mixed"]), rel=1e-4)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["method"] == "MDP" and metrics["step"] == 8
    assert all(0 <= metrics["datasets"][name]["mIoU"] <= 100 for name in ("town", "park"))
    assert run_command("evaluate", run) == 0


def test_the_model_is_lean_and_the_checkpoint_has_everything(finished_runs: dict[str, Path]) -> None:
    state = read_checkpoint(finished_runs["mdp"] / "checkpoints" / "last.ckpt")["state_dict"]
    assert {"bank.sums", "bank.counts", "bank.position", "prototypes"} <= state.keys()
    assert int(state["bank.position"]) == 8 % 3
    left_out = state.keys() - weights(finished_runs["mdp"]).keys()
    assert left_out and all(name.startswith(("key.", "bank.")) for name in left_out)
    queue = read_checkpoint(finished_runs["moco"] / "checkpoints" / "last.ckpt")["queue"]
    assert queue["keys"].shape == (32, 16)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("mdp", 4),  # right at a validation
        *[(name, 5) for name in KINDS if name != "mdp"],  # all of them at random moments: test_every_method_survives.py
    ],
)
def test_resuming_at_any_step_ends_the_same(
    name: str,
    step: int,
    finished_runs: dict[str, Path],
    data_roots: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights, key encoder, bank or queue, and the log."""

    class PowerCut(Exception):
        pass

    kind = KINDS[name]
    original = kind.training_step

    def breaking(self: SegmentationMethod, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == step:
            raise PowerCut
        return original(self, batch, batch_idx)

    arguments = ["train", *RECIPES[name], *tiny_arguments(name, data_roots), "--run", tmp_path / "cut", "--quiet"]
    arguments += ["--trainer.checkpoint_every", 1]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "training_step", breaking)
        with pytest.raises(PowerCut):
            run_command(*arguments)
    assert run_command(*arguments, "--resume") == 0
    whole, cut = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (finished_runs[name], tmp_path / "cut"))
    for entry in whole["state_dict"]:
        assert torch.equal(whole["state_dict"][entry], cut["state_dict"][entry]), entry
    assert (tmp_path / "cut" / "log.csv").read_text() == (finished_runs[name] / "log.csv").read_text()
    if name == "moco":
        assert all(torch.equal(whole["queue"][part], cut["queue"][part]) for part in ("keys", "position"))


ON_TWO = [("mdp", 1), ("mdp", 2), ("regions", 1), ("pixels", 1), ("moco", 2), ("mix_and_match", 2)]


def compared_arguments(name: str, steps: int, roots: dict[str, Path]) -> list[object]:
    # of a code, which classes are nearest to a pixel is a choice that rounding can turn after several steps
    coded = ["--method.coding", "null"] if name == "mdp" and steps > 1 else []
    dropout = ["--method.network.decoder.dropout", "0"]
    return ["train", *RECIPES[name], *tiny_arguments(name, roots), *coded, "--steps", steps, *dropout]


@pytest.fixture(scope="module")
def runs_on_two(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    commands = [
        [*compared_arguments(name, steps, data_roots), "--run", root / f"{name}{steps}"] for name, steps in ON_TWO
    ]
    Processes(commands).wait()
    return root


@pytest.mark.slow  # as test_every_method_on_many.py, but in single precision
@pytest.mark.parametrize(("name", "steps"), ON_TWO)
def test_two_processes_train_like_one(
    name: str, steps: int, data_roots: dict[str, Path], runs_on_two: Path, tmp_path: Path
) -> None:
    """The same losses, weights (and so gradients), key encoder, prototypes and bank, at the same global batch."""
    run = tmp_path / "one"
    assert run_command(*compared_arguments(name, steps, data_roots), "--run", run, "--quiet") == 0
    both = (run, runs_on_two / f"{name}{steps}")
    first, second = (read_checkpoint(path / "checkpoints" / "last.ckpt") for path in both)
    assert first["state_dict"].keys() == second["state_dict"].keys()
    tolerance = {1: {"rtol": 1e-3, "atol": 3e-5}, 2: {"rtol": 1e-2, "atol": 3e-3}}[steps]
    for entry, value in first["state_dict"].items():
        other = second["state_dict"][entry]
        torch.testing.assert_close(value, other, **tolerance, msg=lambda m, n=entry: f"{n}: {m}")
    for row, same in zip(*map(rows, both), strict=True):
        for key in (key for key in row if key.startswith("loss")):
            assert float(row[key]) == pytest.approx(float(same[key]), rel=2e-3)


def test_keys_follow_once_an_update_also_where_batches_are_accumulated(
    train_arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = []
    from multiseg.networks.momentum_encoder import MomentumEncoder

    original = MomentumEncoder.follow
    monkeypatch.setattr(MomentumEncoder, "follow", lambda self, *rest: (followed.append(1), original(self, *rest))[1])
    arguments = [*RECIPES["mdp"], *train_arguments, "--trainer.accumulate", "2", "--method.momentum", "0"]
    assert run_command("train", *arguments, "--run", tmp_path / "run", "--quiet") == 0
    assert len(followed) == 8
    state = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    for part in ("network", "projection"):
        names = [name for name in state if name.startswith(f"{part}.") and name.endswith("weight")]
        assert names and all(torch.equal(state[name], state[f"key.encoder.{name}"]) for name in names)


@pytest.mark.parametrize(
    ("name", "part"),
    [("mdp", "backbone"), ("mdp", "network"), ("moco", "backbone"), ("moco", "network"), ("mix_and_match", "backbone")],
)
def test_it_is_a_start_for_other_runs(
    name: str, part: str, finished_runs: dict[str, Path], train_arguments: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What the other run starts from are the query encoder's weights."""
    from multiseg import training

    started: dict[str, torch.Tensor] = {}
    original = training.initialize

    def spy(method: SegmentationMethod, init: Any) -> None:
        original(method, init)
        started.update({key: value.clone() for key, value in method.state_dict().items()})

    monkeypatch.setattr(training, "initialize", spy)
    options = ["--init.weights", finished_runs[name], "--init.part", part, "--steps", "1"]
    assert run_command("train", "multi_head", *train_arguments, *options, "--run", tmp_path / "run", "--quiet") == 0
    trained = weights(finished_runs[name])
    backbone = [key for key in trained if key.startswith("network.backbone.") and "num_batches" not in key]
    assert backbone and all(torch.equal(started[key], trained[key]) for key in backbone)
    decoder = [key for key in trained if key.startswith("network.decoder.") and key.endswith("weight")]
    if name != "mdp" and part == "backbone":
        return  # it leaves the decoder as the seed made it, and so both runs have the same
    assert all(torch.equal(started[key], trained[key]) for key in decoder) == (part == "network")


def test_what_learns_no_classes_says_so(finished_runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("moco", *JUDGED_BY):
        assert run_command("evaluate", finished_runs[name]) == 2
        message = capsys.readouterr().err
        assert f"{KINDS[name].__name__} predicts no classes" in message and len(message.strip().splitlines()) <= 2
    assert run_command("report", finished_runs["moco"], finished_runs["mdp"]) == 0


@pytest.mark.parametrize("name", JUDGED_BY)
def test_what_learns_no_classes_is_judged_on_held_out_images(name: str, finished_runs: dict[str, Path]) -> None:
    run = finished_runs[name]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["datasets"] == {} and set(metrics["proxy"]) == {"town", "park"}
    judged = [row for row in rows(run) if row[f"val/{JUDGED_BY[name]}"]]
    assert [row["step"] for row in judged] == ["4", "8"]
    scores = [entry[JUDGED_BY[name]] for entry in metrics["proxy"].values()]
    assert float(judged[-1][f"val/{JUDGED_BY[name]}"]) == pytest.approx(sum(scores) / 2, rel=1e-3, abs=1e-6)
    assert (run / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize("name", ["moco", "jigsaw"])
def test_a_run_that_lost_only_its_end_is_finished_by_resuming(
    name: str, finished_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_runs[name], run)
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "model")
    assert run_command("train", "--run", run, "--resume", "--quiet") == 0
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (finished_runs[name], run)]
    assert all(entry.pop("seconds") >= 0 for entry in scores) and scores[0] == scores[1]
    assert ("proxy" in scores[0]) == (name == "jigsaw")


@pytest.mark.parametrize("name", PROXIES)
def test_proxy_tasks_take_folders_of_images(
    name: str, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(path for path in data_roots["town"].rglob("*") if path.is_dir() and list(path.glob("*.[jp][pn]g")))
    arguments = [*RECIPES[name], "--data", f"photos:images={folder}", *tiny_arguments(name, data_roots)[4:]]
    assert run_command("train", *arguments, "--steps", 1, "--run", tmp_path / "run", "--quiet") == 0
    assert "proxy" not in json.loads((tmp_path / "run" / "metrics.json").read_text()), "nothing is held out"


def test_mix_and_match_needs_labels(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*RECIPES["mix_and_match"], *tiny_arguments("mix_and_match", data_roots)]
    folder = next(path for path in data_roots["town"].rglob("*") if path.is_dir() and list(path.glob("*.[jp][pn]g")))
    photos = ["--data", f"photos:images={folder}"]
    assert run_command("train", *arguments, *photos, "--run", tmp_path / "run") == 2
    assert "MixAndMatch learns from labels, and the dataset 'photos' has none." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["multi_head", "--data.views", "{size: [32, 32]}"],
            "MultiHead trains on crops of images, not on views: remove data.views",
        ),
        (["mdp", "--data.views", "null"], "MDP trains on views of images, not on crops: add data.views"),
        (["mix_and_match", "--data.patches", "null"], "MixAndMatch trains on patches of images, not on crops"),
        (["jigsaw", "--data.views", "{size: [32, 32]}"], "data.views and data.tiles exclude each other"),
        (["mix_and_match", "--data.patches.sizes", "[3, 3]"], "data.patches has no key 'sizes'; did you mean 'size'?"),
        (["jigsaw", "--data.tiles.tile", "90"], "tiles.tile must be 1 to tiles.cell (56), not 90"),
        (["mix_and_match", "--method.match", "grpah"], "method"),
        (["mdp", "--data.views.siez", "[3, 3]"], "data.views has no key 'siez'; did you mean 'size'?"),
        (["mdp", "--data.views.mixing.kind", "regoin"], "data.views"),
        (["mdp", "--method.contrast", "pixel"], "contrast"),
        (["mdp", "--method.bank.batches", "0"], "batches must be at least 1"),
        (["mdp", "--method.coding.alpha", "2"], "alpha must lie in"),
        (["moco", "--method.queue", "0"], "queue"),
    ],
)
def test_wrong_requests_get_one_line(
    arguments: list[str], message: str, train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, *rest = arguments
    assert run_command("train", recipe, *train_arguments, *rest, "--run", tmp_path / "run") == 2
    told = capsys.readouterr().err.strip()
    assert message in told and len(told.splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_without_lightly_the_message_says_what_to_install(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    assert run_command("train", *RECIPES["moco"], *train_arguments, "--run", tmp_path / "run") == 2
    assert "pip install lightly" in capsys.readouterr().err
