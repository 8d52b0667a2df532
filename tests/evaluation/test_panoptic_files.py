import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.coco_panoptic import COCOPanoptic
from multiseg.datasets.panoptic import Panoptic
from multiseg.errors import MultisegError
from multiseg.evaluation.panoptic_files import PanopticWriter, areas_and_boxes, category_ids
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.synthetic.writers import write_datasets

VOID = IGNORE

SPACE = LabelSpace(
    "toy",
    (
        LabelClass("road", (7, 8), (128, 64, 128)),
        LabelClass("car", (70_000,), (0, 0, 142), thing=True),
        LabelClass("Fußgänger", (0,), (220, 20, 60), thing=True),
    ),
)


def segments(ids, classes, crowd=()):
    flags = [number in crowd for number in range(len(classes))]
    mask = tv_tensors.Mask(torch.from_numpy(np.asarray(ids, np.int16)))
    return Segments(mask, torch.tensor(classes, dtype=torch.int64), torch.tensor(flags, dtype=torch.bool))


def read_back(folder, images, split="predictions"):
    """What the project's own reader makes of it; it wants the images, too."""
    for name, (height, width) in images.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(folder / "images" / name)
    return Panoptic(folder, split)


def assert_equal(first, second):
    np.testing.assert_array_equal(first.ids.numpy(), second.ids.numpy())
    assert first.classes.tolist() == second.classes.tolist()
    assert first.crowd.tolist() == second.crowd.tolist()


def naive_records(part, ids):
    """Area and box of each segment that has a pixel, pixel by pixel."""
    records = {}
    for segment in range(len(part)):
        pixels = [(x, y) for y in range(len(ids)) for x in range(len(ids[0])) if ids[y][x] == segment]
        if pixels:
            xs, ys = zip(*pixels, strict=True)
            box = [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]
            records[segment] = (len(pixels), box)
    return records


MAPS = arrays(np.int16, st.tuples(st.integers(0, 5), st.integers(1, 6)), elements=st.integers(VOID, 3))


@settings(deadline=None)
@given(MAPS)
def test_areas_and_boxes_by_a_loop(ids):
    part = segments(ids, [0] * 4)
    areas, boxes = areas_and_boxes(part)
    expected = naive_records(part, ids.tolist())
    for segment in range(4):
        assert (areas[segment], boxes[segment].tolist()) == expected.get(segment, (0, [0, 0, 0, 0]))


def test_what_is_written_by_hand(tmp_path):
    ids = [[0, 0, 1, VOID], [0, 3, 1, VOID]]
    writer = PanopticWriter(tmp_path, SPACE)
    mask = writer.add("000000000139.jpg", segments(ids, [0, 1, 2, 2], crowd=[3]))
    assert mask == tmp_path / "panoptic_predictions/000000000139.png"
    data = json.loads(writer.write().read_text(encoding="utf-8"))
    assert data["images"] == [{"id": 139, "file_name": "000000000139.jpg", "height": 2, "width": 4}]
    (annotation,) = data["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (139, "000000000139.png")
    assert annotation["segments_info"] == [
        {"id": 1, "category_id": 7, "area": 3, "bbox": [0, 0, 2, 2], "iscrowd": 0},
        {"id": 2, "category_id": 70_000, "area": 2, "bbox": [2, 0, 1, 2], "iscrowd": 0},
        {"id": 4, "category_id": 0, "area": 1, "bbox": [1, 1, 1, 1], "iscrowd": 1},
    ]
    assert data["categories"] == [
        {"id": 7, "name": "road", "isthing": 0, "color": [128, 64, 128]},
        {"id": 70_000, "name": "car", "isthing": 1, "color": [0, 0, 142]},
        {"id": 0, "name": "Fußgänger", "isthing": 1, "color": [220, 20, 60]},
    ]
    pixels = np.asarray(Image.open(mask)).astype(int)
    np.testing.assert_array_equal(pixels @ [1, 256, 65536], np.array(ids) + 1)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        mask.name,
        "panoptic_predictions.json",
    ]


def test_synthetic_truth_is_read_back_bit_for_bit(tmp_path):
    root = write_datasets(tmp_path / "data", images=2, seed=3, domains=["panoptic"], size=(96, 128))["panoptic"]
    dataset = Panoptic(root, "train")
    out = tmp_path / "out"
    writer = PanopticWriter(out, dataset.label_space, "panoptic_val")
    for index in range(2):
        writer.add(f"town/{index}.jpg", dataset[index].segments)
    writer.write()
    again = read_back(out, {f"town/{index}.jpg": (96, 128) for index in range(2)}, "val")
    assert again.label_space == dataset.label_space
    for index in range(2):
        assert len(dataset[index].segments) > 3
        assert_equal(again[index].segments, dataset[index].segments)


