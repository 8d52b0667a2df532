"""LMSeg and MaskFormer from the command line: runs, interrupted and on two processes; any words; segments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny_run
from multiseg.cli import main
from multiseg.methods.lmseg import LMSeg
from multiseg.networks.text_encoder import SentenceText
from multiseg.run_folder import RunFolder, load_model, read_checkpoint
from multiseg.synthetic import write_datasets
from processes import Processes

SMALL = [
    *["--method.network.decoder", "{class_path: multiseg.networks.pixel_decoder.PixelDecoder, init_args: "],
    *["--method.mask_decoder", "{queries: 8, layers: 2, width: 16, heads: 2, feedforward: 16, dropout: 0.0}"],
]
SMALL[1] += "{channels: 16, groups: 4}}"


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def small(data: dict[str, Path]) -> list[str]:
    """`tiny_run.arguments`, with a mask network in place of PSPNet."""
    given = tiny_run.arguments(data)
    start = given.index("--method.network.decoder.channels")
    return [*given[:start], *SMALL]


def panoptic_arguments(data: Path) -> list[str]:
    known = small({"town": data, "park": data})
    rest = known[known.index("--steps") :]
    return ["--data", f"street:cityscapes_panoptic={data}", *rest, "--method.panoptic", "true"]


@pytest.fixture(scope="module")
def words_run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lmseg") / "run"
    arguments = [*small(data_roots), "--method.prompt_length", 2, "--trainer.checkpoint_every", 1]
    assert run_command("train", "lmseg", *arguments, "--run", folder, "--quiet") == 0
    return folder


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    return write_datasets(folder, images=4, val_images=2, domains=["street"])["street"]


@pytest.fixture(scope="module")
def segments_run(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments") / "run"
    # a few steps are not enough to be sure of anything but of nothing
    sure = ["--method.thresholds", "{confidence: 0.0, overlap: 0.0}", "--method.no_object_weight", "0.001"]
    assert run_command("train", "maskformer", *panoptic_arguments(street), *sure, "--run", folder, "--quiet") == 0
    return folder


def test_a_run_leaves_words_and_no_encoder(words_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_file(words_run / "model" / "model.safetensors")
    assert state["text_town"].shape == (4, 384) and state["text_park"].shape == (3, 384)
    assert state["class_words.prompt"].shape == (2, 384)
    size = sum(tensor.numel() for tensor in state.values())
    assert size < 1_000_000  # the encoder alone has 22 million
    checkpoint = read_checkpoint(words_run / "checkpoints" / "last.ckpt")
    assert checkpoint["state_dict"].keys() == state.keys()
    monkeypatch.setattr(SentenceText, "load", lambda self: pytest.fail("the text encoder was loaded"))
    assert run_command("evaluate", words_run) == 0


def test_a_dataset_never_trained_on_is_judged_by_its_words(
    words_run: Path, data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("evaluate", words_run, f"elsewhere:folder={data_roots['park']}", "--json") == 0
    captured = capsys.readouterr()
    assert "elsewhere: never trained on; predicted by the words of its 2 classes" in captured.err
    found = json.loads(captured.out)["datasets"]["elsewhere"]
    assert set(found["per_class"]) == {"tree", "sky"} and found["unreached"] == []
    known = json.loads((words_run / "metrics.json").read_text())["datasets"]["park"]
    assert found["mIoU"] == pytest.approx(known["mIoU"], abs=0.3)  # the same words say the same


def test_any_words(
    words_run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data_roots["town"] / "images/val/0.png"
    command = ["predict", words_run, image, "--classes", "ship, car|automobile, road", "--out", tmp_path, "--json"]
    assert run_command(*command) == 0
    (entry,) = json.loads(capsys.readouterr().out).values()
    assert set(entry["shares"]) <= {"ship", "car", "road"}
    overlay = Image.open(entry["overlay"])
    assert overlay.width > 64  # with a key
    labels = np.asarray(Image.open(entry["labels"]))
    assert labels.shape == (48, 64) and labels.max() <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "road,, car"], "a class of 'road,, car' is empty"),
        (["--classes", "road, car, road"], "the class name 'road' occurs twice"),
        (["--classes", "road", "--taxonomy", "town"], "use one of the two"),
        (["--things", "car"], "--things says which of the words of --classes"),
        (["--classes", "road", "--things", "car"], "'car' is none of the classes road"),
    ],
)
def test_wrong_words(
    options: list[str],
    message: str,
    words_run: Path,
    data_roots: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = data_roots["town"] / "images/val/0.png"
    assert run_command("predict", words_run, image, "--out", tmp_path, *options) == 2
    told = capsys.readouterr().err
    assert message in told.replace("\n", " ") and len(told.splitlines()) <= 3


def test_words_are_nothing_to_a_method_without(
    segments_run: Path, street: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = data_roots["town"] / "images/val/0.png"
    assert run_command("predict", segments_run, image, "--classes", "road", "--out", tmp_path) == 2
    assert "MaskFormer knows only the classes it was trained on" in capsys.readouterr().err
    assert run_command("evaluate", segments_run, f"park={data_roots['park']}") == 2
    assert "was not trained on 'park'" in capsys.readouterr().err.replace("\n", " ")


def test_segments_are_learnt_judged_and_written(
    segments_run: Path, street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((segments_run / "metrics.json").read_text())
    scores = metrics["datasets"]["street"]
    assert {"PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "PQ_per_class", "mIoU"} <= scores.keys()
    assert metrics["mean"]["PQ"] == scores["PQ"]
    sure_of_all(segments_run)
    assert run_command("evaluate", segments_run, "--out", tmp_path / "own", "--json") == 0
    found = json.loads(capsys.readouterr().out)["datasets"]["street"]
    assert found["PQ_per_class"]
    written = json.loads((tmp_path / "own/street/panoptic_predictions.json").read_text())
    assert [len(entry["segments_info"]) for entry in written["annotations"]] == [1, 1]
    images = sorted((street / "leftImg8bit/val").rglob("*.png"))
    assert run_command("predict", segments_run, *images, "--out", tmp_path / "seen") == 0
    model = load_model(RunFolder(segments_run)).method
    assert model.panoptic and not model.open_vocabulary
    index = json.loads((tmp_path / "seen/panoptic_predictions.json").read_text())
    masks = [tmp_path / "seen/panoptic_predictions" / entry["file_name"] for entry in index["annotations"]]
    assert len(masks) == 2 and all(mask.is_file() for mask in masks)


def sure_of_all(run: Path) -> None:
    """A few steps find no segment: every mask is made to cover the image, so that the surest query wins it all."""
    file = run / "model" / "model.safetensors"
    state = load_file(file)
    for layer, value in (("network.decoder.output", 1.0), ("mask_decoder.to_mask.4", 1.0)):
        state[f"{layer}.weight"].zero_()
        state[f"{layer}.bias"].fill_(value)
    save_file(state, file)


def test_segments_are_wanted_of_datasets_that_have_them(
    data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*small(data_roots), "--method.panoptic", "true", "--run", tmp_path / "run"]
    assert run_command("train", "maskformer", *arguments) == 2
    assert "no dataset here has segments" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method.mask_decoder.querys", "3"], "method.mask_decoder has no key 'querys'; did you mean 'queries'?"),
        (["--method.mask_decoder.heads", "3"], "a width of 16 does not divide into 3 heads"),
        (["--method.thresholds.confidence", "2"], "confidence must lie in 0..1, not 2.0"),
        (["--method.text.source", "nowhere/at/all"], "text encoder 'nowhere/at/all': there is no such folder"),
    ],
)
def test_wrong_settings(
    options: list[str], message: str, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("train", "lmseg", *small(data_roots), *options, "--run", tmp_path / "run") == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_resuming_ends_the_same(
    words_run: Path, data_roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    original = LMSeg.training_step

    def breaking(self: LMSeg, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 5:
            raise PowerCut
        return original(self, batch, batch_idx)

    arguments = [*small(data_roots), "--method.prompt_length", 2, "--trainer.checkpoint_every", 1]
    command = ["train", "lmseg", *arguments, "--run", tmp_path / "cut", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(LMSeg, "training_step", breaking)
        with pytest.raises(PowerCut):
            run_command(*command)
    assert run_command(*command, "--resume") == 0
    whole, cut = (load_file(run / "model" / "model.safetensors") for run in (words_run, tmp_path / "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (tmp_path / "cut" / "log.csv").read_text() == (words_run / "log.csv").read_text()


@pytest.mark.slow
def test_two_processes_train_like_one(data_roots: dict[str, Path], tmp_path: Path) -> None:
    """Each has other images, other datasets, other numbers of segments; the losses' normalisers are of all."""
    arguments = [*small(data_roots), "--method.prompt_length", "2", "--steps", "1", "--trainer.val_every", "1"]
    two = Processes([["train", "lmseg", *arguments, "--run", tmp_path / "two"]])
    assert run_command("train", "lmseg", *arguments, "--run", tmp_path / "one", "--quiet") == 0
    two.wait()
    first, second = (read_checkpoint(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("one", "two"))
    # a first step of AdamW is as long for tiny gradients as for large ones: its moments are compared
    for number, moments in first["optimizer_states"][0]["state"].items():
        other = second["optimizer_states"][0]["state"][number]["exp_avg"]
        torch.testing.assert_close(moments["exp_avg"], other, rtol=2e-3, atol=2e-5)
