"""Cityscapes' instance ids as segments."""

import numpy as np
import pytest
import torch
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@pytest.fixture
def root(tmp_path):
    return fake_trees.write("cityscapes_panoptic", tmp_path)


def read(root, raw):
    """The first training image with this map of instance ids."""
    dataset = find_reader("cityscapes_panoptic")(root, "train")
    raw = np.asarray(raw, np.uint16)
    Image.fromarray(raw).save(dataset.mask_path(0))
    Image.fromarray(np.zeros((*raw.shape, 3), np.uint8)).save(dataset.image_path(0))
    return dataset[0]


def test_masks_have_sixteen_bits(root):
    with Image.open(find_reader("cityscapes_panoptic")(root, "train").mask_path(0)) as file:
        assert file.mode == "I;16"


def test_numbered_things_are_segments_and_bare_ids_crowds(root):
    sample = read(root, [[26000, 26000, 26001, 26], [24000, 24, 24, 7], [7, 7, 23, 23]])
    name = sample.space.names
    found = {
        (name[place], crowd, area)
        for place, crowd, area in zip(
            sample.segments.classes.tolist(),
            sample.segments.crowd.tolist(),
            sample.segments.areas.tolist(),
            strict=True,
        )
    }
    assert found == {
        ("car", False, 2),
        ("car", False, 1),
        ("car", True, 1),
        ("person", False, 1),
        ("person", True, 2),
        ("road", False, 3),
        ("sky", False, 2),
    }


def test_what_is_not_evaluated_is_no_segment(root):
    # static, parking, a caravan, a group of trailers, a license plate; a car that there may be pixels
    sample = read(root, [[4, 9, 29000], [30, 65535, 26000]])
    assert len(sample.segments) == 1
    assert sample.labels.tolist() == [[IGNORE] * 3, [IGNORE, IGNORE, sample.space.index("car")]]
    assert sample.segments.ids.tolist() == [[IGNORE] * 3, [IGNORE, IGNORE, 0]]


def test_nothing_evaluated_at_all(root):
    sample = read(root, [[0, 1], [2, 3]])
    assert len(sample.segments) == 0
    assert (sample.labels == IGNORE).all()


@pytest.mark.parametrize("raw, named", [(34, "34"), (34005, "34"), (999, "999")])
def test_an_id_of_no_label_is_refused(root, raw, named):
    with pytest.raises(MultisegError, match=rf"instanceIds.png: id {named} is no class of 'cityscapes_panoptic'"):
        read(root, [[7, raw]])


def test_it_agrees_with_the_semantic_reader(root):
    for split in ("train", "val"):
        plain, segmented = find_reader("cityscapes")(root, split), find_reader("cityscapes_panoptic")(root, split)
        for index in range(len(plain)):
            assert torch.equal(segmented[index].labels, plain[index].labels)
            assert segmented[index].key == plain[index].key
