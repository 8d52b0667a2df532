"""Panoptic truth: segments from maps of ids, against a naive loop, and COCO's format with all that can be wrong."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.base import CocoPanopticDataset, DatasetCard, PanopticFiles, SegmentTable, segments_of
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace, UnknownIdsError, pack_colors
from multiseg.synthetic.layouts.base import segment_records, unpack_colors


def even_is_void(values):
    """Odd ids are segments of class id % 3; those above 100 are crowds."""
    return np.where(values % 2 == 1, values % 3, IGNORE), values > 100


@given(arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.integers(0, 2**24 - 1)))
def test_segments_are_those_of_a_loop(raw):
    segments = segments_of(raw, even_is_void)
    expected = [value for value in sorted(set(raw.ravel().tolist())) if value % 2]
    assert segments.classes.tolist() == [value % 3 for value in expected]
    assert segments.crowd.tolist() == [value > 100 for value in expected]
    for (row, column), value in np.ndenumerate(raw):
        assert segments.ids[row, column] == (expected.index(value) if value % 2 else IGNORE)
        assert segments.labels[row, column] == (value % 3 if value % 2 else IGNORE)
    assert segments.areas.tolist() == [int((raw == value).sum()) for value in expected]
    assert segments.ids.dtype == segments.labels.dtype == torch.int16


@given(arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.integers(0, 12)))
def test_ids_of_one_stuff_class_are_one_segment(raw):
    # of the classes 0, 1, 2 only 1 has things
    segments = segments_of(raw, even_is_void, np.array([False, True, False]))
    odd = {value for value in raw.ravel().tolist() if value % 2}
    expected = sorted([value % 3 for value in odd if value % 3 == 1] + list({value % 3 for value in odd} - {1}))
    assert sorted(segments.classes.tolist()) == expected
    for (row, column), value in np.ndenumerate(raw):
        same = raw == value if value % 3 == 1 else (raw % 3 == value % 3) & (raw % 2 == 1)
        if value % 2:
            np.testing.assert_array_equal(segments.ids == segments.ids[row, column], same)
        else:
            assert segments.ids[row, column] == IGNORE


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_any_integer_type_will_do(dtype):
    assert segments_of(np.array([[1, 1, 4, 7]], dtype), even_is_void).ids.tolist() == [[0, 0, IGNORE, 1]]


def test_a_map_without_segments():
    segments = segments_of(np.zeros((3, 4), np.int32), even_is_void)
    assert len(segments) == 0
    assert (segments.labels == IGNORE).all()
    assert segments.areas.tolist() == []


def test_more_segments_than_numbers_are_refused():
    raw = 2 * np.arange(2**15, dtype=np.int32).reshape(256, 128) + 1
    with pytest.raises(MultisegError, match="32768 segments in one image; at most 32767"):
        segments_of(raw, even_is_void)


def test_segments_out_of_sight_are_dropped():
    ids = torch.tensor([[0, 1, 1], [2, 2, IGNORE]], dtype=torch.int16)
    segments = Segments(tv_tensors.Mask(ids), torch.tensor([5, 6, 7]), torch.tensor([False, True, False]))
    cut = segments.with_ids(tv_tensors.Mask(ids[:, 1:]))
    assert cut.ids.tolist() == [[0, 0], [1, IGNORE]]
    assert cut.classes.tolist() == [6, 7]
    assert cut.crowd.tolist() == [True, False]
    assert len(segments.with_ids(tv_tensors.Mask(torch.full((2, 2), IGNORE, dtype=torch.int16)))) == 0


# COCO's format

VOID, SKY, CAR = 0, 3, 200


class Harbour(CocoPanopticDataset):
    reader = "harbour_panoptic"
    card = DatasetCard("Harbour", "", "", "", "panoptic.json")
    splits = ("train", "val")
    markers = ("panoptic.json",)
    label_space = LabelSpace(
        "harbour", (LabelClass("sky", (SKY,), (0, 0, 9)), LabelClass("car", (CAR,), (9, 0, 0), thing=True)), (77,)
    )

    def panoptic_files(self):
        return PanopticFiles("panoptic.json", "masks", "images")


RAW = np.array([[5, 5, 300, 300], [5, 0, 70_000, 9], [5, 0, 70_000, 9]], np.int32)
CATEGORIES = {5: SKY, 300: CAR, 70_000: CAR, 9: 77}


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    images, annotations = [], []
    for number, name in enumerate(("b", "a")):
        Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / f"images/{name}.jpg")
        Image.fromarray(unpack_colors(RAW)).save(tmp_path / f"masks/{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": 3, "width": 4})
        records = segment_records(RAW, {0: VOID, **CATEGORIES}, crowd=[70_000])
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": records[::-1]})
    write(tmp_path, {"images": images, "annotations": annotations[::-1], "categories": []})
    return tmp_path


def write(root, index):
    (root / "panoptic.json").write_text(json.dumps(index))


def read(root):
    return json.loads((root / "panoptic.json").read_text())


def test_segments_are_read_with_class_and_crowd(root):
    dataset = Harbour(root, "train")
    assert [dataset[place].key for place in range(2)] == ["images/a", "images/b"]
    sample = dataset[0]
    assert sample.segments.classes.tolist() == [0, 1, 1]
    assert sample.segments.crowd.tolist() == [False, False, True]
    assert sample.segments.ids.tolist() == [[0, 0, 1, 1], [0, -1, 2, -1], [0, -1, 2, -1]]
    assert sample.labels.tolist() == [[0, 0, 1, 1], [0, -1, 1, -1], [0, -1, 1, -1]]
    assert (pack_colors(unpack_colors(RAW)) == RAW).all()


def test_a_segment_without_record_is_named(root):
    index = read(root)
    del index["annotations"][0]["segments_info"][0]
    write(root, index)
    with pytest.raises(UnknownIdsError, match=r"a\.png: its JSON has no record of segment 70000") as error:
        Harbour(root, "train")[0]
    assert error.value.ids == (70_000,)


def test_an_image_without_segments_is_void(root):
    index = read(root)
    index["annotations"][0]["segments_info"] = []
    write(root, index)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(root / "masks/a.png")
    assert len(Harbour(root, "train")[0].segments) == 0


def change(path, value):
    def apply(index):
        *parents, last = path
        for key in parents:
            index = index[key]
        if value is KeyError:
            del index[last]
        else:
            index[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(["images"], KeyError), "the list 'images' is missing"),
        (change(["annotations"], {}), "the list 'annotations' is missing"),
        (change(["images", 1, "id"], KeyError), r"images\[1\]\.id is missing or of the wrong type"),
        (change(["images", 0, "file_name"], 7), r"images\[0\]\.file_name is missing or of the wrong type"),
        (change(["images", 0, "file_name"], "../x.jpg"), "'../x.jpg' lies outside the dataset"),
        (change(["annotations", 0, "file_name"], "/etc/x.png"), "'/etc/x.png' lies outside the dataset"),
        (change(["annotations", 0, "image_id"], 99), r"annotations\[0\] is of image 99, which is not among the images"),
        (change(["annotations", 0, "segments_info"], KeyError), r"annotations\[0\]\.segments_info is missing"),
        (
            change(["annotations", 1, "segments_info", 2, "id"], KeyError),
            r"annotations\[1\]\.segments_info\[2\]\.id is",
        ),
        (
            change(["annotations", 0, "segments_info", 0, "category_id"], 12),
            r"a\.png has a segment of category 12, which",
        ),
        (change(["annotations", 0, "segments_info", 0], None), r"segments_info\[0\]\.id is missing"),
    ],
)
def test_a_wrong_index_is_named_with_its_field(root, damage, message):
    index = read(root)
    damage(index)
    write(root, index)
    with pytest.raises(MultisegError, match=message) as error:
        Harbour(root, "train")
    assert "panoptic.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "[" * 100_000, "\xff"])
def test_what_is_no_index_is_refused(root, text):
    (root / "panoptic.json").write_text(text, encoding="latin-1")
    with pytest.raises(MultisegError, match=r"panoptic\.json"):
        Harbour(root, "train")


def test_ten_segments_an_image_take_less_than_two_hundred_bytes():
    table = SegmentTable.of([(place * 1000 + n, n, False) for n in range(11)] for place in range(1000))
    assert len(pickle.dumps(table)) / len(table) < 100


def test_an_error_travels_from_a_loading_worker(root):
    index = read(root)
    del index["annotations"][0]["segments_info"][0]
    write(root, index)
    loader = DataLoader(Harbour(root, "train"), num_workers=1, collate_fn=list)
    with pytest.raises(UnknownIdsError) as error:
        list(loader)
    assert str(error.value).endswith("its JSON has no record of segment 70000.")
    assert "\n" not in str(error.value)
