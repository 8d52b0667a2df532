"""`multiseg datasets stats`, called as a person would."""

import json

import pytest
from PIL import Image

import damaged_trees
import fake_trees
from multiseg.cli import main


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "harbour"
    damaged_trees.write_ids(folder)
    return folder


def stats(*arguments):
    return main(["datasets", "stats", *map(str, arguments)])


def test_a_table_of_the_split_trained_on(root, capsys):
    assert stats(f"harbour={root}") == 0
    out = capsys.readouterr().out
    assert out.startswith("harbour/train: 5 images, 24×20, 25.0 % of the pixels ignored\n")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert list(rows) == ["ship", "water"]  # the larger one first
    assert rows["ship"] == ["66.7", "100.0", "5", "50.0"]
    assert rows["water"] == ["33.3", "100.0", "5", "25.0"]


def test_other_splits_and_several_sizes(root, capsys):
    fake_trees.write_image(root / "images/val/00.jpg", (30, 40))
    fake_trees.write_mask(root / "masks/val/00.png", (30, 40), (0, 0, 1, 1))
    assert stats(f"harbour={root}", "--split", "val", "--split", "train") == 0
    out = capsys.readouterr().out
    assert "harbour/val: 2 images, 24×20 to 40×30, most often 40×30 (50.0 %), " in out
    assert "harbour/train: 5 images, " in out


def test_json_of_several_datasets(root, capsys):
    assert stats(f"harbour={root}", f"port={root}", "--limit", 2, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["dataset"], second["dataset"]) == ("harbour", "port")
    assert (first["images"], first["read"]) == (5, 2)
    assert [entry["name"] for entry in first["classes"]] == ["water", "ship"]


def test_a_panoptic_dataset_tells_of_its_things(tmp_path, capsys):
    damaged_trees.write_panoptic(tmp_path)
    assert stats(f"panoptic={tmp_path}") == 0
    out = capsys.readouterr().out
    assert ", 2.0 things an image, 2 at most, 0 crowds\n" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert rows["ship"][-2:] == ["6", "2.0"]
    assert len(rows["water"]) == 4  # stuff is not counted


def test_pictures_are_written_where_they_are_wanted(root, tmp_path, capsys):
    out = tmp_path / "made/here"
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("  train: ", "  'all/of it': "))
    assert stats(f"harbour={root}", "--out", out, "--images", 3) == 0
    error = capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {
        "harbour_all_of_it_classes.png",
        "harbour_all_of_it_sheet.png",
    }
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width == (2000 if "sheet" in path.name else 715)
        assert f"wrote {path}\n" in error


def test_an_image_that_cannot_be_read_is_not_on_the_sheet(root, tmp_path, capsys):
    (root / "images/train/02.jpg").write_bytes(b"")
    assert stats(f"harbour={root}", "--out", tmp_path) == 0
    error = capsys.readouterr().err
    assert "not on the sheet: " in error and "02.jpg cannot be decoded" in error
    assert (tmp_path / "harbour_train_sheet.png").is_file()
    for path in (root / "images/train").iterdir():
        path.write_bytes(b"")
    (tmp_path / "harbour_train_sheet.png").unlink()
    assert stats(f"harbour={root}", "--out", tmp_path) == 0
    assert not (tmp_path / "harbour_train_sheet.png").exists()


def test_masks_that_cannot_be_read_are_said_and_the_exit_code_is_1(root, capsys):
    (root / "masks/train/02.png").write_bytes(b"")
    assert stats(f"harbour={root}") == 1
    output = capsys.readouterr()
    assert "5 images, 4 of them read" in output.out
    assert "1 masks cannot be read and are left out, the first: " in output.err
    assert f"multiseg datasets check harbour={root}" in output.err


def test_dummies_are_said_to_be_dummies(tmp_path, capsys):
    fake_trees.write_cityscapes(tmp_path)
    assert stats(f"cityscapes={tmp_path}", "--split", "test") == 0
    assert "the true labels are withheld" in capsys.readouterr().err


def test_names_with_brackets_are_no_markup(root, capsys):
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("name: water", "name: '[red]water[/red]'"))
    assert stats(f"harbour={root}") == 0
    assert "[red]water[/red]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "at least 1 picture, not 0"),
        (["--limit", "0"], "at least 1, not 0"),
        (["--split", "tran"], "harbour has no split 'tran'; did you mean 'train'?"),
        (["--imags", "3"], "multiseg datasets stats has no option '--imags'; did you mean '--images'?"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(root, capsys, arguments, message):
    assert stats(f"harbour={root}", *arguments) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_classes_that_never_occur_take_one_line(root, capsys):
    names = "".join(f"  - {{name: extra {number}, id: {number}}}\n" for number in range(100, 140))
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("classes:\n", f"classes:\n{names}"))
    assert stats(f"harbour={root}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["ship", "water"]
    assert len(lines) == 5
    assert lines[4].startswith("never (40): extra 100, extra 101, ") and lines[4].endswith("extra 129, … and 10 more")


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_counted(root, capsys):
    assert stats(f"harbour={root}", "--out", root / "dataset.yaml") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "dataset.yaml" in captured.err


def test_images_without_masks_have_a_line_and_a_sheet(tmp_path, capsys):
    fake_trees.write_images(tmp_path / "photos")
    (tmp_path / "photos/9.jpg").write_bytes(b"no image")
    assert stats(f"photos:images={tmp_path / 'photos'}", "--out", tmp_path / "out") == 1
    output = capsys.readouterr()
    assert output.out == (
        "photos/train: 3 images, 2 of them read, 40×24 to 30×32, most often 40×24 (50.0 %), no labels\n"
    )
    assert "photos train: 1 images cannot be read and are left out, the first: " in output.err
    assert "not on the sheet: " in output.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photos_train_sheet.png"]


def test_images_without_masks_in_json_beside_others(root, tmp_path, capsys):
    fake_trees.write_images(tmp_path / "photos")
    assert stats(f"harbour={root}", f"photos:images={tmp_path / 'photos'}", "--json") == 0
    harbour, photos = json.loads(capsys.readouterr().out)
    assert [len(harbour["classes"]), len(photos["classes"])] == [2, 0]
    assert [size["images"] for size in photos["sizes"]] == [1, 1]
