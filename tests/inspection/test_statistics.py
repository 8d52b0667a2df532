"""Figures of small datasets against plain counting, and pictures chosen to show every class."""

import json

import numpy as np
import pytest
from PIL import Image

import damaged_trees
import fake_trees
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.inspection.statistics import cover_classes, gather_statistics


def write_town(root, masks):
    """A dataset of six classes with the ids 0 to 5, 255 ignored, and masks given as lists of lists or arrays."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        mask = np.array(mask, np.uint8)
        Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(root / f"images/{number:03}.png")
        Image.fromarray(mask).save(root / f"masks/{number:03}.png")
    (root / "dataset.yaml").write_text(
        "name: town\nclasses: [a, b, c, d, e, f]\nignore: [255]\nsplits: {train: {images: images, masks: masks}}\n"
    )
    return find_reader("folder")(root, "train")


def test_figures_equal_plain_counting(tmp_path):
    random = np.random.default_rng(0)
    shapes = [(7, 9)] * 20 + [(5, 8)] * 12 + [(9, 7)]
    masks = [random.choice([0, 1, 2, 3, 255], shape, p=[0.5, 0.3, 0.14, 0.01, 0.05]) for shape in shapes]
    found = gather_statistics(write_town(tmp_path, masks))
    pixels = np.concatenate([mask.ravel() for mask in masks])
    assert (found.images, found.read, found.counted) == (33, 33, 33)
    assert found.ignored_share == pytest.approx((pixels == 255).mean())
    assert found.sizes == ((7, 9, 20), (5, 8, 12), (9, 7, 1))
    assert (found.segments, found.crowds) == (None, None)
    for value, entry in enumerate(found.classes):
        areas = [(mask == value).mean() for mask in masks if (mask == value).any()]
        assert entry.name == "abcdef"[value]
        assert entry.pixels == (pixels == value).sum()
        assert entry.pixel_share == pytest.approx((pixels == value).sum() / (pixels != 255).sum())
        assert (entry.images, entry.image_share) == (len(areas), pytest.approx(len(areas) / 33))
        assert entry.mean_area == pytest.approx(np.mean(areas) if areas else 0)
        assert entry.segments is None


def test_things_and_crowds_of_a_panoptic_dataset_are_counted(tmp_path):
    damaged_trees.write_panoptic(tmp_path)
    index = json.loads((tmp_path / "panoptic_train.json").read_text())
    index["annotations"][1]["segments_info"][2]["iscrowd"] = 1
    (tmp_path / "panoptic_train.json").write_text(json.dumps(index))
    fake_trees.write_mask(tmp_path / "panoptic_train/02.png", damaged_trees.SIZE, [(10, 0, 0)])
    found = gather_statistics(find_reader("panoptic")(tmp_path, "train"))
    water, ship = found.classes
    assert (found.segments, found.most_segments, found.crowds) == (3, 2, 1)
    assert (water.segments, water.images) == (None, 3)
    assert (ship.segments, ship.images) == (3, 2)


def test_a_limit_reads_evenly_spaced_masks_and_no_image(tmp_path):
    dataset = write_town(tmp_path, [[[number % 3, 0]] for number in range(12)])
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    found = gather_statistics(dataset, limit=4)  # 0, 3, 6, 9
    assert (found.images, found.read, list(found.places)) == (12, 4, [0, 3, 6, 9])
    assert [entry.images for entry in found.classes] == [4, 0, 0, 0, 0, 0]
    with pytest.raises(MultisegError, match="at least 1, not 0"):
        gather_statistics(dataset, limit=0)


def test_progress_counts_masks(tmp_path):
    seen = []
    gather_statistics(write_town(tmp_path, [[[0]]] * 40), workers=2, progress=lambda *done: seen.append(done))
    assert seen == [(32, 40), (40, 40)]


def test_masks_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    dataset = write_town(tmp_path, [[[0, 1]], [[1, 9]], [[2, 2]], [[3, 3]]])
    (tmp_path / "masks/003.png").write_bytes(b"")
    found = gather_statistics(dataset)
    assert (found.read, found.unreadable, found.counted) == (4, 2, 2)
    assert found.first_unreadable.startswith(f"{tmp_path}/masks/001.png: id 9")
    assert [entry.image_share for entry in found.classes] == [0.5, 0.5, 0.5, 0, 0, 0]
    for number in (0, 2):
        (tmp_path / f"masks/{number:03}.png").unlink()
    with pytest.raises(MultisegError, match=r"town/train: none of 4 masks can be read; the first: .*000\.png"):
        gather_statistics(dataset)


def test_a_dataset_without_a_labelled_pixel_has_figures_too(tmp_path):
    found = gather_statistics(write_town(tmp_path, [[[255, 255]]]))
    assert found.ignored_share == 1
    assert {entry.pixel_share for entry in found.classes} == {0}
    assert cover_classes(found, 1, 4) == []


def test_statistics_are_json(tmp_path):
    found = gather_statistics(write_town(tmp_path, [[[0, 1]]]))
    facts = json.loads(json.dumps(found.to_json()))
    assert facts["sizes"] == [{"height": 1, "width": 2, "images": 1}]
    assert facts["classes"][1]["pixel_share"] == 0.5
    assert facts.keys() >= {"dataset", "split", "root", "images", "read", "unreadable", "ignored_share"}
    assert not facts.keys() & {"places", "present", "visible"}


# Pictures that show every class


def strip(*classes):
    """A mask in which each of these classes takes the same part."""
    return [list(classes)]


def test_a_cover_shows_every_class_in_few_pictures(tmp_path):
    masks = [strip(0), strip(0, 1), strip(1, 2), strip(0, 1, 2), strip(3), strip(0), strip(3, 4), strip(0, 5)]
    found = gather_statistics(write_town(tmp_path, masks))
    assert cover_classes(found, least=1, most=8) == [3, 6, 7]
    assert found.classes_in([3, 6, 7]) == 6
    assert cover_classes(found, least=1, most=2) == [3, 6]  # the most classes that two can show
    assert found.classes_in([3, 6]) == 5


def test_a_cover_of_fewer_than_wanted_is_filled_evenly(tmp_path):
    masks = [strip(0)] * 10 + [strip(0, 1)]
    found = gather_statistics(write_town(tmp_path, masks))
    assert cover_classes(found, least=1, most=9) == [10]
    assert cover_classes(found, least=6, most=9) == [0, 2, 4, 6, 8, 10]
    assert cover_classes(found, least=99, most=99) == list(range(11))


def test_a_class_is_rather_shown_where_it_can_be_seen(tmp_path):
    speck = np.zeros((40, 40), np.uint8)
    speck[0, 0], speck[20:] = 1, 2
    alone = np.ones((40, 40), np.uint8)
    found = gather_statistics(write_town(tmp_path / "seen", [speck, alone]))
    assert cover_classes(found, least=1, most=9) == [0, 1]
    found = gather_statistics(write_town(tmp_path / "not", [speck, speck * 0]))
    assert cover_classes(found, least=1, most=9) == [0]  # better a speck than nothing
    assert found.classes_in([0]) == 3


def test_a_cover_names_places_in_the_split_and_none_that_cannot_be_read(tmp_path):
    dataset = write_town(tmp_path, [strip(number % 2) for number in range(12)])
    (tmp_path / "masks/006.png").write_bytes(b"")
    found = gather_statistics(dataset, limit=4)
    assert cover_classes(found, least=9, most=9) == [0, 3, 9]


# Images without masks


def test_images_without_masks_have_sizes_and_no_classes(tmp_path):
    fake_trees.write_images(tmp_path)
    fake_trees.write_image(tmp_path / "8.jpg", fake_trees.SIZES[0])
    (tmp_path / "9.jpg").write_bytes(b"no image")
    found = gather_statistics(find_reader("images")(tmp_path, "train"))
    assert (found.images, found.read, found.unreadable) == (4, 4, 1)
    assert "9.jpg" in found.first_unreadable
    assert found.sizes == ((24, 40, 2), (32, 30, 1))
    assert found.classes == () and found.classes_in([0, 1]) == 0
    assert json.loads(json.dumps(found.to_json()))["classes"] == []
    assert cover_classes(found, least=2, most=9) == [0, 2]
    assert cover_classes(found, least=9, most=9) == [0, 1, 2, 3]


def test_that_no_image_can_be_read_is_said_of_images(tmp_path):
    (tmp_path / "9.jpg").write_bytes(b"no image")
    with pytest.raises(MultisegError, match=r"none of 1 images can be read; the first: .*9\.jpg"):
        gather_statistics(find_reader("images")(tmp_path, "train"))
