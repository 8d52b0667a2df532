"""IDD: polygons drawn as by the official script, its masks where they lie, and both parts as one dataset."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.inspection.checking import check_dataset

VOID = 255

#: Labels that share the level-3 id of another, from the official `anue_labels.py`.
SHARED = {
    "parking": 1,
    "rail track": 3,
    "animal": 4,
    "caravan": 12,
    "trailer": 12,
    "train": 12,
    "polegroup": 20,
    "tunnel": 23,
    "fallback background": 25,
    "unlabeled": VOID,
    "ego vehicle": VOID,
    "rectification border": VOID,
    "out of roi": VOID,
    "license plate": VOID,
}
WHOLE = [[0, 0], [7, 0], [7, 5], [0, 5]]


def thing(label, polygon, **more):
    return {"label": label, "polygon": polygon, **more}


@pytest.fixture
def annotated(tmp_path):
    """Writes a dataset of one image, 6×8, per split, with these objects, and opens it."""

    def write(objects, **fields):
        content = {"imgHeight": 6, "imgWidth": 8, "objects": objects, **fields}
        for split in ("train", "val"):
            fake_trees.write_image(tmp_path / f"leftImg8bit/{split}/0/1_leftImg8bit.png", (6, 8))
            path = tmp_path / f"gtFine/{split}/0/1_gtFine_polygons.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return find_reader("idd")(tmp_path, "train")

    return write


def drawn(dataset):
    return dataset.read_raw(dataset.mask_path(0))


@pytest.mark.parametrize("label, raw", SHARED.items())
def test_labels_below_level_3_take_the_id_of_their_class(annotated, label, raw):
    assert (drawn(annotated([thing(label, WHOLE)])) == raw).all()


def test_every_class_is_drawn_by_its_own_name(annotated):
    for raw, name in enumerate(find_reader("idd").label_space.names):
        assert (drawn(annotated([thing(name, WHOLE)])) == raw).all()


def test_what_no_polygon_covers_is_ignored(annotated):
    assert (drawn(annotated([])) == VOID).all()


def test_corners_are_pixels_of_the_polygon(annotated):
    expected = np.full((6, 8), VOID)
    expected[1:4, 2:6] = 9
    np.testing.assert_array_equal(drawn(annotated([thing("car", [[2, 1], [5, 1], [5, 3], [2, 3]])])), expected)


def test_later_polygons_lie_on_top(annotated):
    raw = drawn(annotated([thing("road", WHOLE), thing("car", [[0, 0], [3, 0], [3, 5], [0, 5]])]))
    assert (raw[:, :4] == 9).all() and (raw[:, 4:] == 0).all()


def test_polygons_that_leave_the_image_are_cut(annotated):
    outside = [[-40.5, -3.0], [3.2, -3.0], [3.2, 99.0], [-40.5, 99.0]]
    raw = drawn(annotated([thing("sky", outside)]))
    assert (raw[:, :4] == 25).all() and (raw[:, 4:] == VOID).all()


@pytest.mark.parametrize(
    "left_out",
    [
        thing("car", WHOLE, deleted=1),
        thing("car", WHOLE, deleted=True),
        thing("car", WHOLE[:2]),
        thing("car", []),
        thing("ground", WHOLE),
    ],
    ids=["deleted", "deleted as a word", "line", "no points", "a label outside the official list"],
)
def test_what_the_official_script_leaves_out_is_not_drawn(annotated, left_out):
    assert (drawn(annotated([thing("road", WHOLE, deleted=0), left_out])) == 0).all()


def test_a_group_counts_as_its_class(annotated):
    assert (drawn(annotated([thing("cargroup", WHOLE)])) == 9).all()


def test_an_unknown_label_names_the_nearest(annotated):
    dataset = annotated([thing("road", WHOLE), thing("autorikshaw", WHOLE)])
    with pytest.raises(MultisegError, match=r"json: objects\[1\].label 'autorikshaw' .* did you mean 'autorickshaw'"):
        dataset[0]


@pytest.mark.parametrize(
    "objects, fields, message",
    [
        ([], {"imgWidth": None}, "imgWidth is missing"),
        ([], {"imgHeight": "6"}, "imgHeight is missing or of the wrong type"),
        ([], {"imgHeight": 0}, "imgWidth × imgHeight is 8×0"),
        ([], {"imgHeight": -6, "imgWidth": -8}, "imgWidth × imgHeight is -8×-6"),
        ([], {"imgHeight": 10**6, "imgWidth": 10**6}, "imgWidth × imgHeight is 1000000×1000000"),
        (None, {}, "objects is missing"),
        ([{"polygon": WHOLE}], {}, r"objects\[0\].label is missing"),
        ([{"label": "car"}], {}, r"objects\[0\].polygon is missing"),
        (["car"], {}, r"objects\[0\].label is missing"),
        ([thing("car", [[0, 0], [1], [2, 2]])], {}, r"objects\[0\].polygon is no list of points"),
        ([thing("car", [0, 1, 2, 3])], {}, r"objects\[0\].polygon is no list of points"),
        ([thing("car", [["a", "b"]] * 3)], {}, r"objects\[0\].polygon is no list of points"),
        ([thing("car", [[0, 0], [float("nan"), 1], [2, 2]])], {}, r"objects\[0\].polygon is no list of points"),
    ],
)
def test_an_odd_field_is_named_in_one_line(annotated, objects, fields, message):
    dataset = annotated(objects, **fields)
    with pytest.raises(MultisegError, match=f"1_gtFine_polygons.json: {message}") as error:
        dataset[0]
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_named(annotated):
    dataset = annotated([])
    dataset.mask_path(0).write_text('{"imgHeight": 6')
    with pytest.raises(MultisegError, match=r"1_gtFine_polygons.json is no JSON"):
        dataset[0]
    dataset.mask_path(0).unlink()
    with pytest.raises(MultisegError, match=r"1_gtFine_polygons.json does not exist"):
        dataset[0]


def test_a_size_other_than_the_image_is_refused(annotated):
    with pytest.raises(MultisegError, match="is 9×6, but its image"):
        annotated([], imgWidth=9)[0]


def test_a_quick_check_reads_sizes_from_the_polygons(annotated):
    annotated([thing("road", WHOLE)])
    dataset = annotated([thing("road", WHOLE)])
    source, target = dataset.image_path(0), dataset.image_path(0).with_name("2_leftImg8bit.png")
    shutil.copy(source, target)
    shutil.copy(dataset.mask_path(0), dataset.mask_path(0).with_name("2_gtFine_polygons.json"))
    report = check_dataset(find_reader("idd")(dataset.root, "train"), workers=1, limit=1)
    assert report.images == 2 and not report.problems, str(report)


def test_masks_of_the_official_script_are_read_where_they_lie(annotated):
    dataset = annotated([thing("road", WHOLE)])
    path = dataset.mask_path(0).with_name("1_gtFine_labellevel3Ids.png")
    Image.fromarray(np.full((6, 8), 24, np.uint8)).save(path)
    # what else the script can write
    Image.fromarray(np.full((6, 8), 3000, np.uint16)).save(path.with_name("1_gtFine_instancelevel3Ids.png"))
    again = find_reader("idd")(dataset.root, "train")
    assert len(again) == 1
    assert again.mask_path(0) == path
    assert (again[0].labels == again.label_space.index("vegetation")).all()


def test_the_masks_do_without_the_polygons(annotated):
    dataset = annotated([])
    path = dataset.mask_path(0).with_name("1_gtFine_labellevel3Ids.png")
    Image.fromarray(np.full((6, 8), 24, np.uint8)).save(path)
    dataset.mask_path(0).unlink()
    assert find_reader("idd")(dataset.root, "train").mask_path(0) == path


def test_both_parts_side_by_side_are_one_dataset(tmp_path):
    fake_trees.write("idd", tmp_path / "idd/IDD_Segmentation")
    fake_trees.write("idd", tmp_path / "idd/idd20kII")
    for root in (tmp_path, tmp_path / "idd"):
        dataset = find_reader("idd")(root, "train")
        assert dataset.root == tmp_path / "idd"
        keys = [dataset[index].key for index in range(len(dataset))]
        assert len(set(keys)) == 4
        assert sorted({key.split("/")[0] for key in keys}) == ["IDD_Segmentation", "idd20kII"]
    part = find_reader("idd")(tmp_path / "idd/idd20kII", "train")
    assert len(part) == 2


def test_one_part_alone_is_found_in_its_parent(tmp_path):
    fake_trees.write("idd", tmp_path / "idd/IDD_Segmentation")
    assert find_reader("idd")(tmp_path / "idd", "val").root == tmp_path / "idd/IDD_Segmentation"
