"""The commands, called as a person would, on small data; and how they answer to wrong input."""

import json
from pathlib import Path

import pytest
from PIL import Image

import tiny_run
from multiseg.cli import main


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert call("train", "multi_head", *tiny_run.arguments(data_roots), "--steps", 2, "--run", folder, "--quiet") == 0
    return folder


def output(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    data: dict[str, object] = json.loads(capsys.readouterr().out)
    return data


def test_evaluate_its_own_datasets(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", run, "--json") == 0
    found = output(capsys)["datasets"]
    assert found["town"]["split"] == "val"
    saved = json.loads((run / "metrics.json").read_text())["datasets"]
    assert found["town"]["mIoU"] == pytest.approx(saved["town"]["mIoU"], abs=0.5)


@pytest.mark.parametrize("options", [["--flip"], ["--scales", "0.5", "1"], ["--sliding"], ["--split", "train"]])
def test_evaluate_with_options(options: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", run, *options, "--json") == 0
    assert set(output(capsys)["datasets"]) == {"town", "park"}


def test_evaluate_on_a_dataset_never_trained_on(
    run: Path, data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = f"unseen={data_roots['park']}"
    assert call("evaluate", run, unseen) == 2
    assert "--taxonomy (town, park)" in capsys.readouterr().err
    assert call("evaluate", run, unseen, "--taxonomy", "town", "--json") == 0
    scores = output(capsys)["datasets"]["unseen"]
    assert scores["unreached"] == ["tree"] and set(scores["per_class"]) == {"sky"}
    relations = tmp_path / "relations.tsv"
    relations.write_text(
        "from_dataset\tfrom_class\trelation\tto_dataset\tto_class\n"
        "town\troad\tpart of\tunseen\ttree\ntown\tsky\tsame\tunseen\tsky\n"
    )
    assert call("evaluate", run, unseen, "--taxonomy", "town", "--relations", relations, "--json") == 0
    assert output(capsys)["datasets"]["unseen"]["unreached"] == []


def test_predict_writes_overlays_and_ids(run: Path, data_roots: dict[str, Path], tmp_path: Path) -> None:
    images = data_roots["town"] / "images" / "val"
    assert call("predict", run, images, "--taxonomy", "park", "--out", tmp_path) == 0
    ids = Image.open(tmp_path / "0_labels.png")
    assert ids.size == (64, 48) and set(ids.tobytes()) <= {0, 1}
    assert Image.open(tmp_path / "0_overlay.png").size[1] >= 48
    assert len(list(tmp_path.glob("*_overlay.png"))) == 3


def test_predict_says_what_is_wrong(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for arguments, message in [
        ([tmp_path / "none.jpg", "--taxonomy", "park"], "none.jpg does not exist"),
        ([broken, "--taxonomy", "park"], "broken.jpg cannot be decoded"),
        ([broken, "--taxonomy", "prak"], "did you mean 'park'"),
        ([broken], "name a taxonomy with --taxonomy"),
    ]:
        assert call("predict", run, *arguments, "--out", tmp_path / "out") == 2
        assert message in capsys.readouterr().err


def test_commands_on_something_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["evaluate", tmp_path], ["predict", tmp_path, "x.jpg"], ["report", tmp_path]):
        assert call(*command) == 2
        assert str(tmp_path) in capsys.readouterr().err


def test_report(run: Path, tmp_path: Path) -> None:
    assert call("report", run, "--out", tmp_path / "report.html") == 0
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_datasets_list_and_check(data_roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("datasets", "list", "--json") == 0
    assert output(capsys)["camvid"]["classes"] == 11
    assert call("datasets", "check", f"town={data_roots['town']}", "--json") == 0
    assert all(report["ok"] for report in output(capsys))
    assert call("datasets", "check") == 2


def test_taxonomy_round_trip(data_roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [f"{name}={root}" for name, root in data_roots.items()]
    assert call("taxonomy", *data, "--out", tmp_path / "r.tsv", "--json") == 0
    by_name = output(capsys)
    assert by_name["relations"] == [["town", "sky", "same", "park", "sky"]]
    assert by_name["without_partner"] == {"town": ["road", "car"], "park": ["tree"]}
    assert call("taxonomy", *data, "--by", tmp_path / "r.tsv", "--json") == 0
    assert output(capsys)["relations"] == by_name["relations"]


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "list", "--json") == 0
    assert "multi_head" in output(capsys)
    assert call("recipes", "show", "multi_head") == 0
    assert "class_path: multiseg.methods.multi_head.MultiHead" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'?"),
        (["train"], "nothing to train"),
        (["train", "multi_head", "--data.batch_size"], "--data.batch_size needs a value"),
        (["evaluate", "x", "--flp"], "did you mean '--flip'?"),
        (["datasets", "chekc"], "chekc"),
        (["train", "--resume"], "--resume needs --run"),
        (["bench", "lodaing"], "did you mean 'loading'"),
        (["bench", "--from", "absent.json"], "absent.json does not exist"),
        (["bench", "loading", "--growth", "x"], "--growth and NAME exclude each other"),
        (["bench", "--from", "x.json", "--json", "y.json"], "--from and --json exclude each other"),
        (["synth", "x", "--images", "0"], "at least one"),
    ],
)
def test_wrong_calls(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) <= 2


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    """All of the demo, with few updates."""
    assert call("demo", "--out", tmp_path / "demo", "--steps", 4, "--images", 6) == 0
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert set(results["datasets"]) == {"street", "square", "harbour"}
    assert "<svg" in (tmp_path / "demo" / "report.html").read_text()
