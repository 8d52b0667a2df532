import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multiseg.datasets.base import index as index_cache
from multiseg.datasets.base import numbered_color
from multiseg.datasets.panoptic import Panoptic
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE, UnknownIdsError

CATEGORIES = [
    {"id": 4, "name": "meadow", "isthing": 0, "color": [10, 200, 30]},
    {"id": 0, "name": "rock", "isthing": 0},
    {"id": 200, "name": "sheep", "isthing": 1, "color": [250, 250, 250]},
]


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def write(root, index="panoptic_train.json", masks="panoptic_train", folder="images/train", **changes):
    """One image, its upper half meadow (segment 1), its lower a sheep (segment 2 + 256 * 3) and a void pixel."""
    save(root / folder / "a/1.jpg", np.zeros((2, 2, 3)))
    save(root / masks / "1.png", [[[1, 0, 0], [1, 0, 0]], [[2, 3, 0], [0, 0, 0]]])
    segments = [{"id": 1, "category_id": 4}, {"id": 770, "category_id": 200, "iscrowd": 1}]
    data = {
        "images": [{"id": "one", "file_name": "a/1.jpg"}],
        "annotations": [{"image_id": "one", "file_name": "1.png", "segments_info": segments}],
        "categories": CATEGORIES,
        **changes,
    }
    (root / index).parent.mkdir(parents=True, exist_ok=True)
    (root / index).write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return root


def write_two_channels(root, pixels, index="images_info_val.json", masks="panoptic_val_2ch_format"):
    save(root / "images/val/2.jpg", np.zeros((*np.shape(pixels)[:2], 3)))
    save(root / masks / "2.png", pixels)
    data = {"images": [{"id": 2, "file_name": "2.jpg"}], "categories": CATEGORIES}
    (root / index).write_text(json.dumps(data))
    return root


def test_the_classes_are_the_categories(tmp_path):
    dataset = Panoptic(write(tmp_path), "train")
    space = dataset.label_space
    assert space.names == ("meadow", "rock", "sheep")
    assert [entry.raw_ids for entry in space.classes] == [(4,), (0,), (200,)]
    assert space.things.tolist() == [False, False, True]
    assert [tuple(color) for color in space.colors] == [(10, 200, 30), numbered_color(2), (250, 250, 250)]
    assert space.ignore_ids == ()
    sample = dataset[0]
    assert sample.labels.tolist() == [[0, 0], [2, IGNORE]]
    assert sample.segments.crowd.tolist() == [False, True]
    assert sample.key == "images/train/a/1"


@pytest.mark.parametrize("index", ["panoptic_train.json", "annotations/panoptic_train.json"])
@pytest.mark.parametrize("masks", ["panoptic_train", "annotations/panoptic_train"])
@pytest.mark.parametrize("images", ["images/train", "train", "train/images", "images/training", "images", "."])
def test_masks_and_images_are_found_in_the_usual_places(tmp_path, index, masks, images):
    if masks.startswith("annotations") and not index.startswith("annotations"):
        with pytest.raises(MultisegError, match=r"panoptic: .* has no 'NAME\.json' with masks in 'NAME'; expected: "):
            Panoptic(write(tmp_path, index, masks, images), "train")
        return
    dataset = Panoptic(write(tmp_path, index, masks, images), "train")
    assert dataset.missing_files() == ([], [])
    assert dataset.image_path(0) == tmp_path / images / "a/1.jpg"


def test_splits_are_named_and_ordered_for_their_use(tmp_path):
    for split in ("val2017", "test", "train2017", "annex"):
        write(tmp_path, f"annotations/panoptic_{split}.json", f"panoptic_{split}", f"{split}")
    (tmp_path / "annotations/instances_train2017.json").write_text("{not even JSON")
    (tmp_path / "panoptic_categories.json").write_text("[]")
    assert Panoptic.splits_of(tmp_path) == ("train2017", "val2017", "annex", "test")
    assert Panoptic(tmp_path.parent / tmp_path.name, "val2017")[0].key == "val2017/a/1"
    with pytest.raises(MultisegError, match="no split 'train2018'; did you mean 'train2017'"):
        Panoptic(tmp_path, "train2018")


def test_what_stands_before_the_word_panoptic_counts_only_where_it_must(tmp_path):
    write(tmp_path, "ade20k_panoptic_train.json", "ade20k_panoptic_train")
    assert Panoptic.splits_of(tmp_path) == ("train",)
    write(tmp_path, "farm_panoptic_train.json", "farm_panoptic_train")
    assert Panoptic.splits_of(tmp_path) == ("ade20k_panoptic_train", "farm_panoptic_train")


