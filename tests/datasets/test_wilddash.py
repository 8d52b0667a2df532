"""WildDash 2: the splits drawn by name, both releases, and what the label policy makes of segments."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.datasets.base import index
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@pytest.fixture
def root(tmp_path):
    return fake_trees.write("wilddash", tmp_path / "wd_public_02")


def rewrite(root, split, segments, raw):
    """Gives the first image of a split these segments, and a panoptic map of these ids."""
    file = root / "panoptic.json"
    content = json.loads(file.read_text())
    mask = find_reader("wilddash_panoptic")(root, split).mask_path(0)
    annotation = next(entry for entry in content["annotations"] if entry["file_name"] == mask.name)
    annotation["segments_info"] = segments
    file.write_text(json.dumps(content))
    rgb = np.zeros((*raw.shape, 3), np.uint8)
    rgb[..., 0] = raw
    Image.fromarray(rgb).save(mask)
    Image.fromarray(np.zeros((*raw.shape, 3), np.uint8)).save(root / "images" / f"{mask.stem}.jpg")
    return find_reader("wilddash_panoptic")(root, split)[0]


def test_an_image_stays_in_its_split_whatever_else_lies_there(root):
    for reader in ("wilddash", "wilddash_panoptic"):
        before = {split: find_reader(reader)(root, split) for split in ("train", "val")}
        names = {split: [dataset.image_path(i).name for i in range(len(dataset))] for split, dataset in before.items()}
        assert (len(names["train"]), len(names["val"])) == (2, 1)
    # names whose checksums were worked out with another program (`gzip -c | tail -c8`)
    for name, split in {"aa0000_100000": "train", "ch0010_100000": "val"}.items():
        fake_trees.write_image(root / f"images/{name}.jpg", (8, 8))
        fake_trees.write_mask(root / f"labels/{name}.png", (8, 8), (7, 0))
        dataset = find_reader("wilddash")(root, split)
        found = [dataset.image_path(i).name for i in range(len(dataset))]
        assert sorted([*names[split], f"{name}.jpg"]) == found


def test_about_a_fifth_is_for_evaluation(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(500):
        (tmp_path / f"images/xx{number:04d}_100000.jpg").touch()
        (tmp_path / f"labels/xx{number:04d}_100000.png").touch()
    sizes = [len(find_reader("wilddash")(tmp_path, split)) for split in ("train", "val")]
    assert sum(sizes) == 500
    assert 70 < sizes[1] < 130


def test_the_release_without_label_masks_gives_the_same_labels(root, tmp_path):
    newer = tmp_path / "wd_public_v2p0"
    shutil.copytree(root, newer, ignore=shutil.ignore_patterns("labels"))
    for split in ("train", "val"):
        masks, panoptic = find_reader("wilddash")(root, split), find_reader("wilddash")(newer, split)
        assert len(masks) == len(panoptic)
        for place in range(len(masks)):
            first, second = masks[place], panoptic[place]
            assert first.key == second.key
            assert torch.equal(first.labels, second.labels)
            assert second.segments is None and second.space.name == "wilddash"


def test_neither_labels_nor_panoptic_files_is_refused(root):
    shutil.rmtree(root / "labels")
    (root / "panoptic.json").unlink()
    with pytest.raises(MultisegError, match=r"has no 'labels' or 'panoptic.json'"):
        find_reader("wilddash")(root, "train")


def test_the_panoptic_index_is_read_once(root, monkeypatch):
    shutil.rmtree(root / "labels")
    panoptic, read = find_reader("wilddash_panoptic"), []
    build_index = panoptic.build_index
    monkeypatch.setattr(panoptic, "build_index", lambda self: read.append(self) or build_index(self))
    dataset = find_reader("wilddash")(root, "train")
    assert "panoptic" in vars(dataset)  # before workers are made
    assert len(dataset[0].labels.unique()) > 1
    assert len(read) == 1


def test_a_change_of_the_panoptic_index_is_noticed(root, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "WORTHWHILE", 0.0)
    shutil.rmtree(root / "labels")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1_000_000, 1_000_000))
    assert len(find_reader("wilddash")(root, "train")) == 2
    assert list((tmp_path / "cache").rglob("*.npz"))
    content = json.loads((root / "panoptic.json").read_text())
    gone = find_reader("wilddash")(root, "train").mask_path(0).name
    content["annotations"] = [entry for entry in content["annotations"] if entry["file_name"] != gone]
    (root / "panoptic.json").write_text(json.dumps(content))
    assert len(find_reader("wilddash")(root, "train")) == 1


def test_categories_of_one_stuff_class_are_one_segment(root):
    # road, manhole and pothole are road; the sidewalk and its curb are sidewalk
    raw = np.repeat(np.arange(1, 6), 4).reshape(5, 4)
    segments = [{"id": n, "category_id": c} for n, c in enumerate((7, 41, 43, 8, 52), 1)]
    sample = rewrite(root, "train", segments, raw)
    names = [sample.space.names[place] for place in sample.segments.classes.tolist()]
    assert sorted(names) == ["road", "sidewalk"]
    assert sorted(sample.segments.areas.tolist()) == [8, 12]


def test_things_stay_apart_and_groups_are_crowds(root):
    # a pole, a traffic sign frame that counts as one, a group of poles, two cars, and a bird, which is not evaluated
    raw = np.repeat(np.arange(1, 7), 4).reshape(6, 4)
    segments = [{"id": n, "category_id": c, "iscrowd": 0} for n, c in enumerate((17, 45, 18, 26, 26, 50), 1)]
    sample = rewrite(root, "train", segments, raw)
    found = sorted(zip(sample.segments.classes.tolist(), sample.segments.crowd.tolist(), strict=True))
    pole, car = sample.space.index("pole"), sample.space.index("car")
    assert found == [(pole, False), (pole, False), (pole, True), (car, False), (car, False)]
    assert (sample.labels[5] == IGNORE).all()


def test_what_the_benchmark_counts_as_void_is_ignored():
    space = find_reader("wilddash").label_space
    for raw in (0, 3, 9, 15, 29, 39, 73):  # unlabeled, out of roi, parking, bridge, caravan, junction box, snow
        assert space.from_raw(np.array([[raw]])).item() == IGNORE
    assert len(space) == 26
    known = [raw for entry in space.classes for raw in entry.raw_ids] + list(space.ignore_ids)
    assert sorted(known) == list(range(81))
