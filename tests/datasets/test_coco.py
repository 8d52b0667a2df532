"""COCO-Stuff in both versions and COCO panoptic, beyond what the contract asks of every reader."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import fake_trees
from multiseg.datasets.coco_panoptic import COCOPanoptic
from multiseg.datasets.coco_stuff import COCOStuff
from multiseg.datasets.coco_stuff_10k import COCOStuff10k
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(path)


def write_stuff(root, images="", masks="stuffthingmaps/", stem="000000000009", mode="RGB"):
    save(root / f"{images}val2017/{stem}.jpg", np.full((2, 3, 3), 200), mode)
    save(root / f"{masks}val2017/{stem}.png", [[0, 1, 181], [255, 91, 0]])
    return root


@pytest.mark.parametrize("images", ["", "images/"])
@pytest.mark.parametrize("masks", ["stuffthingmaps/", "stuffthingmaps_trainval2017/", "annotations/"])
def test_images_and_masks_may_lie_where_the_instructions_say_or_where_people_put_them(tmp_path, images, masks):
    dataset = COCOStuff(write_stuff(tmp_path, images, masks), "val")
    names = dataset.label_space.names
    assert [names[label] for label in dataset[0].labels[0]] == ["person", "bicycle", "wood"]
    assert dataset[0].labels[1].tolist() == [IGNORE, names.index("banner"), 0]
    assert dataset[0].key == f"{images}val2017/000000000009"


def test_classes_without_segmentations_do_not_pass_for_others(tmp_path):
    save(write_stuff(tmp_path) / "stuffthingmaps/val2017/000000000009.png", [[11, 0, 0], [0, 0, 0]])
    with pytest.raises(MultisegError, match="id 11 is no class of 'coco_stuff'"):  # street sign
        COCOStuff(tmp_path, "val")[0]


def test_masks_of_mmsegmentation_are_left_alone(tmp_path):
    write_stuff(tmp_path, "images/", "annotations/")
    save(tmp_path / "annotations/val2017/000000000009_labelTrainIds.png", [[170, 170, 170], [0, 0, 0]])
    dataset = COCOStuff(tmp_path, "val")
    assert len(dataset) == 1
    assert dataset.mask_path(0).name == "000000000009.png"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_four_coloured_photographs_are_rgb(tmp_path, mode):
    image = COCOStuff(write_stuff(tmp_path, mode=mode), "val")[0].image
    assert image.shape == (3, 2, 3)
    assert (image.int() - 200).abs().max() < 6


def test_lonely_files_of_coco_stuff_are_found(tmp_path):
    write_stuff(tmp_path)
    write_stuff(tmp_path, stem="000000000010")
    (tmp_path / "val2017/000000000009.jpg").unlink()
    (tmp_path / "stuffthingmaps/val2017/000000000010.png").unlink()
    assert COCOStuff(tmp_path, "val").missing_files() == ([0], [1])


def test_an_absent_split_of_coco_stuff_is_told_from_absent_masks(tmp_path):
    write_stuff(tmp_path)
    with pytest.raises(EmptySplitError, match="has no folder train2017 or images/train2017"):
        COCOStuff(tmp_path, "train")
    (tmp_path / "train2017").mkdir()
    with pytest.raises(MultisegError, match="has no folder train2017 of masks in stuffthingmaps, stuff") as error:
        COCOStuff(tmp_path, "train")
    assert not isinstance(error.value, EmptySplitError)


def test_images_of_coco_without_masks_are_no_root(tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    with pytest.raises(MultisegError, match=r"coco_stuff: .* has no 'stuffthingmaps' or '.*'; expected: "):
        COCOStuff(tmp_path, "val")


def write_10k(root, lines):
    (root / "imageLists").mkdir()
    (root / "imageLists/test.txt").write_text(lines)
    (root / "annotations").mkdir()
    save(root / "images/COCO_train2014_000000000077.jpg", np.zeros((2, 3, 3)))
    ids = np.array([[1, 182, 0], [92, 2, 1]], np.uint8)
    savemat(root / "annotations/COCO_train2014_000000000077.mat", {"S": ids, "names": ["x"], "captions": ["y"]})
    return root


def test_the_masks_of_10k_hold_the_official_ids(tmp_path):
    dataset = COCOStuff10k(write_10k(tmp_path, "COCO_train2014_000000000077\n"), "test")
    names = dataset.label_space.names
    assert dataset[0].labels.tolist() == [[0, names.index("wood"), IGNORE], [names.index("banner"), 1, 0]]
    with pytest.raises(EmptySplitError, match=r"imageLists/train\.txt does not exist"):
        COCOStuff10k(tmp_path, "train")


def test_a_quick_check_compares_the_sizes_of_10k(tmp_path):
    root = write_10k(tmp_path, "COCO_train2014_000000000077\nCOCO_train2014_000000000078\n")
    save(root / "images/COCO_train2014_000000000078.jpg", np.zeros((4, 4, 3)))
    savemat(root / "annotations/COCO_train2014_000000000078.mat", {"S": np.zeros((4, 3), np.uint8)})
    report = check_dataset(COCOStuff10k(root, "test"), workers=1, limit=1)
    assert [problem.kind for problem in report.errors] == ["size_mismatch"]


@pytest.mark.parametrize("line", ["../elsewhere", "/etc/passwd", "C:\\x"])
def test_a_list_of_10k_does_not_leave_the_root(tmp_path, line):
    with pytest.raises(MultisegError, match=r"imageLists/test\.txt, line 2: '.*' lies outside the dataset"):
        COCOStuff10k(write_10k(tmp_path, f"COCO_train2014_000000000077\n{line}\n"), "test")


@pytest.fixture
def panoptic_root(tmp_path):
    return fake_trees.write("coco_panoptic", tmp_path)


def test_panoptic_masks_and_images_may_lie_elsewhere(panoptic_root):
    expected = COCOPanoptic(panoptic_root, "val")[0]
    (panoptic_root / "images").mkdir()
    (panoptic_root / "val2017").rename(panoptic_root / "images/val2017")
    (panoptic_root / "annotations/panoptic_val2017").rename(panoptic_root / "panoptic_val2017")
    dataset = COCOPanoptic(panoptic_root, "val")
    assert dataset[0].key == "images/val2017/000000500001"
    assert dataset.mask_path(0) == panoptic_root / "panoptic_val2017/000000500001.png"
    assert torch.equal(dataset[0].labels, expected.labels)


def test_a_split_without_its_images_is_absent(panoptic_root):
    for path in (panoptic_root / "train2017").iterdir():
        path.unlink()
    (panoptic_root / "train2017").rmdir()
    with pytest.raises(EmptySplitError, match="has no folder train2017 or images/train2017"):
        COCOPanoptic(panoptic_root, "train")
    assert len(COCOPanoptic(panoptic_root, "val")) == 1
    (panoptic_root / "annotations/panoptic_train2017.json").unlink()
    with pytest.raises(EmptySplitError, match=r"panoptic_train2017\.json does not exist"):
        COCOPanoptic(panoptic_root, "train")


def test_crowds_are_told_from_things(panoptic_root):
    path = panoptic_root / "annotations/panoptic_val2017.json"
    index = json.loads(path.read_text())
    crowd = next(record for record in index["annotations"][0]["segments_info"] if record["category_id"] == 18)
    crowd["iscrowd"] = 1
    path.write_text(json.dumps(index))
    dataset = COCOPanoptic(panoptic_root, "val")
    segments = dataset[0].segments
    assert [dataset.label_space.names[entry] for entry in segments.classes[segments.crowd]] == ["dog"]


@pytest.mark.parametrize("category", [12, 91, 201])
def test_a_category_in_a_gap_of_the_ids_is_refused(panoptic_root, category):
    path = panoptic_root / "annotations/panoptic_val2017.json"
    index = json.loads(path.read_text())
    index["annotations"][0]["segments_info"][3]["category_id"] = category
    path.write_text(json.dumps(index))
    with pytest.raises(MultisegError, match=rf"panoptic_val2017\.json: .*\.png has a segment of category {category}"):
        COCOPanoptic(panoptic_root, "val")
