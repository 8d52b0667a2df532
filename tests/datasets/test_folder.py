import numpy as np
import pytest
import yaml

import fake_trees
from multiseg.checking import check_dataset
from multiseg.datasets import find_reader
from multiseg.datasets.folder import Folder, distinct_colors
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@pytest.fixture
def root(tmp_path):
    return fake_trees.write_folder(tmp_path)


def describe(root, text=None, **changes):
    """Writes dataset.yaml: as text, or the harbour with some keys changed (None takes one out)."""
    if text is None:
        data = {**yaml.safe_load(fake_trees.HARBOUR), **changes}
        text = yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False)
    (root / "dataset.yaml").write_text(text)


def test_it_reads_what_the_file_says(root):
    dataset = Folder(root, "train")
    assert dataset.name == "harbour"
    assert dataset.splits == ("train", "val")
    assert dataset.label_space.names == ("water", "ship")
    assert dataset.label_space.things.tolist() == [False, True]
    assert tuple(dataset.label_space.colors[1]) == (220, 20, 60)
    assert dataset.card.license == "CC0-1.0"
    assert dataset.card.title == "harbour"
    assert [dataset[index].key for index in range(2)] == ["images/train/7", "images/train/night/8"]
    raw = np.add.outer(np.arange(24), np.arange(40)) % 4  # the stripes are 0, 1, 3, 4
    assert np.array_equal(dataset[0].labels, np.array([IGNORE, 0, 1, 1])[raw])


def test_two_folders_with_different_classes_do_not_mix(root, tmp_path):
    describe(root, classes=["a", "b", "c", "d", "e"], ignore=[])
    first = Folder(root, "train")
    describe(root)
    second = Folder(root, "train")
    assert first.label_space.names == ("a", "b", "c", "d", "e")
    assert second.label_space.names == ("water", "ship")


def test_a_list_of_names_stands_for_ids_from_zero(root):
    describe(root, classes=["land", "water", "x", "ship", "boat"], ignore=None)
    space = Folder(root, "val").label_space
    assert [entry.raw_ids for entry in space.classes] == [(0,), (1,), (2,), (3,), (4,)]
    assert len({entry.color for entry in space.classes}) == 5


def test_masks_may_hold_colours(root):
    colors = [(0, 0, 0), (10, 0, 0), (0, 200, 255)]
    for path in sorted(root.rglob("masks/**/*.png")):
        fake_trees.write_mask(path, fake_trees.SIZES[0] if path.stem != "8" else fake_trees.SIZES[1], colors)
    classes = [{"name": "water", "color": [10, 0, 0]}, {"name": "ship", "color": [0, 200, 255], "thing": True}]
    describe(root, encoding="colors", classes=classes, ignore=[[0, 0, 0]])
    dataset = Folder(root, "train")
    assert check_dataset(dataset).problems == ()
    stripes = np.add.outer(np.arange(24), np.arange(40)) % 3
    assert np.array_equal(dataset[0].labels, stripes - 1)


def test_suffixes_pair_files_of_one_folder(tmp_path):
    for stem in ("1", "2"):
        fake_trees.write_image(tmp_path / f"data/{stem}_image.png", (6, 6))
        fake_trees.write_mask(tmp_path / f"data/{stem}_label.png", (6, 6), (0, 1))
    split = {"images": "data", "masks": "data"}
    describe(
        tmp_path, classes=["a", "b"], ignore=None, splits={"train": split}, mask_suffix="_label", image_suffix="_image"
    )
    dataset = Folder(tmp_path, "train")
    expected = [(f"data/{stem}_image.png", f"data/{stem}_label.png") for stem in ("1", "2")]
    assert [dataset.pairs[index] for index in range(len(dataset))] == expected


def test_a_mask_suffix_alone_tells_masks_from_images_in_one_folder(tmp_path):
    fake_trees.write_image(tmp_path / "data/1.png", (6, 6))
    fake_trees.write_mask(tmp_path / "data/1_label.png", (6, 6), (0, 1))
    describe(
        tmp_path,
        classes=["a", "b"],
        ignore=None,
        splits={"train": {"images": "data", "masks": "data"}},
        mask_suffix="_label",
    )
    dataset = Folder(tmp_path, "train")
    assert len(dataset) == 1
    assert dataset.pairs[0] == ("data/1.png", "data/1_label.png")


def test_splits_are_known_before_one_is_opened(root):
    assert find_reader("folder").splits_of(root) == ("train", "val")
    assert find_reader("folder").splits == ()


def test_colours_are_distinct_never_black_nor_taken():
    colors = distinct_colors([(242, 36, 36)])
    made = [next(colors) for _ in range(300)]
    assert len(set(made)) == 300
    assert not {(0, 0, 0), (242, 36, 36)} & set(made)


WATER = {"name": "water", "id": 1}
TRAIN = {"images": "images/train", "masks": "masks/train"}

