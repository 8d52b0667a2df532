"""Mapillary Vistas: both downloads of v1.2, what v2.0 does not evaluate, and categories that count from 1."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE

PANOPTIC = [("mapillary", "mapillary_panoptic"), ("mapillary_v2", "mapillary_v2_panoptic")]


@pytest.fixture
def newer(tmp_path):
    """The download of v2.0, which holds the truth of v1.2 too."""
    root = fake_trees.write("mapillary_v2", tmp_path / "v2")
    older = fake_trees.write("mapillary", tmp_path / "v1")
    for split in ("training", "validation"):
        for kind in ("labels", "instances", "panoptic"):
            shutil.copytree(older / split / kind, root / split / "v1.2" / kind)
    return root


@pytest.mark.parametrize("reader", ["mapillary", "mapillary_panoptic", "mapillary_v2", "mapillary_v2_panoptic"])
def test_the_download_of_v2_serves_both_versions(newer, reader):
    dataset = find_reader(reader)(newer, "val")
    assert f"/{'v2.0' if 'v2' in reader else 'v1.2'}/" in dataset.mask_path(0).as_posix()
    assert dataset[0].labels.max() == len(dataset.label_space) - 1


def test_v2_is_not_found_in_the_download_of_v1(tmp_path):
    root = fake_trees.write("mapillary", tmp_path / "v1")
    with pytest.raises(MultisegError, match=r"mapillary_v2: .* has no 'training/v2.0/labels'"):
        find_reader("mapillary_v2")(root, "train")


def test_classes_are_counted_as_the_paper_does():
    older, newer = find_reader("mapillary").label_space, find_reader("mapillary_v2").label_space
    assert (int(older.things.sum()), int((~older.things).sum())) == (37, 28)
    assert (int(newer.things.sum()), int((~newer.things).sum())) == (70, 46)


def test_unlabeled_differs_between_the_versions():
    raw = np.array([[65, 123]])
    assert find_reader("mapillary").label_space.from_raw(raw[:, :1]).tolist() == [[IGNORE]]
    newer = find_reader("mapillary_v2").label_space
    water, unlabeled = newer.from_raw(raw)[0]
    assert (newer.names[water], unlabeled) == ("Water", IGNORE)


def test_a_mask_of_v2_in_the_place_of_v1_is_refused(tmp_path):
    root = fake_trees.write("mapillary", tmp_path)
    dataset = find_reader("mapillary")(root, "train")
    Image.fromarray(np.full(fake_trees.SIZES[0], 108, np.uint8)).save(dataset.mask_path(0))
    with pytest.raises(MultisegError, match=r"png: id 108 is no class of 'mapillary'"):
        dataset[0]


@pytest.mark.parametrize("semantic, panoptic", PANOPTIC)
def test_segments_say_the_same_as_the_masks(tmp_path, semantic, panoptic):
    root = fake_trees.write(panoptic, tmp_path)
    plain, segmented = find_reader(semantic)(root, "train"), find_reader(panoptic)(root, "train")
    assert plain.label_space.names == segmented.label_space.names
    for index in range(len(plain)):
        np.testing.assert_array_equal(plain[index].labels, segmented[index].labels)
        assert segmented[index].key == plain[index].key


@pytest.mark.parametrize(
    "panoptic, index, category, name",
    [
        ("mapillary_panoptic", "panoptic_2018", 51, "Traffic Sign (Front)"),
        ("mapillary_v2_panoptic", "v2.0/panoptic/panoptic_2020", 31, "Person"),
    ],
)
def test_categories_count_from_one(tmp_path, panoptic, index, category, name):
    root = fake_trees.write(panoptic, tmp_path)
    file = next(root.glob(f"training/**/{index.split('/')[-1]}.json"))
    content = json.loads(file.read_text())
    first = content["annotations"][0]
    height, width = fake_trees.SIZES[0]
    first["segments_info"] = [{"id": 7, "category_id": category, "iscrowd": 1}]
    file.write_text(json.dumps(content))
    Image.fromarray(np.full((height, width, 3), (7, 0, 0), np.uint8)).save(file.with_name(first["file_name"]))
    sample = find_reader(panoptic)(root, "train")[0]
    assert sample.space.names[sample.segments.classes.item()] == name
    assert sample.segments.crowd.tolist() == [True]
