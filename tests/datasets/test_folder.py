import os
import re
from pathlib import Path, PurePath

import numpy as np
import pytest
import yaml

import fake_trees
from multiseg.datasets import find_reader
from multiseg.datasets.base import Share, draw
from multiseg.datasets.base.shares import place_of
from multiseg.datasets.folder import Folder, distinct_colors, read_description
from multiseg.errors import MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE
from multiseg.loading.datamodule import DatasetEntry, open_dataset


@pytest.fixture
def root(tmp_path):
    return fake_trees.write_folder(tmp_path / "root")


def describe(root, text=None, **changes):
    """Writes dataset.yaml: as text, or the harbour with some keys changed (None takes one out)."""
    if text is None:
        data = {**yaml.safe_load(fake_trees.HARBOUR), **changes}
        text = yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False)
    (root / "dataset.yaml").write_text(text, "utf-8")


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


def test_a_suffix_with_its_extension_tells_masks_from_images_of_the_same_name(tmp_path):
    for stem in ("1", "2"):
        fake_trees.write_image(tmp_path / f"data/{stem}.jpg", (6, 6))
        fake_trees.write_mask(tmp_path / f"data/{stem}.png", (6, 6), (0, 1))
    split = {"images": "data", "masks": "data"}
    describe(
        tmp_path, classes=["a", "b"], ignore=None, splits={"train": split}, image_suffix=".jpg", mask_suffix=".png"
    )
    assert pairs(tmp_path, "train") == [(f"data/{stem}.jpg", f"data/{stem}.png") for stem in ("1", "2")]


def test_a_class_may_have_several_colours(root):
    for path in root.rglob("masks/**/*.png"):
        fake_trees.write_mask(path, (24, 40), [(0, 0, 0), (10, 0, 0), (0, 200, 255)])
    for path in root.rglob("images/**/*.jpg"):
        fake_trees.write_image(path, (24, 40))
    classes = [{"name": "water", "color": [[10, 0, 0], [0, 200, 255]]}, {"name": "night", "color": [0, 0, 0]}]
    describe(root, encoding="colors", classes=classes, ignore=None)
    dataset = Folder(root, "train")
    assert dataset[0].labels.unique().tolist() == [0, 1]
    assert tuple(dataset.label_space.colors[0]) == (10, 0, 0)


def test_names_may_be_of_any_script(root):
    describe(root, classes=[{"name": "Straße, naß", "id": [0, 1]}, {"name": "船 №1", "id": [3, 4]}], ignore=None)
    assert Folder(root, "train").label_space.names == ("Straße, naß", "船 №1")


def test_the_parent_of_a_described_root_needs_no_reader(root):
    for place in (root, root.parent):
        assert open_dataset("my_harbour", DatasetEntry(place), "train").root == root
    fake_trees.write_folder(root.parent / "other")
    with pytest.raises(MultisegError, match="several such folders, name one: other, root"):
        open_dataset("my_harbour", DatasetEntry(root.parent), "train")


def test_an_edited_description_makes_an_index_stale(root, monkeypatch):
    monkeypatch.setattr("multiseg.datasets.base.index.WORTHWHILE", 0)
    monkeypatch.setattr("multiseg.datasets.base.index.SETTLED", -10)
    assert len(Folder(root, "train")) == 2
    assert len(Folder(root, "train")) == 2
    describe(root, splits={"train": {"images": "images/val", "masks": "masks/val"}})
    assert pairs(root, "train") == [("images/val/9.jpg", "masks/val/9.png")]


def test_what_has_no_partner_can_be_left_out(tmp_path):
    write_flat(tmp_path, [f"{number:02}" for number in range(30)])
    for number in range(10):
        (tmp_path / f"masks/{number:02}.png").unlink()
    (tmp_path / "images/20.jpg").unlink()
    everything = names_in(tmp_path, "train") | names_in(tmp_path, "val")
    assert len(everything) == 30
    write_flat(tmp_path, (), skip_unpaired=True)
    kept = {split: names_in(tmp_path, split) for split in ("train", "val")}
    assert kept["train"] | kept["val"] == everything - {"20"} - {f"{number:02}" for number in range(10)}
    write_flat(tmp_path, (), skip_unpaired=True, splits={"train": {}}, **SHARED)
    assert len(Folder(tmp_path, "train")) == 19
    assert Folder(tmp_path, "train").missing_files() == ([], [])


# Lists