MISTAKES = {
    "unknown key": ({"clases": []}, r"there is no key 'clases'; did you mean 'classes'"),
    "no name": ({"name": None}, "the key 'name' is missing"),
    "number as name": ({"name": 7}, "name: expected text .*, found 7"),
    "no classes": ({"classes": None}, "the key 'classes' is missing"),
    "empty classes": ({"classes": []}, "classes: expected at least one class"),
    "classes no list": ({"classes": {"water": 1}}, "classes: expected a list"),
    "unknown class key": (
        {"classes": [{**WATER, "colour": [1, 2, 3]}]},
        r"no key 'classes\[0\].colour'; did you mean 'color'",
    ),
    "class without id": ({"classes": [{"name": "water"}]}, r"the key 'classes\[0\].id' is missing"),
    "class twice": ({"classes": [WATER, {"name": "water", "id": 2}]}, "the class name 'water' occurs twice"),
    "name twice in a list": ({"classes": ["a", "a"], "ignore": None}, "the class name 'a' occurs twice"),
    "id twice": ({"classes": [WATER, {"name": "ship", "id": [3, 1]}]}, "the raw id '1' occurs twice"),
    "ignored class": ({"ignore": [1]}, "the raw id '1' occurs twice"),
    "boolean id": (
        {"classes": [{"name": "water", "id": True}]},
        r"classes\[0\].id: expected a whole number .* found True",
    ),
    "negative id": ({"ignore": [-1]}, r"ignore\[0\]: expected a whole number from 0"),
    "ignore no list": ({"ignore": 0}, "ignore: expected a list, found 0"),
    "bad colour": (
        {"classes": [{**WATER, "color": [1, 2, 300]}]},
        r"classes\[0\].color\[2\]: expected a whole number from 0 to 255",
    ),
    "colour no triple": (
        {"classes": [{**WATER, "color": "red"}]},
        r"classes\[0\].color: expected a colour \[red, green, blue\]",
    ),
    "thing no boolean": (
        {"classes": [{**WATER, "thing": "yes"}]},
        r"classes\[0\].thing: expected true or false, found 'yes'",
    ),
    "mixed classes": ({"classes": [WATER, "ship"]}, r"classes\[1\]: expected keys 'name', 'id', found 'ship'"),
    "YAML's Norway": ({"classes": ["yes", False]}, r"classes\[0\]: expected keys"),
    "unknown encoding": ({"encoding": "colour"}, "encoding: there is no 'colour'; did you mean 'colors'"),
    "ids among colours": ({"encoding": "colors"}, r"no key 'classes\[0\].id'; valid: color, name, thing"),
    "names among colours": ({"encoding": "colors", "classes": ["a"]}, r"classes\[0\]: expected keys 'name', 'color'"),
    "no splits": ({"splits": {}}, "splits: expected at least one split"),
    "splits missing": ({"splits": None}, "the key 'splits' is missing"),
    "split without masks": (
        {"splits": {"train": {"images": "images/train"}}},
        r"the key 'splits.train.masks' is missing",
    ),
    "split as path": ({"splits": {"train": "images"}}, "splits.train: expected keys 'images', 'masks', found 'images'"),
    "number as split": ({"splits": {1: TRAIN}}, r"splits: expected only text as keys \(quote 1 if it is meant\)"),
    "missing folder": (
        {"splits": {"train": {**TRAIN, "images": "images/trian"}}},
        r"splits.train.images: the folder .*trian does not exist; did you mean 'train'",
    ),
    "folder outside": (
        {"splits": {"train": {**TRAIN, "masks": "../masks"}}},
        r"splits.train.masks: .* without '..', found '../masks'",
    ),
    "absolute folder": (
        {"splits": {"train": {**TRAIN, "masks": "/masks"}}},
        "splits.train.masks: expected a folder below",
    ),
    "one folder": (
        {"splits": {"train": {**TRAIN, "masks": "images/train"}}},
        "expected another folder .* or a 'mask_suffix'",
    ),
    "suffix no text": ({"mask_suffix": 1}, "mask_suffix: expected text"),
    "license no text": ({"license": ["CC0"]}, "license: expected text"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_file_names_file_and_key_in_one_line(root, changes, message):
    describe(root, **changes)
    with pytest.raises(MultisegError, match=message) as error:
        Folder(root, "train")
    assert str(error.value).startswith(f"{root / 'dataset.yaml'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", r"line 1: the key 'name' occurs twice"),
        ("name: [a\nclasses: 1\n", r"line 2: expected"),
        ("", r": expected keys 'name', 'classes', 'splits', found None"),
        ("- a\n- b\n", r": expected keys 'name', 'classes', 'splits', found \['a', 'b'\]"),
        ("name: !!python/object/apply:os.getcwd []\n", r"line 1: could not determine a constructor"),
        ("{[1]: 2}\n", r"line 1: "),
    ],
)
def test_broken_yaml_is_named_in_one_line(root, text, message):
    describe(root, text)
    with pytest.raises(MultisegError, match=message) as error:
        Folder(root, "train")
    assert str(error.value).startswith(str(root / "dataset.yaml"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_named(root):
    (root / "dataset.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(MultisegError, match=r"dataset\.yaml is no YAML"):
        Folder(root, "train")
