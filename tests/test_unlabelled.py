"""A folder of images without labels joins pretraining; every other command says in one line that it has none."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fake_trees
import tiny_run
from multiseg.cli import main
from multiseg.errors import MultisegError
from multiseg.loading.datamodule import DataModule, DatasetEntry, is_labelled, open_dataset
from multiseg.methods.mdp import MDP
from multiseg.run_folder import RunFolder, load_model


def run_command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(7):
        fake_trees.write_image(root / f"{'summer' if number % 2 else 'winter/snow'}/{number}.jpg", (48, 64), number)
    return root


@pytest.fixture(scope="module")
def arguments(data_roots: dict[str, Path], photos: Path) -> list[str]:
    """Of `multiseg train`; the threshold is low, so that images without labels count from the first steps on."""
    return [
        *["train", "mdp", *tiny_run.arguments(data_roots), "--data", f"photos:images={photos}"],
        *["--data.views.size", "[32, 48]", "--method.bank.batches", "4", "--method.confidence", "0.3", "--quiet"],
    ]


@pytest.fixture(scope="module")
def run(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mdp") / "run"
    assert run_command(*arguments, "--trainer.checkpoint_every", 1, "--run", folder) == 0
    return folder


def one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line


# Pretraining


def test_labelled_datasets_are_scored_and_the_others_are_not(run: Path) -> None:
    assert set(json.loads((run / "metrics.json").read_text())["datasets"]) == {"town", "park"}
    method = load_model(RunFolder(run)).method
    assert list(method.spaces) == ["town", "park", "photos"]
    assert list(method.taxonomies) == ["town", "park"]


def test_a_killed_run_resumes_to_the_same_weights(
    run: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    original = MDP.training_step

    def breaking(self: MDP, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == 5:
            raise PowerCut
        return original(self, batch, batch_idx)  # type: ignore[arg-type]

    again = [*arguments, "--trainer.checkpoint_every", "1", "--run", str(tmp_path / "cut")]
    with monkeypatch.context() as patch:
        patch.setattr(MDP, "training_step", breaking)
        with pytest.raises(PowerCut):
            main(again)
    assert main([*again, "--resume"]) == 0
    whole, cut = (load_file(folder / "model/model.safetensors") for folder in (run, tmp_path / "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (run / "log.csv").read_text() == (tmp_path / "cut/log.csv").read_text()


def test_images_without_labels_change_what_is_learned(run: Path, arguments: list[str], tmp_path: Path) -> None:
    never = [*arguments, "--method.confidence", "1.0", "--run", str(tmp_path / "never")]
    assert main(never) == 0
    with_them, without = (load_file(folder / "model/model.safetensors") for folder in (run, tmp_path / "never"))
    assert any(not torch.equal(with_them[name], without[name]) for name in with_them)


def test_the_run_is_evaluated_though_the_images_are_gone(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    try:
        assert run_command("evaluate", run, "--json") == 0
        assert set(json.loads(capsys.readouterr().out)["datasets"]) == {"town", "park"}
        assert run_command("report", run, "--out", tmp_path / "report.html") == 0
    finally:
        shutil.move(moved, photos)


def test_the_report_shows_pictures_of_the_others(run: Path, tmp_path: Path) -> None:
    assert run_command("report", run, "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text()
    assert "No pictures of photos: the dataset &#x27;photos&#x27; has no labels" in page
    assert page.count("<img") > 0 and "winter/snow" not in page


def test_its_images_are_predicted_in_the_taxonomies_there_are(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("predict", run, photos / "summer", "--taxonomy", "park", "--out", tmp_path) == 0
    assert len(list(tmp_path.glob("*_labels.png"))) == 3
    capsys.readouterr()
    assert run_command("predict", run, photos / "summer", "--taxonomy", "photos", "--out", tmp_path) == 2
    one_line(capsys, "this model has no taxonomy 'photos'; valid: park, town.")


def test_each_dataset_may_have_norms_of_its_own(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--steps", "2", "--method.dataset_norms", "true", "--run", str(tmp_path / "run")]) == 0
    assert load_model(RunFolder(tmp_path / "run")).method.norm_sets == ("town", "park", "photos")
    assert run_command("evaluate", tmp_path / "run", "--norms", "photos") == 0
    assert run_command("report", tmp_path / "run", "--out", tmp_path / "report.html") == 0


# What needs labels says so


@pytest.mark.parametrize("recipe", ["supervised", "multi_head", "cdcl", "by_name", "label_remap", "universal"])
def test_methods_that_learn_from_labels_refuse(
    recipe: str, data_roots: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", f"photos:images={photos}"]
    data += [] if recipe == "supervised" else ["--data", f"town={data_roots['town']}"]
    assert run_command("train", recipe, *data, "--run", tmp_path / "run") == 2
    one_line(capsys, " learns from labels, and the dataset 'photos' has none.")
    assert not (tmp_path / "run").exists()


def test_without_any_labels_there_is_nothing_to_pretrain_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("train", "mdp", "--data", f"photos:images={photos}", "--run", tmp_path / "run") == 2
    one_line(capsys, "mdp: none of the datasets has labels, so there is no class to learn.")
    assert not (tmp_path / "run").exists()


def test_a_broken_image_is_named_before_training(
    arguments: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    (root / "summer/1.jpg").write_bytes(b"no image")
    broken = [f"photos:images={root}" if word.startswith("photos:") else word for word in arguments]
    assert main([*broken, "--run", str(tmp_path / "run")]) == 2
    assert "photos/train: unreadable_image ×1, first summer/1.jpg" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", [[], ["--split", "train"]])
def test_there_is_nothing_to_evaluate_on(
    split: list[str], run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("evaluate", run, f"photos:images={photos}", *split) == 2
    one_line(capsys, "the dataset 'photos' has no labels: there is nothing to evaluate on.")


def test_there_is_nothing_to_relate(
    run: Path, data_roots: dict[str, Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"town={data_roots['town']}", f"photos:images={photos}"]
    for measured in ([], ["--model", run, "--split", "train"]):
        assert run_command("taxonomy", *data, *measured) == 2
        one_line(capsys, "the dataset 'photos' has no labels: there is nothing to relate.")
    assert run_command("taxonomy", "--model", run) == 0  # of the run's own, those with labels
    assert "photos" not in capsys.readouterr().out


# Commands about data


def test_it_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("datasets", "list") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("images "))
    assert "none" in line
    assert run_command("datasets", "list", "--json") == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert (images["classes"], images["splits"]) == (0, ["train"])


def test_it_is_checked(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("datasets", "check", f"photos:images={photos}", "--strict") == 0
    assert capsys.readouterr().out == ("photos/train: 7 images, all decoded: ok\n1 split checked: nothing found.\n")
    assert run_command("datasets", "check", f"photos:images={photos}", "--split", "val") == 2
    assert "photos has no split 'val'" in capsys.readouterr().err


def test_a_folder_without_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("datasets", "stats", f"photos:images={tmp_path}") == 2
    one_line(capsys, "split 'train' of images has no images; expected: ")


def test_a_folder_of_no_known_layout_hints_at_the_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("datasets", "check", f"photos={tmp_path}") == 2
    assert f"for images without labels photos:images={tmp_path}." in capsys.readouterr().err


# In Python


def test_its_split_to_evaluate_on_is_never_opened(data_roots: dict[str, Path], photos: Path) -> None:
    entries = {"town": DatasetEntry(data_roots["town"]), "photos": DatasetEntry(photos, "images")}
    data = DataModule(entries, workers=0)
    assert list(data.train_sets) == ["town", "photos"] and list(data.val_sets) == ["town"]
    assert [len(space) for space in data.spaces] == [3, 0]
    assert [is_labelled(name, entry) for name, entry in entries.items()] == [True, False]
    with pytest.raises(MultisegError, match=r"data\.datasets\.photos\.val: the dataset 'photos' has no labels"):
        DataModule({"photos": DatasetEntry(photos, "images", val="train")})
    with pytest.raises(MultisegError, match="there is nothing to evaluate on"):
        open_dataset("photos", DatasetEntry(photos, "images"), "val")
