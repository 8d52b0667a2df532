"""The wizard from end to end: what it writes is what the reader reads."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from multiseg.cli import main
from multiseg.datasets.base import pack_color
from multiseg.datasets.folder import Folder
from multiseg.errors import MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.synthetic import DOMAINS, write_datasets
from multiseg.synthetic.layouts.base import palette_image
from multiseg.wizard.init import init_dataset, published_layouts

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def write_pair(root, image, mask, values, palette=None):
    """A picture of noise, and a mask of stripes of ids or colours."""
    for path in (root / image, root / mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(root / image)
    stripes = np.array(values, np.uint8)[np.arange(32) * len(values) // 32][None].repeat(24, 0)
    (palette_image(stripes, palette) if palette else Image.fromarray(stripes)).save(root / mask)


def write_flat(root, values=(0, 1, 2), count=10, palette=None):
    for number in range(count):
        write_pair(root, f"images/{number}.jpg", f"masks/{number}.png", values, palette)
    return root


def written(root):
    return yaml.safe_load((root / "dataset.yaml").read_text("utf-8"))


def names(root):
    return [entry["name"] for entry in written(root)["classes"]]


def counts(root):
    return {split: len(Folder(root, split)) for split in Folder.splits_of(root)}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return write_datasets(tmp_path_factory.mktemp("synthetic"), images=6, val_images=3, size=(64, 88))


@pytest.mark.parametrize("domain", ["square", "room", "harbour"])
def test_a_synthetic_dataset_is_described_again(synthetic, domain):
    root = synthetic[domain]
    original = {split: Folder(root, split) for split in ("train", "val")}
    pairs = {split: [dataset.pairs[i] for i in range(len(dataset))] for split, dataset in original.items()}
    seen = {
        raw
        for dataset in original.values()
        for index in range(len(dataset))
        for raw in np.unique(dataset.read_raw(dataset.mask_path(index))).tolist()
    }
    (root / "dataset.yaml").unlink()
    result = init_dataset(root)
    assert result.counts == {"train": 6, "val": 3}
    assert list(Folder.splits_of(root)) == ["train", "val"]
    for split, expected in pairs.items():
        dataset = Folder(root, split)
        assert [dataset.pairs[index] for index in range(len(dataset))] == expected
        assert check_dataset(dataset, workers=1).ok
        assert dataset.masks_are_colors == (domain == "harbour")
        space = dataset.label_space
        assert {raw for entry in space.classes for raw in entry.raw_ids} | set(space.ignore_ids) == seen
    if DOMAINS[domain].masks != "grey":
        known = {entry.raw_ids[0]: entry.color for entry in DOMAINS[domain].label_space.classes}
        for entry in space.classes:
            assert known.get(entry.raw_ids[0], entry.color) == entry.color


def test_a_published_layout_is_left_to_its_reader(synthetic):
    root = synthetic["street"]
    assert "cityscapes" in published_layouts(root)
    with pytest.raises(MultisegError, match=r"street needs no description: the reader cityscapes .*--data cityscapes="):
        init_dataset(root)
    assert not (root / "dataset.yaml").exists()
    assert init_dataset(root, force=True).counts == {"train": 6, "val": 3}
    (root / "dataset.yaml").unlink()


def test_the_layout_of_a_published_dataset_with_other_classes_is_described(tmp_path):
    for split in ("train", "val"):
        write_pair(tmp_path, f"{split}/1.png", f"{split}annot/1.png", (0, 70, 90))
        (tmp_path / f"{split}.txt").write_text(f"/x/{split}/1.png /x/{split}annot/1.png\n")
    assert published_layouts(tmp_path) == []
    assert init_dataset(tmp_path).counts == {"train": 1, "val": 1}


def test_images_without_splits_are_split_by_chance(tmp_path):
    write_flat(tmp_path)
    assert init_dataset(tmp_path).counts == counts(tmp_path)
    data = written(tmp_path)
    assert data["splits"] == {"train": 0.8, "val": 0.2}
    assert (data["images"], data["masks"]) == ("images", "masks")


@pytest.mark.parametrize("count", [2, 5, 10, 17, 60])
def test_the_seed_is_one_under_which_shares_come_out(count, tmp_path):
    write_flat(tmp_path, count=count)
    assert init_dataset(tmp_path).counts["val"] == pytest.approx(max(0.2 * count, 1), abs=0.5 + 0.02 * count)


def test_images_without_masks_are_left_out(tmp_path):
    write_flat(tmp_path, count=30)
    for number in range(20):
        (tmp_path / f"masks/{number}.png").unlink()
    assert sum(init_dataset(tmp_path).counts.values()) == 10
    assert "skip_unpaired: true  # 20 images have no mask, 0 masks" in (tmp_path / "dataset.yaml").read_text("utf-8")
    assert all(check_dataset(Folder(tmp_path, split)).ok for split in ("train", "val"))


def test_films_stay_together(tmp_path):
    for film in range(6):
        for frame in range(4):
            write_pair(tmp_path, f"images/{film}/{frame}.jpg", f"masks/{film}/{frame}.png", (0, 1))
    init_dataset(tmp_path)
    assert written(tmp_path)["group"] == "folder"
    films = [{Path(Folder(tmp_path, s).pairs[i][0]).parent.name for i in range(n)} for s, n in counts(tmp_path).items()]
    assert not films[0] & films[1]


def test_films_told_by_names_are_suggested(tmp_path):
    for film in "abc":
        for frame in range(8):
            write_pair(tmp_path, f"images/{film}_{frame:03}.jpg", f"masks/{film}_{frame:03}.png", (0, 1))
    init_dataset(tmp_path)
    path = tmp_path / "dataset.yaml"
    text = path.read_text("utf-8")
    assert "\n# group: '(.+?)[_-]?\\d+$'  # keeps together" in text
    path.write_text(text.replace("# group", "group"), "utf-8")
    assert {count % 8 for count in counts(tmp_path).values()} == {0}


def write_lists(root, **lists):
    for name, numbers in lists.items():
        (root / f"{name}.txt").write_text("".join(f"images/{number}.jpg\n" for number in numbers))


def test_lists_are_splits(tmp_path):
    write_lists(write_flat(tmp_path), train=range(6), test=range(6, 9), trainval=range(8))
    result = init_dataset(tmp_path)
    assert written(tmp_path)["splits"] == {"train": {"list": "train.txt"}, "test": {"list": "test.txt"}}
    assert result.counts == counts(tmp_path) == {"train": 6, "test": 3}
    assert result.warnings == ["1 images are in none of the lists: not used."]


def test_one_list_leaves_the_rest(tmp_path):
    write_lists(write_flat(tmp_path), val_files=range(3))
    assert init_dataset(tmp_path).counts == {"train": 7, "val": 3}
    assert written(tmp_path)["splits"] == {"train": "rest", "val": {"list": "val_files.txt"}}


def test_a_list_of_everything_is_no_split(tmp_path):
    write_lists(write_flat(tmp_path), train=range(10))
    assert "train.txt names all images: not used." in init_dataset(tmp_path).warnings
    assert written(tmp_path)["splits"] == {"train": 0.8, "val": 0.2}


def test_lists_of_pascal_voc(tmp_path):
    for number in range(6):
        write_pair(tmp_path, f"JPEGImages/2007_{number}.jpg", f"SegmentationClass/2007_{number}.png", (0, 5, 255))
    lists = tmp_path / "ImageSets"
    for folder in ("Segmentation", "Main"):
        (lists / folder).mkdir(parents=True)
    for name, numbers in {"train": "0123", "val": "45", "trainval": "012345"}.items():
        (lists / f"Segmentation/{name}.txt").write_text("".join(f"2007_{number}\n" for number in numbers))
        (lists / f"Main/car_{name}.txt").write_text("".join(f"2007_{number} -1\n" for number in numbers))
    assert init_dataset(tmp_path, force=True).counts == {"train": 4, "val": 2}
    assert written(tmp_path)["splits"]["train"] == {"list": "ImageSets/Segmentation/train.txt"}
    assert written(tmp_path)["ignore"] == [255]


def test_lists_that_overlap_and_lists_that_are_wrong_are_reported(tmp_path):
    write_lists(write_flat(tmp_path), train=range(6), val=range(5, 10))
    assert init_dataset(tmp_path).warnings == ["train.txt and val.txt share 1 images: scores will be too good."]
    write_lists(tmp_path, train=[77], val=[88])
    warnings = init_dataset(tmp_path, force=True).warnings
    assert len(warnings) == 2 and "train.txt, line 1: there is no image 'images/77.jpg'" in warnings[0]
    assert written(tmp_path)["splits"] == {"train": 0.8, "val": 0.2}


# Classes

#: Values in the masks, files beside them, and the classes and ignored values that come of it.
CLASSES = {
    "plain ids": ((0, 1, 7), {}, {"class_0": 0, "class_1": 1, "class_7": 7}, []),
    "the usual mark": ((0, 1, 2, 255), {}, {"class_0": 0, "class_1": 1, "class_2": 2}, [255]),
    "a foreground": ((0, 255), {}, {"background": 0, "class_255": 255}, []),
    "one class and the mark": ((1, 255), {}, {"class_1": 1}, [255]),
    "shades": ((0, 128, 255), {}, {"class_0": 0, "class_128": 128, "class_255": 255}, []),
    "names in order": ((0, 1, 2, 255), {"classes.txt": "road\ncar\nsky"}, {"road": 0, "car": 1, "sky": 2}, [255]),
    "names from 1 on": ((0, 1, 2), {"classes.txt": "road\ncar"}, {"class_0": 0, "road": 1, "car": 2}, []),
    "names that do not occur": ((0, 1), {"classes.txt": "a\nb\nc"}, {"a": 0, "b": 1, "c": 2}, []),
    "void by name": ((0, 1, 2), {"labels.txt": "0 Unlabeled\n1 road\n2 car"}, {"road": 1, "car": 2}, [0]),
    "background by name": ((0, 1), {"labels.txt": "background\nship"}, {"background": 0, "ship": 1}, []),
    "255 by name": ((0, 255), {"labels.json": '{"sea": 0, "ship": 255}'}, {"sea": 0, "ship": 255}, []),
    "a name missing": ((0, 1, 9), {"labels.txt": "0 a\n1 b"}, {"a": 0, "b": 1, "class_9": 9}, []),
    "one name twice": ((0, 1, 2), {"labels.txt": "0 a\n1 b\n2 A"}, {"a": [0, 2], "b": 1}, []),
    "names of something else": ((10, 20, 30), {"classes.txt": "a\nb"}, {f"class_{i}": i for i in (10, 20, 30)}, []),
    "the file that names more": (
        (0, 1, 2),
        {"a/classes.txt": "x\ny", "labels.txt": "0 a\n1 b\n2 c"},
        {"a": 0, "b": 1, "c": 2},
        [],
    ),
    "odd names": (
        (0, 1, 2),
        {"classes.txt": 'wall, brick\n\'naß: "a" #1\n- {x}'},
        {"wall, brick": 0, 'naß: "a" #1': 1, "- {x}": 2},
        [],
    ),
}


@pytest.mark.parametrize(("values", "files", "classes", "ignored"), CLASSES.values(), ids=CLASSES)
def test_classes_of_ids(values, files, classes, ignored, tmp_path):
    write_flat(tmp_path, values)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    init_dataset(tmp_path)
    assert {entry["name"]: entry["id"] for entry in written(tmp_path)["classes"]} == classes
    assert written(tmp_path)["ignore"] == ignored
    assert Folder(tmp_path, "train")[0].labels.max() >= 0


RED, BLUE, GREEN, BLACK = (200, 0, 0), (0, 0, 200), (0, 200, 0), (0, 0, 0)


def test_classes_of_colours(tmp_path):
    write_flat(tmp_path, (RED, RED, RED, RED, BLUE, BLUE, BLUE, GREEN, GREEN, BLACK))
    init_dataset(tmp_path)
    data = written(tmp_path)
    assert data["encoding"] == "colors"
    assert [(entry["name"], tuple(entry["color"])) for entry in data["classes"]] == [
        ("color_c80000", RED),
        ("color_0000c8", BLUE),
        ("color_00c800", GREEN),
    ]
    assert data["ignore"] == [[0, 0, 0]]
    (tmp_path / "label_colors.txt").write_text("0 0 200 water\n200 0 0 land\n0 200 0 water\n0 0 0 Void\n1 2 3 ship")
    assert init_dataset(tmp_path, force=True).warnings == []
    data = written(tmp_path)
    assert [(entry["name"], entry["color"]) for entry in data["classes"]] == [
        ("water", [list(BLUE), list(GREEN)]),
        ("land", list(RED)),
        ("ship", [1, 2, 3]),
    ]
    dataset = Folder(tmp_path, "train")
    assert dataset.label_space.classes[0].raw_ids == (pack_color(BLUE), pack_color(GREEN))
    assert dataset[0].labels[0].unique().tolist() == [-1, 0, 1]


def test_black_where_it_is_most_is_a_class(tmp_path):
    write_flat(tmp_path, (BLACK, BLACK, BLACK, RED, BLUE, GREEN))
    init_dataset(tmp_path)
    assert names(tmp_path)[0] == "background" and written(tmp_path)["ignore"] == []


def test_a_palette_gives_colours_and_names_by_them(tmp_path):
    palette = {0: BLACK, 1: RED, 2: BLUE}
    write_flat(tmp_path, (0, 1, 2), palette=palette)
    init_dataset(tmp_path)
    classes = written(tmp_path)["classes"]
    assert [(entry["name"], tuple(entry["color"])) for entry in classes] == [
        ("background", BLACK),
        ("class_1", RED),
        ("class_2", BLUE),
    ]
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb\nship:0,0,200::\nsea:0,0,0::\nland:200,0,0::\n")
    init_dataset(tmp_path, force=True)
    assert {entry["name"]: entry["id"] for entry in written(tmp_path)["classes"]} == {"sea": 0, "land": 1, "ship": 2}


def test_things_are_taken_from_the_file_of_names(tmp_path):
    write_flat(tmp_path, (0, 1))
    (tmp_path / "classes.json").write_text('[{"name": "sea", "isthing": 0}, {"name": "ship", "isthing": 1}]')
    init_dataset(tmp_path)
    assert Folder(tmp_path, "train").label_space.things.tolist() == [False, True]


# The file


def test_comments_tell_what_is_what(tmp_path):
    write_flat(tmp_path, (0, 0, 0, 1), count=3)
    write_pair(tmp_path, "images/9.jpg", "masks/9.png", (0, 1))
    init_dataset(tmp_path)
    text = (tmp_path / "dataset.yaml").read_text("utf-8")
    assert "# 4 of 4 masks were read" in text
    assert "- {name: class_1, id: 1}     # 31.2 %, in 4 masks, most in masks/9.png (50.0 %)" in text


def test_an_edited_description_is_never_lost(tmp_path):
    write_flat(tmp_path)
    init_dataset(tmp_path)
    (tmp_path / "dataset.yaml").write_text("mine")
    with pytest.raises(MultisegError, match=r"dataset.yaml is there already; --force replaces it"):
        init_dataset(tmp_path)
    assert (tmp_path / "dataset.yaml").read_text() == "mine"
    init_dataset(tmp_path, force=True)
    assert counts(tmp_path)


def test_it_may_be_written_elsewhere(tmp_path):
    root = write_flat(tmp_path / "root")
    out = tmp_path / "draft.yaml"
    result = init_dataset(root, out)
    assert out.is_file() and not (root / "dataset.yaml").exists()
    assert result.warnings == [f"to be read, the file must be {root / 'dataset.yaml'}."]
    assert sum(result.counts.values()) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["draft.yaml", "root"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    write_flat(tmp_path)
    with pytest.raises(MultisegError, match=r"absent/x.yaml cannot be written: .*; --out FILE writes elsewhere"):
        init_dataset(tmp_path, tmp_path / "absent/x.yaml")


def test_blurred_masks_are_refused(tmp_path):
    write_flat(tmp_path, (0, 1), count=2)
    smooth = np.clip(np.add.outer(np.arange(24), np.arange(32)) * 3 - 20, 0, 200).astype(np.uint8)
    for number in range(2):
        Image.fromarray(smooth).save(tmp_path / f"masks/{number}.png")
    with pytest.raises(MultisegError, match="most of them single pixels between others: they were resized"):
        init_dataset(tmp_path)
    assert "the masks are blurred" in " ".join(init_dataset(tmp_path, force=True).warnings)


def test_two_files_of_one_name_are_named(tmp_path):
    write_flat(tmp_path)
    Image.fromarray(NOISE).save(tmp_path / "images/1.png")
    with pytest.raises(MultisegError, match=r"images has both 1.jpg and 1.png; keep one"):
        init_dataset(tmp_path)
    assert not (tmp_path / "dataset.yaml").exists()


def test_damaged_masks_and_images_alone_are_warned_of(tmp_path):
    write_flat(tmp_path)
    (tmp_path / "masks/3.png").write_bytes(b"no image")
    (tmp_path / "masks/4.png").unlink()
    warnings = init_dataset(tmp_path).warnings
    assert any("1 masks cannot be read; the first: " in warning for warning in warnings)
    assert "1 images have no mask, 0 masks have no image: left out." in warnings
    assert sum(counts(tmp_path).values()) == 9


def test_names_that_are_no_utf8_are_described(tmp_path, capsys):
    folder = os.fsdecode(b"stra\xdfe")
    try:
        for number in range(4):
            write_pair(tmp_path, f"{folder}/images/{number}.jpg", f"{folder}/masks/{number}.png", (0, 1))
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    assert call(tmp_path) == 0
    assert "stra?e/images with stra?e/masks" in capsys.readouterr().out
    assert sum(counts(tmp_path).values()) == 4


# At the terminal


def call(*arguments):
    return main(["datasets", "init", *map(str, arguments)])


def test_the_command_says_what_it_found_and_what_is_next(tmp_path, capsys):
    root = write_flat(tmp_path / "my pond", (0, 1, 255))
    assert call(root) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "  all images: images with masks",
        "  masks: grey ids, 3 values in 10 of 10 files",
        "  2 classes, no file names them: class_0, class_1",
        "  ignored: class_255 (255 is the usual mark)",
        f"wrote {root / 'dataset.yaml'} (train {counts(root)['train']}, val {counts(root)['val']} images)",
        f'next: edit it, then multiseg datasets check "my_pond={root}"',
    ]
    assert written(root)["name"] == "my_pond"
    assert call(root) == 2
    assert "--force" in capsys.readouterr().err


def test_a_reader_s_name_is_not_suggested(tmp_path, capsys):
    root = write_flat(tmp_path / "camvid")
    assert call(root) == 0
    assert f"check my_camvid={root}" in capsys.readouterr().out


def answers(*texts):
    queue = list(texts)
    return lambda question, guess: queue.pop(0) or guess


def test_answers_replace_guesses(tmp_path):
    write_flat(tmp_path, (0, 1, 2, 255), count=40)
    init_dataset(tmp_path, ask=answers("ignored", "class", "0.5", "pond"))
    data = written(tmp_path)
    assert data["name"] == "pond"
    assert data["splits"] == {"train": 0.5, "val": 0.5}
    assert data["ignore"] == [0]
    assert names(tmp_path) == ["class_1", "class_2", "class_255"]
    init_dataset(tmp_path, force=True, ask=answers("", "", "", ""))
    assert written(tmp_path)["ignore"] == [255]


@pytest.mark.parametrize(
    ("texts", "message"),
    [(("i", "i", "", ""), "with everything ignored there is no class left"), (("", "", "2", ""), "'2' is no share")],
)
def test_answers_without_sense_are_refused(texts, message, tmp_path):
    write_flat(tmp_path, (0, 255))
    with pytest.raises(MultisegError, match=message):
        init_dataset(tmp_path, ask=answers(*texts))


def test_nobody_is_asked_where_nobody_sits(tmp_path, monkeypatch):
    write_flat(tmp_path, (0, 1))

    def refuse(prompt):
        raise AssertionError(prompt)

    monkeypatch.setattr("builtins.input", refuse)
    assert call(tmp_path) == 0
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert call(tmp_path, "--force", "--yes") == 0


def test_at_a_terminal_questions_are_asked(tmp_path, monkeypatch):
    write_flat(tmp_path, (0, 1))
    asked = []

    def answer(prompt):
        asked.append(prompt)
        if "called" in prompt:
            raise EOFError
        return ""

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert call(tmp_path) == 0
    assert asked == [
        "0 (background, 50.0% of the pixels): a class, or ignored? [class] ",
        "Which share of the images is kept for validation? [0.2] ",
        f"What is the dataset called? [{tmp_path.name}] ",
    ]