@pytest.fixture
def listed(tmp_path):
    """Images 1 to 4 in two folders each; in `b` their masks are called otherwise."""
    root = tmp_path / "listed"
    for folder in ("a", "b/night"):
        for number in range(1, 5):
            fake_trees.write_image(root / f"images/{folder}/{number}.jpg", (6, 6))
    for number in range(1, 5):
        fake_trees.write_mask(root / f"masks/a/{number}.png", (6, 6), (0, 1))
        fake_trees.write_mask(root / f"masks/b/truth {number}.png", (6, 6), (0, 1))
    return root


def write_list(root, *lines, name="train.txt", **changes):
    (root / name).write_text("\n".join(lines), "utf-8")
    split = {"train": {"list": name}}
    describe(root, **{"classes": ["x", "y"], "ignore": None, **SHARED, "splits": split, **changes})


def pairs(root, split="train"):
    dataset = Folder(root, split)
    return [dataset.pairs[index] for index in range(len(dataset))]


@pytest.mark.parametrize(
    "line",
    [
        "a/2.jpg",
        "a/2",
        "./a/2.jpg",
        "images/a/2.jpg",
        "/home/them/data/images/a/2.jpg",
        "C:\\data\\images\\a\\2.JPG",
        "a/2.png",
        "a/2.jpg masks/a/2.png",
        "/x/a/2.png /y/masks/a/2.png",
        "images/a/2.jpg\ta/2",
        "a/2, a/2",
        "../images/a/2.jpg",
    ],
)
def test_a_line_names_an_image_in_many_ways(listed, line):
    write_list(listed, line)
    assert pairs(listed) == [("images/a/2.jpg", "masks/a/2.png")]


def test_a_list_keeps_its_order_and_may_name_masks(listed):
    lines = ["\ufeffb/night/3.jpg\tb/truth 3.png", "", "  a/4.jpg  ", "a/1", "b/night/1.jpg,masks/b/truth 1.png"]
    write_list(listed, *lines)
    assert pairs(listed) == [
        ("images/b/night/3.jpg", "masks/b/truth 3.png"),
        ("images/a/4.jpg", "masks/a/4.png"),
        ("images/a/1.jpg", "masks/a/1.png"),
        ("images/b/night/1.jpg", "masks/b/truth 1.png"),
    ]


def test_names_with_spaces_need_no_quotes(tmp_path):
    fake_trees.write_image(tmp_path / "images/street a.jpg", (6, 6))
    fake_trees.write_mask(tmp_path / "masks/street a.png", (6, 6), (0, 1))
    for line in ("street a.jpg", "/x/y z/images/street a.jpg", "street a.jpg\tstreet a.png"):
        write_list(tmp_path, line)
        assert pairs(tmp_path) == [("images/street a.jpg", "masks/street a.png")]


def test_a_split_may_have_several_lists_and_folders_of_its_own(listed):
    (listed / "more.txt").write_text("3\n")
    split = {"list": ["train.txt", "more.txt"], "images": "images/a", "masks": "masks/a"}
    write_list(listed, "1", splits={"train": split}, images=None, masks=None)
    assert pairs(listed) == [(f"images/a/{number}.jpg", f"masks/a/{number}.png") for number in (1, 3)]


def test_a_list_may_name_pairs_of_one_folder(tmp_path):
    fake_trees.write_image(tmp_path / "data/1.png", (6, 6))
    fake_trees.write_mask(tmp_path / "data/1_truth.png", (6, 6), (0, 1))
    write_list(tmp_path, "1.png 1_truth.png", images="data", masks="data")
    assert pairs(tmp_path) == [("data/1.png", "data/1_truth.png")]
    write_list(tmp_path, "1.png", images="data", masks="data", mask_suffix="_truth")
    assert pairs(tmp_path) == [("data/1.png", "data/1_truth.png")]
    write_list(tmp_path, "1.png", images="data", masks="data")
    with pytest.raises(MultisegError, match=r"line 1: '1.png' names an image without its mask, and both lie in data"):
        Folder(tmp_path, "train")


def test_suffixes_hold_in_lists(tmp_path):
    fake_trees.write_image(tmp_path / "images/1_image.jpg", (6, 6))
    fake_trees.write_mask(tmp_path / "masks/1_label.png", (6, 6), (0, 1))
    for line in ("1", "1_image", "1_image.jpg", "1_image.png", "1_image.jpg 1_label.png"):
        write_list(tmp_path, line, image_suffix="_image", mask_suffix="_label")
        assert pairs(tmp_path) == [("images/1_image.jpg", "masks/1_label.png")]


