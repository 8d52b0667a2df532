"""CDCL from the command line: interrupted, on two processes, as a start for other runs, and on images of strangers."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_run
from multiseg.cli import main
from multiseg.errors import MultisegError
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.methods.cdcl import CDCL
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder
from multiseg.taxonomy.relations import remap_by_name
from processes import Processes

MIXED = ["--data.plan", "{class_path: multiseg.loading.sampling.Mixed}"]
#: One image of each dataset a batch: of two processes each has norms to call of which it has no image.
APART = [*MIXED, "--data.total_batch_size", "2"]
PLAIN = ["--method.network.decoder.dropout", "0", "--method.network.auxiliary.dropout", "0"]
#: More than two pixels an image at the deepest norms: dividing by the difference of two amplifies rounding.
LARGE = ["--data.pipeline", "{long_side: 128, crop: [64, 96]}"]


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "log.csv").open()))


@pytest.fixture(scope="module")
def finished_run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cdcl") / "run"
    assert run_command("train", "cdcl", *tiny_run.arguments(data_roots), "--run", run, "--quiet") == 0
    return run


def test_a_step_is_a_cycle_and_the_log_tells_of_all_its_turns(finished_run: Path) -> None:
    log = rows(finished_run)
    assert [int(row["step"]) for row in log] == list(range(1, 9))
    for row in log:
        assert row["share/town"] == row["share/park"] == "0.5"
        assert float(row["loss"]) == pytest.approx((float(row["loss/town"]) + float(row["loss/park"])) / 2, rel=1e-4)
    assert json.loads((finished_run / "metrics.json").read_text())["method"] == "CDCL"


@pytest.mark.parametrize("plan", [[], ["--data.plan.interval", "3"]], ids=["cycles", "interval 3"])
@pytest.mark.parametrize("batch", [5, pytest.param(6, marks=pytest.mark.slow)])
def test_a_run_cut_off_in_a_cycle_resumes_to_the_same_weights(
    plan: list[str], batch: int, train_arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch 5 is the second of a cycle of two: the gradient of the first is lost, and taken again."""

    class PowerCut(Exception):
        pass

    original = CDCL.training_step

    def breaking(self: CDCL, entry: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == batch:
            raise PowerCut
        return original(self, entry, batch_idx)  # type: ignore[arg-type]

    arguments = ["train", "cdcl", *train_arguments, *plan, "--quiet", "--trainer.checkpoint_every", 1]
    assert run_command(*arguments, "--run", tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(CDCL, "training_step", breaking)
        with pytest.raises(PowerCut):
            run_command(*arguments, "--run", tmp_path / "cut")
    assert run_command(*arguments, "--run", tmp_path / "cut", "--resume") == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and any(".of_dataset.park." in name for name in whole)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (tmp_path / "whole/log.csv").read_text() == (tmp_path / "cut/log.csv").read_text()


def test_at_an_interval_every_batch_is_an_update(train_arguments: list[str], tmp_path: Path) -> None:
    arguments = [*train_arguments, "--data.plan.interval", 2, "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", "cdcl", *arguments) == 0
    shares = [row["share/town"] for row in rows(tmp_path / "run")]
    assert shares == ["1", "1", "0", "0", "1", "1", "0", "0"]
    losses = [(row["loss/town"], row["loss/park"]) for row in rows(tmp_path / "run")]
    assert not losses[1][1] and losses[2][1]  # none before the first turn
    assert losses[2][0] == losses[3][0] == losses[1][0]  # between its turns, what it had last
    assert len(set(losses)) == 8


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_in_cycles_is_a_run_of_mixed_batches(accumulate: int, train_arguments: list[str], tmp_path: Path) -> None:
    """Of the same images: norms are each dataset's own. Held against each other after three updates, so that a wrong
    scale of a gradient would show.
    """
    arguments = [*train_arguments, *PLAIN, *LARGE, "--steps", 3, "--trainer.accumulate", accumulate, "--quiet"]
    assert run_command("train", "cdcl", *arguments, "--run", tmp_path / "turns") == 0
    assert run_command("train", "cdcl", *arguments, *MIXED, "--run", tmp_path / "mixed") == 0
    turns, mixed = weights(tmp_path / "turns"), weights(tmp_path / "mixed")
    for name in turns:
        torch.testing.assert_close(turns[name], mixed[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_unequal_shares_in_cycles(train_arguments: list[str], tmp_path: Path) -> None:
    """`town` has 9 images, `park` 5: in proportion a cycle of two turns may have two of `town`."""
    arguments = [*train_arguments, "--data.plan.exponent", 4, "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", "cdcl", *arguments) == 0
    shares = [(row["share/town"], row["share/park"]) for row in rows(tmp_path / "run")]
    assert set(shares) == {("1", "0"), ("0.5", "0.5")}


def test_a_run_that_diverges_stops_and_names_the_batch(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*train_arguments, "--method.optimizer.lr", 1e20, "--run", tmp_path / "run", "--quiet"]
    assert run_command("train", "cdcl", *arguments) == 2
    assert "the loss of batch 2 is not finite; its images: town/images/train/" in capsys.readouterr().err
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()


PLANS = {
    "alternating": [],
    "mixed, a dataset on one process only": APART,
    "a cycle without one of the datasets": ["--data.plan.exponent", "4"],
}


def compared_arguments(plan: str, roots: dict[str, Path]) -> list[str]:
    return ["train", "cdcl", *tiny_run.arguments(roots), *PLAIN, *LARGE, *PLANS[plan], "--steps", "4"]


@pytest.fixture(scope="module")
def runs_on_two(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    Processes([[*compared_arguments(plan, data_roots), "--run", root / plan] for plan in PLANS]).wait()
    return root


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_two_processes_train_like_one(
    plan: str, data_roots: dict[str, Path], runs_on_two: Path, tmp_path: Path
) -> None:
    both = (tmp_path / "one", runs_on_two / plan)
    assert run_command(*compared_arguments(plan, data_roots), "--run", both[0], "--quiet") == 0
    first, second = map(weights, both)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")
    for row, same in zip(*map(rows, both), strict=True):
        for key in ("loss", "loss/town", "loss/park"):
            assert float(row[key] or -1) == pytest.approx(float(same[key] or -1), rel=1e-3)


COUNTING = """
import sys
from pathlib import Path
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
import multiseg.training
from multiseg.callbacks import FinalValidation
from multiseg.cli import main

class Counting(FinalValidation):
    def on_train_start(self, trainer, pl_module):
        self.sent = []
        def hook(state, bucket):
            self.sent.append(bucket.is_last())
            return allreduce_hook(state, bucket)
        trainer.strategy.model.register_comm_hook(None, hook)

    def on_train_end(self, trainer, pl_module):
        if trainer.is_global_zero:
            batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
            Path(sys.argv[1]).write_text(f"{trainer.global_step} {batches} {sum(self.sent)}")

multiseg.training.FinalValidation = Counting
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_gradients_are_synchronised_once_an_update(train_arguments: list[str], tmp_path: Path) -> None:
    script, counts = tmp_path / "counting.py", tmp_path / "counts"
    script.write_text(COUNTING)
    arguments = [*train_arguments, "--steps", "3", "--run", str(tmp_path / "run"), "--quiet"]
    parallel = ["--devices", "2", "--trainer.accelerator", "cpu", "--trainer.accumulate", "2"]
    done = subprocess.run(
        [sys.executable, str(script), str(counts), "train", "cdcl", *arguments, *parallel],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    updates, batches, synchronisations = map(int, counts.read_text().split())
    assert (updates, batches, synchronisations) == (3, 3 * 2 * 2, 3)


def test_a_run_of_many_norms_starts_an_ordinary_one(
    finished_run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = tiny_run.arguments(data_roots)
    town = [*town[:2], *town[4:], "--steps", "1", "--method.optimizer.lr", "1e-9", "--quiet"]
    start = ["--init.weights", finished_run, "--init.part", "network"]
    assert run_command("train", "supervised", *town, *start, "--run", tmp_path / "a") == 2
    assert "has batch norms of park, town" in capsys.readouterr().err
    assert run_command("train", "supervised", *town, *start, "--init.norms", "twon", "--run", tmp_path / "a") == 2
    assert "did you mean 'town'" in capsys.readouterr().err
    assert run_command("train", "supervised", *town, "--init.norms", "town", "--run", tmp_path / "a") == 2
    assert "init.weights, which are not given" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert run_command("train", "supervised", *town, *start, "--init.norms", "park", "--run", tmp_path / "a") == 0
    source, tuned = weights(finished_run), weights(tmp_path / "a")
    other = [*tiny_run.arguments(data_roots), "--steps", "1", "--method.optimizer.lr", "1e-9", "--quiet"]
    other[1] = other[1].replace("town=", "lake=")
    assert run_command("train", "cdcl", *other, *start, "--run", tmp_path / "b") == 2
    assert "has batch norms of park, town, none of 'lake': choose whose" in capsys.readouterr().err
    assert run_command("train", "cdcl", *other, *start, "--init.norms", "town", "--run", tmp_path / "b") == 0
    new = weights(tmp_path / "b")
    for own, of in (("lake", "town"), ("park", "park")):
        key = "network.decoder.fuse.1.of_dataset.{}.weight"
        torch.testing.assert_close(new[key.format(own)], weights(finished_run)[key.format(of)], atol=1e-5, rtol=0)
    name = "network.decoder.fuse.1{}.weight"
    torch.testing.assert_close(tuned[name.format("")], source[name.format(".of_dataset.park")], atol=1e-5, rtol=0)


# Images of a dataset never trained on


@pytest.fixture
def stranger(data_roots: dict[str, Path], tmp_path: Path) -> str:
    """A dataset `harbour` with the files of `town`."""
    root = tmp_path / "harbour"
    shutil.copytree(data_roots["town"], root)
    (root / "dataset.yaml").write_text((root / "dataset.yaml").read_text().replace("name: town", "name: harbour"))
    return f"harbour={root}"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[str, object], str]:
    capsys.readouterr()
    assert run_command("evaluate", *arguments, "--json") == 0
    told = capsys.readouterr()
    return json.loads(told.out)["datasets"], told.err


def test_a_dataset_never_trained_on_needs_norms_by_name(
    finished_run: Path, stranger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("evaluate", finished_run, stranger, "--taxonomy", "town") == 2
    error = capsys.readouterr().err
    assert "none of 'harbour'" in error and "town, park, nearest, average or reestimated:NAME" in error
    for choice, passed, said in [
        ("town", {"town": 3}, "batch norms are town."),
        ("park", {"park": 3}, "batch norms are park."),
        ("average", {"average": 3}, "the average of town, park"),
        ("reestimated:park", {"reestimated": 3}, "re-estimated on 3 images, with scale and shift of park"),
        ("reestimated:average", {"reestimated": 3}, "scale and shift of average"),
        ("reestimated:nearest", {"reestimated": 3}, ", the nearest"),
    ]:
        scores, err = evaluated(capsys, finished_run, stranger, "--taxonomy", "town", "--norms", choice)
        assert scores["harbour"]["norms"] == passed, choice
        assert said in err
    scores, err = evaluated(capsys, finished_run, stranger, "--taxonomy", "town", "--norms", "nearest")
    assert sum(scores["harbour"]["norms"].values()) == 3 and set(scores["harbour"]["norms"]) <= {"town", "park"}
    own, _ = evaluated(capsys, finished_run)
    assert own["town"]["norms"] == {"town": 3} and own["park"]["norms"] == {"park": 3}
    same, _ = evaluated(capsys, finished_run, stranger, "--taxonomy", "town", "--norms", "town")
    assert same["harbour"]["mIoU"] == own["town"]["mIoU"]


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ("town --norm-images .", "--norm-images are for --norms reestimated:NAME"),
        ("twon", "no batch norms 'twon'; did you mean 'town'"),
        ("reestimated", "say whose scale and shift to start from: reestimated:town, reestimated:park"),
        ("reestimated:twon", "did you mean 'town'"),
        ("average:town", "only 'reestimated' starts from other norms"),
    ],
)
def test_wrong_norms_get_one_line(
    norms: str, message: str, finished_run: Path, stranger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((Path(stranger.partition("=")[2]) / "images/val").iterdir())
    for command in (["evaluate", finished_run, stranger], ["predict", finished_run, image, "--out", tmp_path / "out"]):
        assert run_command(*command, "--taxonomy", "town", "--norms", *norms.split()) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1, error


def test_unlabelled_images_can_be_given(
    finished_run: Path, stranger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(stranger.partition("=")[2]) / "images/train"
    common = [finished_run, stranger, "--taxonomy", "town", "--norms", "reestimated:town"]
    assert "re-estimated on 3 images" in evaluated(capsys, *common)[1]
    assert "re-estimated on 9 images" in evaluated(capsys, *common, "--norm-images", folder)[1]
    assert run_command("evaluate", *common, "--norm-images", tmp_path / "nowhere") == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_predict_says_whose_norms_it_takes(
    finished_run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = data_roots["town"] / "images/val"
    assert run_command("predict", finished_run, images, "--taxonomy", "park", "--out", tmp_path / "a") == 0
    assert "batch norms are park; for images of another kind see --norms" in capsys.readouterr().err
    arguments = ["--taxonomy", "park", "--norms", "reestimated:nearest", "--out", tmp_path / "b"]
    assert run_command("predict", finished_run, images, *arguments) == 0
    assert "re-estimated on 3 images" in capsys.readouterr().err
    assert len(list((tmp_path / "b").glob("*_labels.png"))) == 3
    capsys.readouterr()
    arguments = ["--taxonomy", "park", "--norms", "nearest", "--out", tmp_path / "c"]
    assert run_command("predict", finished_run, images, *arguments) == 0
    assert "images by the batch norms they passed:" in capsys.readouterr().err
    assert run_command("predict", finished_run, images, *arguments, "--json") == 0
    assert {entry["norms"] for entry in json.loads(capsys.readouterr().out).values()} <= {"town", "park"}


def test_a_union_of_taxonomies_has_no_norms_of_its_own(
    train_arguments: list[str], data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*train_arguments, "--steps", 1, "--method.dataset_norms", "true", "--quiet"]
    assert run_command("train", "by_name", *arguments, "--run", tmp_path / "run") == 0
    capsys.readouterr()
    predict = ["predict", tmp_path / "run", data_roots["town"] / "images/val", "--taxonomy", "by_name"]
    assert run_command(*predict, "--out", tmp_path / "out") == 2
    assert "none of 'by_name': say with --norms whose the images pass (town, park," in capsys.readouterr().err
    assert run_command(*predict, "--norms", "park", "--out", tmp_path / "out") == 0


def test_the_library_chooses_nobodys_norms_silently(finished_run: Path, stranger: str) -> None:
    name, _, root = stranger.partition("=")
    dataset = open_dataset(name, DatasetEntry(Path(root), "folder"), "val")
    predictor = Predictor.from_run(RunFolder(finished_run))
    with pytest.raises(MultisegError, match="none of 'harbour': choose with `norms`"):
        predictor.evaluate(dataset, "town", remap_by_name(predictor.taxonomies["town"], dataset.label_space))
    predictor.norms = "park"
    assert predictor.evaluate(dataset, "town", workers=0).norms == {"park": 3}


def test_an_ordinary_model_has_no_norms_to_choose(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*tiny_run.arguments(data_roots), "--steps", "1", "--quiet"]
    assert run_command("train", "multi_head", *arguments, "--run", tmp_path / "run") == 0
    assert run_command("evaluate", tmp_path / "run", "--norms", "town") == 2
    assert "one set of batch norms for all datasets" in capsys.readouterr().err
    scores, _ = evaluated(capsys, tmp_path / "run")
    assert "norms" not in scores["town"] and scores["town"]["GFLOPs"] > 0
