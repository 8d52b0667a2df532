"""BDD100K: both releases, and the masks that are kept back."""

import shutil

import pytest
import torch

import fake_trees
from multiseg.datasets import find_reader
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.label_space import IGNORE


@pytest.fixture
def root(tmp_path):
    return fake_trees.write("bdd100k", tmp_path / "bdd100k")


def test_the_release_of_2018_is_read_too(root, tmp_path):
    older = tmp_path / "older/bdd100k"
    for split in ("train", "val"):
        shutil.copytree(root / f"images/10k/{split}", older / f"seg/images/{split}")
        masks = older / f"seg/labels/{split}"
        masks.mkdir(parents=True)
        for path in (root / f"labels/sem_seg/masks/{split}").iterdir():
            shutil.copy(path, masks / f"{path.stem}_train_id.png")
        shutil.copytree(root / f"labels/sem_seg/colormaps/{split}", older / f"seg/color_labels/{split}")
    newer, same = find_reader("bdd100k")(root, "train"), find_reader("bdd100k")(older, "train")
    assert len(newer) == len(same) == 2
    for index in range(2):
        assert torch.equal(newer[index].labels, same[index].labels)
        assert newer.image_path(index).name == same.image_path(index).name


def test_today_s_release_wins_where_both_lie(root):
    fake_trees.write_image(root / "seg/images/train/a.jpg", (8, 8))
    fake_trees.write_mask(root / "seg/labels/train/a_train_id.png", (8, 8), (0, 255))
    assert "images/10k" in find_reader("bdd100k")(root, "train").image_path(0).as_posix()


def test_zero_is_road_and_255_is_ignored():
    space = find_reader("bdd100k").label_space
    assert space.from_raw(torch.tensor([[0, 255]]).numpy()).tolist() == [[space.index("road"), IGNORE]]


def test_images_without_masks_are_no_split(root):
    fake_trees.write_image(root / "images/10k/test/a.jpg", (8, 8))
    with pytest.raises(MultisegError, match="no split 'test'; valid: train, val"):
        find_reader("bdd100k")(root, "test")


def test_images_of_another_package_are_not_mistaken(root):
    shutil.move(root / "images/10k", root / "images/100k")
    with pytest.raises(MultisegError, match="has no 'images/10k' or 'seg/images'"):
        find_reader("bdd100k")(root, "train")


def test_a_split_that_was_not_downloaded_is_said_to_be_absent(root):
    shutil.rmtree(root / "images/10k/val")
    with pytest.raises(EmptySplitError, match="images/10k/val does not exist"):
        find_reader("bdd100k")(root, "val")