def test_a_listed_image_without_mask_is_left_to_the_check(listed):
    (listed / "masks/a/2.png").unlink()
    write_list(listed, "a/1", "a/2")
    report = check_dataset(Folder(listed, "train"))
    assert [problem.kind for problem in report.errors] == ["missing_mask"]
    assert report.errors[0].examples == ("masks/a/2.png",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a/1", "a/7.jpg"], "train.txt, line 2: there is no image 'a/7.jpg' in images; did you mean '4.jpg'"),
        (["a/1.jpg b/truth_1.png"], "line 1: there is no mask 'b/truth_1.png' in masks; did you mean 'truth 1.png'"),
        (["a/1", "", "images/a/1.jpg"], r"line 3: 'images/a/1.jpg' is train.txt, line 1, again"),
        (["2"], "line 1: there is no image '2' in images"),
        (["/"], "line 1: there is no image '/' in images"),
        (["a/.."], "line 1: there is no image"),
    ],
)
def test_a_mistake_in_a_list_names_file_and_line(listed, lines, message):
    write_list(listed, *lines)
    with pytest.raises(MultisegError, match=message) as error:
        Folder(listed, "train")
    assert str(error.value).startswith(str(listed / "train.txt"))
    assert "\n" not in str(error.value)


def test_a_name_that_two_images_have_is_refused(listed):
    fake_trees.write_image(listed / "images/a/2.png", (6, 6))
    write_list(listed, "a/2")
    with pytest.raises(MultisegError, match=r"line 1: '2' may be 2.jpg or 2.png; write the extension"):
        Folder(listed, "train")
    write_list(listed, "a/2.png")
    assert pairs(listed)[0][0] == "images/a/2.png"


def test_a_list_of_names_that_are_not_utf8(listed):
    name = os.fsdecode(b"stra\xdfe")
    try:
        fake_trees.write_image(listed / f"images/{name}.jpg", (6, 6))
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    fake_trees.write_mask(listed / f"masks/{name}.png", (6, 6), (0, 1))
    write_list(listed, "x")
    (listed / "train.txt").write_bytes(b"stra\xdfe.jpg\n")
    assert pairs(listed) == [(f"images/{name}.jpg", f"masks/{name}.png")]
    describe(listed, classes=["x", "y"], ignore=None, **SHARED, splits={"train": 0.5, "val": 0.5})
    assert len(Folder(listed, "train")) + len(Folder(listed, "val")) == 13


# Shares