def test_ids_that_need_two_channels_and_crowds_are_read_back(tmp_path):
    ids = np.arange(700, dtype=np.int16).reshape(20, 35)
    ids[5, 5:9] = VOID
    part = segments(ids, [1] * 700, crowd=[3, 300]).with_ids(tv_tensors.Mask(torch.from_numpy(ids)))
    writer = PanopticWriter(tmp_path, SPACE)
    writer.add("a.jpg", part)
    writer.write()
    assert_equal(read_back(tmp_path, {"a.jpg": (20, 35)})[0].segments, part)


def test_all_void_and_no_image(tmp_path):
    writer = PanopticWriter(tmp_path, SPACE)
    assert json.loads(writer.write().read_text())["images"] == []
    writer.add("a.jpg", segments(np.full((2, 3), VOID), []))
    writer.write()
    assert_equal(read_back(tmp_path, {"a.jpg": (2, 3)})[0].segments, segments(np.full((2, 3), VOID), []))


def test_category_ids_are_those_of_the_dataset():
    assert category_ids(COCOPanoptic.label_space)[-1] == 200
    assert category_ids(SPACE) == (7, 70_000, 0)
    without = LabelSpace("words", (LabelClass("a", (), (0, 0, 0)), LabelClass("b", (9,), (0, 0, 0))))
    assert category_ids(without) == (0, 1)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [("12.jpg", 12), ("a.jpg", "a"), ("town/12.jpg", "town/12"), ("1.5.png", "1.5"), ("²³.jpg", "²³")],
)
def test_image_ids(tmp_path, name, image_id):
    writer = PanopticWriter(tmp_path, SPACE)
    assert writer.add(name, segments([[0]], [1])) == (tmp_path / "panoptic_predictions" / name).with_suffix(".png")
    assert json.loads(writer.write().read_text())["images"][0]["id"] == image_id


def test_the_second_of_a_kind_is_refused(tmp_path):
    writer = PanopticWriter(tmp_path, SPACE)
    writer.add("1.jpg", segments([[0]], [1]))
    with pytest.raises(MultisegError, match=r"'1\.png' has the PNG '1\.png' of '1\.jpg'"):
        writer.add("1.png", segments([[0]], [1]))
    with pytest.raises(MultisegError, match=r"'01\.jpg' has the image id 1 of '1\.jpg'"):
        writer.add("01.jpg", segments([[0]], [1]))
    writer.add("01.jpg", segments([[0]], [1]), image_id="other")


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "b/../../a.jpg", ""])
def test_names_outside_are_refused(tmp_path, name):
    with pytest.raises(MultisegError, match=f"'{re.escape(name)}' does not name a file below"):
        PanopticWriter(tmp_path, SPACE).add(name, segments([[0]], [1]))


def test_wrong_segments_are_named(tmp_path):
    writer = PanopticWriter(tmp_path, SPACE)
    with pytest.raises(ValueError, match=r"not in 0\.\.2 of 'toy'"):
        writer.add("a.jpg", segments([[0]], [3]))
    with pytest.raises(ValueError, match="an id of a map of 1 segments"):
        writer.add("a.jpg", segments([[1]], [2]))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MultisegError, match="cannot write"):
        PanopticWriter(tmp_path / "out", SPACE).add("a.jpg", segments([[0]], [1]))


@pytest.mark.real_data
@pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets")
def test_real_truth_is_read_back_with_its_records(tmp_path):
    root = Path(os.environ["MULTISEG_DATA"]) / "coco_panoptic_sample/sample_data"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    dataset = Panoptic(root, "examples")
    writer = PanopticWriter(tmp_path, dataset.label_space)
    names = [dataset.image_path(index).name for index in range(2)]
    for index, name in enumerate(names):
        writer.add(name, dataset[index].segments)
    written = json.loads(writer.write().read_text())
    official = json.loads((root / "panoptic_examples.json").read_text())
    assert [image["id"] for image in written["images"]] == [image["id"] for image in official["images"]]
    for ours, theirs in zip(written["annotations"], official["annotations"], strict=True):
        assert described(ours["segments_info"]) == described(theirs["segments_info"])
    again = read_back(tmp_path, {name: dataset[index].labels.shape for index, name in enumerate(names)})
    for index in range(2):
        assert_equal(again[index].segments, dataset[index].segments)


def described(records):
    """All but the ids, which are anyone's choice."""
    return sorted((record["category_id"], record["iscrowd"], record["area"], record["bbox"]) for record in records)