def test_two_channels_are_category_and_instance(tmp_path):
    pixels = [
        [[4, 0, 0], [4, 7, 0], [200, 0, 0]],
        [[200, 1, 0], [200, 255, 0], [0, 0, 0]],
    ]
    dataset = Panoptic(write_two_channels(tmp_path, pixels), "val")
    sample = dataset[0]
    assert sample.labels.tolist() == [[0, 0, 2], [2, 2, IGNORE]]
    ids = sample.segments.ids.flatten().tolist()
    assert ids[0] == ids[1] and len(set(ids[1:5])) == 4  # stuff has no instances
    assert sample.segments.crowd.tolist() == [number == ids[4] for number in range(4)]
    assert [problem.kind for problem in check_dataset(dataset, workers=1).problems] == ["unseen_class"]  # rock


def test_both_formats_of_one_split_are_told_apart(tmp_path):
    write(tmp_path, "panoptic_val.json", "panoptic_val", "images/val")
    write_two_channels(tmp_path, [[[4, 0, 0]]])
    write(tmp_path)
    assert Panoptic.splits_of(tmp_path) == ("train", "val", "val_2ch")
    assert Panoptic(tmp_path, "val_2ch").image_path(0) == tmp_path / "images/val/2.jpg"


def test_two_channels_can_share_the_json_of_the_other_format(tmp_path):
    write(tmp_path)
    save(tmp_path / "panoptic_train_2ch_format/a/1.png", [[[200, 0, 0], [200, 1, 0]], [[4, 0, 0], [4, 0, 0]]])
    assert Panoptic(tmp_path, "train_2ch")[0].labels.tolist() == [[2, 2], [0, 0]]


@pytest.mark.parametrize("color", [(5, 0, 0), (4, 0, 1), (255, 255, 255)])
def test_an_unknown_category_of_two_channels_is_named(tmp_path, color):
    root = write_two_channels(tmp_path, [[[4, 0, 0], color]])
    with pytest.raises(UnknownIdsError, match=r"2\.png: colour .* is of no category") as error:
        Panoptic(root, "val")[0]
    assert str(color) in str(error.value)


def entry(**changes):
    merged = {**CATEGORIES[0], **changes}
    return [{key: value for key, value in merged.items() if value is not None}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": None}, "the list 'categories' is missing"),
        ({"categories": []}, "'panoptic' has no classes"),
        ({"categories": [7]}, r"categories\[0\]\.name is missing or of the wrong type"),
        ({"categories": entry(name=None)}, r"categories\[0\]\.name is missing or of the wrong type"),
        ({"categories": entry(id="4")}, r"categories\[0\]\.id is missing or of the wrong type"),
        ({"categories": entry(isthing=None)}, r"categories\[0\]\.isthing is missing or of the wrong type"),
        ({"categories": entry(color=[1, 2])}, r"categories\[0\]\.color is no list of three numbers 0\.\.255"),
        ({"categories": entry(color=[1, 2, 256])}, r"categories\[0\]\.color is no list of three numbers"),
        ({"categories": entry(color="red")}, r"categories\[0\]\.color is no list of three numbers"),
        ({"categories": entry() + entry()}, "the class name 'meadow' occurs twice"),
        ({"categories": entry() + entry(name="x")}, "the raw id '4' occurs twice"),
        ({"images": None}, "the list 'images' is missing"),
        ({"images": [{"id": "one"}]}, r"images\[0\]\.file_name is missing"),
        ({"images": [{"id": "one", "file_name": "../x.jpg"}]}, r"images\[0\]\.file_name '\.\./x\.jpg' lies outside"),
        ({"annotations": None}, "the list 'annotations' is missing"),
        ({"annotations": [{"image_id": "two", "file_name": "1.png"}]}, r"annotations\[0\] is of image 'two'"),
        (
            {"annotations": [{"image_id": "one", "file_name": "/x.png", "segments_info": []}]},
            r"annotations\[0\]\.file_name '/x\.png' lies outside",
        ),
        ({"annotations": [{"image_id": "one", "file_name": "1.png"}]}, r"annotations\[0\]\.segments_info is missing"),
        (
            {
                "annotations": [
                    {"image_id": "one", "file_name": "1.png", "segments_info": [{"id": -1, "category_id": 4}]}
                ]
            },
            r"annotations\[0\]\.segments_info\[0\]\.id is -1, which is no colour",
        ),
        (
            {"annotations": [{"image_id": "one", "file_name": "1.png", "segments_info": [{"id": 1}]}]},
            r"annotations\[0\]\.segments_info\[0\]\.category_id is missing",
        ),
    ],
)
def test_what_is_wrong_with_a_json_is_named_in_one_line(tmp_path, changes, message):
    with pytest.raises(MultisegError, match=rf"panoptic_train\.json: .*{message}") as error:
        Panoptic(write(tmp_path, **changes), "train")
    assert "\n" not in str(error.value) and str(error.value).count("panoptic_train.json") == 1


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\xff"])
def test_what_is_no_json_is_named(tmp_path, text):
    (write(tmp_path) / "panoptic_train.json").write_text(text, "latin-1")
    with pytest.raises(MultisegError, match=r"panoptic_train\.json.*(is no JSON|'categories' is missing)"):
        Panoptic(tmp_path, "train")