def write_flat(root, names, **changes):
    for name in names:
        for path in (root / f"images/{name}.jpg", root / f"masks/{name}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    write = {"classes": ["x", "y"], "ignore": None, **SHARED, "splits": {"train": 0.8, "val": 0.2}, **changes}
    describe(root, **write)


def names_in(root, split):
    return {image.removeprefix("images/").removesuffix(".jpg") for image, _ in pairs(root, split)}


def test_shares_part_the_images(tmp_path):
    write_flat(tmp_path, [f"{number:04}" for number in range(1000)], splits={"train": 0.7, "val": 0.2, "test": "rest"})
    train, val, test = (names_in(tmp_path, split) for split in ("train", "val", "test"))
    assert len(train | val | test) == len(train) + len(val) + len(test) == 1000
    # five standard deviations of a binomial distribution
    assert abs(len(train) - 700) < 75 and abs(len(val) - 200) < 65 and abs(len(test) - 100) < 50
    assert pairs(tmp_path, "val") == sorted(pairs(tmp_path, "val"))


def test_the_draw_is_the_same_on_every_machine():
    # by `printf '0:d' | b2sum -l 64`: ≥ 0xcccc… of 0xffff…; what falls where must never change
    assert {name for name in "abcdefghij" if place_of(name, 0) >= 0.8} == {"d", "g"}


def test_new_images_never_move_old_ones(tmp_path):
    write_flat(tmp_path, [f"{number}" for number in range(0, 60, 2)])
    before = {split: names_in(tmp_path, split) for split in ("train", "val")}
    write_flat(tmp_path, [f"{number}" for number in range(1, 60)])
    after = {split: names_in(tmp_path, split) for split in ("train", "val")}
    assert all(before[split] <= after[split] for split in before)
    assert sum(map(len, after.values())) == 60


def test_the_draw_does_not_depend_on_folder_ending_or_root(tmp_path):
    names = [f"{number}" for number in range(40)]
    write_flat(tmp_path / "one", names)
    write_flat(tmp_path / "two", names)
    (tmp_path / "two/images").rename(tmp_path / "two/photos")
    for path in (tmp_path / "two/photos").iterdir():
        path.rename(path.with_suffix(".PNG"))
    write_flat(tmp_path / "two", [], images="photos")
    assert {PurePath(image).stem for image, _ in pairs(tmp_path / "two", "val")} == names_in(tmp_path / "one", "val")


def test_accents_count_the_same_however_they_are_spelt():
    assert place_of("caf\u00e9", 3) == place_of("cafe\u0301", 3)


def test_another_seed_is_another_draw(tmp_path):
    names = [f"{number}" for number in range(100)]
    drawn = []
    for seed in (None, 0, 1):
        write_flat(tmp_path, names, seed=seed)
        drawn.append(names_in(tmp_path, "val"))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("seed", range(12))
def test_no_split_of_a_few_images_is_empty(seed):
    for count in range(3, 11):
        keys = [f"{number}" for number in range(count)]
        shares = {"train": Share(0, 0.9), "val": Share(0.9, 0.95), "test": Share(0.95, 1)}
        drawn = draw(keys, shares, seed)
        assert all(drawn.values())
        assert sorted(key for members in drawn.values() for key in members) == sorted(keys)


def test_a_lent_image_is_the_nearest_and_goes_back():
    shares = {"train": Share(0, 0.8), "val": Share(0.8, 1)}
    keys = [name for name in map(str, range(40)) if place_of(name, 0) < 0.8]
    nearest = max(keys, key=lambda name: place_of(name, 0))
    assert draw(keys, shares, 0)["val"] == {nearest}
    newcomer = next(name for name in map(str, range(100, 200)) if place_of(name, 0) >= 0.8)
    assert draw([*keys, newcomer], shares, 0) == {"train": set(keys), "val": {newcomer}}


def test_too_few_images_for_the_splits_are_named(tmp_path):
    write_flat(tmp_path, ["1"])
    with pytest.raises(MultisegError, match=r"dataset.yaml: splits: 2 of them need as many images, found 1"):
        Folder(tmp_path, "train")
    write_flat(tmp_path, ["2", "3"], group="folder")
    with pytest.raises(MultisegError, match="splits: 2 of them need as many groups of images, found 1"):
        Folder(tmp_path, "val")


def test_shares_need_not_use_all_images(tmp_path):
    write_flat(tmp_path, map(str, range(100)), splits={"train": 0.1, "val": 0.2})
    first = names_in(tmp_path, "train")
    assert len(first) < 25
    write_flat(tmp_path, (), splits={"train": 0.05, "val": 0.2})
    assert names_in(tmp_path, "train") < first


@pytest.mark.parametrize("group", ["folder", r"film\d+/", r"(film\d+)/(shot)?"])
def test_a_group_is_not_torn_apart(tmp_path, group):
    write_flat(tmp_path, [f"film{film}/shot{shot}" for film in range(30) for shot in range(7)], group=group)
    films = [{name.split("/")[0] for name in names_in(tmp_path, split)} for split in ("train", "val")]
    assert len(films[0]) + len(films[1]) == 30
    assert 0 < len(films[1]) < 15
    assert len(names_in(tmp_path, "val")) == 7 * len(films[1])


def test_a_group_that_matches_no_image_is_an_error(tmp_path):
    write_flat(tmp_path, ["a_1", "a_2", "b"], group=r"(.+)_\d")
    with pytest.raises(MultisegError, match=r"dataset.yaml: group: '\(\.\+\)_\\d' does not match the image 'b'"):
        Folder(tmp_path, "train")


def test_what_another_split_names_is_not_drawn(tmp_path):
    names = [f"{number}" for number in range(50)]
    (tmp_path / "test.txt").write_text("\n".join(names[:30]))
    write_flat(tmp_path, names, splits={"train": 0.5, "val": "rest", "test": {"list": "test.txt"}})
    train, val, test = (names_in(tmp_path, split) for split in ("train", "val", "test"))
    assert test == set(names[:30])
    assert train | val == set(names[30:]) and not train & val


def test_folders_and_shares_go_together(root):
    splits = {"train": 0.5, "val": 0.5, "test": {"images": "images/val", "masks": "masks/val"}}
    describe(root, splits=splits, images="images/train", masks="masks/train")
    assert pairs(root, "test") == [("images/val/9.jpg", "masks/val/9.png")]
    assert len(Folder(root, "train")) == len(Folder(root, "val")) == 1


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
SHARED = {"images": "images", "masks": "masks"}

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
    "YAML's Norway": ({"classes": ["yes", False]}, r"classes\[1\]: expected a name .in quotes.*, found False"),
    "unknown encoding": ({"encoding": "colour"}, "encoding: there is no 'colour'; did you mean 'colors'"),
    "ids among colours": ({"encoding": "colors"}, r"no key 'classes\[0\].id'; valid: color, name, thing"),
    "names among colours": ({"encoding": "colors", "classes": ["a"]}, r"classes\[0\]: expected keys 'name', 'color'"),
    "no splits": ({"splits": {}}, "splits: expected at least one split"),
    "splits missing": ({"splits": None}, "the key 'splits' is missing"),
    "split without masks": (
        {"splits": {"train": {"images": "images/train"}}},
        r"the key 'splits.train.masks' is missing",
    ),
    "split as path": (
        {"splits": {"train": "images"}},
        r"splits.train: expected folders '\{images: …, masks: …\}', .*, found 'images'",
    ),
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
        "splits.train.masks: expected a path below the folder of this file",
    ),
    "one folder": (
        {"splits": {"train": {**TRAIN, "masks": "images/train"}}},
        "expected another folder .* or a 'mask_suffix'",
    ),
    "share of 0": ({**SHARED, "splits": {"train": 0}}, "splits.train: expected a share above 0 and at most 1, found 0"),
    "share in percent": ({**SHARED, "splits": {"train": "80%"}}, "splits.train: expected .* a share such as 0.8"),
    "share of 80": ({**SHARED, "splits": {"train": 80}}, "splits.train: expected a share above 0 and at most 1"),
    "boolean share": ({**SHARED, "splits": {"train": True}}, "splits.train: expected a share above 0 and at most 1"),
    "too many shares": (
        {**SHARED, "splits": {"train": 0.8, "val": 0.3}},
        "splits: the shares add up to 1.1, more than 1",
    ),
    "nothing left": (
        {**SHARED, "splits": {"train": 0.9, "test": 0.1, "val": "rest"}},
        "splits.val: nothing is left, the other shares add up to 1",
    ),
    "two rests": (
        {**SHARED, "splits": {"train": "rest", "val": "rest"}},
        "splits.val: only one split can be the rest, and 'train' is",
    ),
    "shares of no folder": (
        {"images": "images", "splits": {"train": 0.8}},
        "the key 'masks' is missing, the folder to",
    ),
    "shares of a missing folder": (
        {**SHARED, "images": "imgaes", "splits": {"train": 0.8}},
        "images: the folder .*imgaes does not exist; did you mean 'images'",
    ),
    "seed without shares": ({"seed": 1}, "seed: it is of use only to splits that are shares"),
    "group without shares": ({"group": "folder"}, "group: it is of use only to splits that are shares"),
    "negative seed": ({**SHARED, "splits": {"train": 0.5}, "seed": -1}, "seed: expected a whole number from 0"),
    "broken group": (
        {**SHARED, "splits": {"train": 0.5}, "group": "(a"},
        r"group: '\(a' is no regular expression: missing \)",
    ),
    "missing list": (
        {**SHARED, "splits": {"train": {"list": "trian.txt"}}},
        "splits.train.list: the file .*trian.txt does not exist; valid: dataset.yaml",
    ),
    "list outside": (
        {**SHARED, "splits": {"train": {"list": ["../train.txt"]}}},
        r"splits.train.list\[0\]: expected a path below the folder of this file",
    ),
    "no list": ({**SHARED, "splits": {"train": {"list": []}}}, "splits.train.list: expected at least one entry"),
    "list of no folder": ({"splits": {"train": {"list": "dataset.yaml"}}}, "the key 'splits.train.images' is missing"),
    "skip no boolean": ({"skip_unpaired": "yes"}, "skip_unpaired: expected true or false, found 'yes'"),
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


def test_the_descriptions_of_the_documentation_are_valid(tmp_path):
    page = (Path(__file__).parents[2] / "docs/how-to/own-data.md").read_text("utf-8")
    shown = re.findall(r"^```yaml title=\"(\w+)/dataset.yaml\"\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in shown] == ["harbour", "river", "canal"]
    for name, text in shown:
        root = tmp_path / name
        for folder in ("images/train", "images/val", "masks/train", "masks/val", "photos", "labels"):
            (root / folder).mkdir(parents=True)
        for file in ("train.txt", "spring.txt", "autumn.txt"):
            (root / file).touch()
        (root / "dataset.yaml").write_text(text, "utf-8")
        assert "train" in read_description(root / "dataset.yaml").splits


def test_the_file_is_named_once(root):
    describe(root, name=7)
    with pytest.raises(MultisegError) as error:
        Folder(root, "train")
    assert str(error.value).count("dataset.yaml") == 1