def test_splits_must_agree_on_their_categories(tmp_path):
    write(tmp_path)
    write(tmp_path, "panoptic_val.json", "panoptic_val", "images/val", categories=entry() + entry(id=200, name="goat"))
    assert Panoptic(tmp_path, "val").label_space.names == ("meadow", "goat")  # the shorter file
    with pytest.raises(MultisegError, match=r"train\.json: category 0 is 'rock', but does not exist in .*_val\.json"):
        Panoptic(tmp_path, "train")
    write(tmp_path, categories=[CATEGORIES[0], CATEGORIES[2]])
    with pytest.raises(MultisegError, match=r"train\.json: category 200 is 'sheep', but is 'goat' in .*_val\.json"):
        Panoptic(tmp_path, "train")


def test_images_that_are_nowhere_are_found_by_the_check(tmp_path):
    root = write(tmp_path, folder="photographs")
    assert Panoptic(root, "train").missing_files() == ([0], [])


def test_an_empty_json_is_an_empty_split(tmp_path):
    with pytest.raises(EmptySplitError, match="split 'train' of panoptic has no images"):
        Panoptic(write(tmp_path, images=[], annotations=[]), "train")


@pytest.fixture
def settle(tmp_path, monkeypatch):
    """Indices are kept, and everything below the root looks unchanged since a time."""
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTHWHILE", 0.0)

    def settle(seconds, *paths):
        for path in paths or [tmp_path / "root", *(tmp_path / "root").rglob("*")]:
            os.utime(path, (seconds, seconds))

    return settle


def test_categories_come_from_the_cache_until_the_json_changes(tmp_path, settle):
    root = write(tmp_path / "root")
    settle(1_000_000)
    first = Panoptic(root, "train")
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2
    # unread: the same stamp, and as many bytes
    path = root / "panoptic_train.json"
    path.write_text(path.read_text().replace("meadow", "MEADOW"))
    settle(1_000_000)
    assert Panoptic(root, "train").label_space == first.label_space
    settle(2_000_000)
    assert Panoptic(root, "train").label_space.names == ("MEADOW", "rock", "sheep")


def test_another_order_of_categories_makes_an_index_stale(tmp_path, settle):
    root = write(tmp_path / "root")
    write(root, "panoptic_val.json", "panoptic_val", "images/val", info=" " * 100)
    settle(1_000_000)
    assert Panoptic(root, "train")[0].labels.tolist() == [[0, 0], [2, IGNORE]]
    # the shorter file gives the order; the one of this split stays as it is
    write(root, "panoptic_val.json", "panoptic_val", "images/val", categories=CATEGORIES[::-1], images=[])
    settle(1_000_000, *(path for path in [root, *root.rglob("*")] if path.name != "panoptic_val.json"))
    dataset = Panoptic(root, "train")
    assert dataset.label_space.names == ("sheep", "rock", "meadow")
    assert dataset[0].labels.tolist() == [[2, 2], [0, IGNORE]]


def test_masks_that_come_beside_their_json_make_an_index_stale(tmp_path, settle):
    root = write(tmp_path / "root", "annotations/panoptic_train.json")
    settle(1_000_000)
    assert Panoptic(root, "train").mask_path(0) == root / "panoptic_train/1.png"
    save(root / "annotations/panoptic_train/1.png", [[[1, 0, 0]]])
    settle(1_000_000)
    settle(2_000_000, root / "annotations")
    assert Panoptic(root, "train").mask_path(0) == root / "annotations/panoptic_train/1.png"


@pytest.mark.real_data
@pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets")
def test_the_example_of_coco_says_the_same_in_both_formats():
    root = Path(os.environ["MULTISEG_DATA"]) / "coco_panoptic_sample"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    assert Panoptic.splits_of(root) == ("examples", "examples_2ch")
    one, other = Panoptic(root, "examples"), Panoptic(root, "examples_2ch")
    assert [len(one[index].segments) for index in range(2)] == [18, 32]
    for index in range(2):
        first, second = one[index], other[index]
        assert torch.equal(first.image, second.image) and torch.equal(first.labels, second.labels)
        pairs = torch.stack([first.segments.ids.flatten(), second.segments.ids.flatten()], 1).long().unique(dim=0)
        assert len(pairs) == len(first.segments) + 1  # and void
        for place, number in pairs[pairs[:, 0] != IGNORE].tolist():
            assert first.segments.classes[place] == second.segments.classes[number]
            assert first.segments.crowd[place] == second.segments.crowd[number]
        assert first.segments.crowd.sum() == index + 1
