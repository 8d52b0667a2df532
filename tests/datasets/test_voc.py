import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from multiseg.datasets.voc import VOC
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE

SIZE = (6, 8)

#: VOC's train and val, and SBD's lists, which hold images of all kinds.
TRAIN, VAL = ("2007_1", "2007_2"), ("2008_1", "2008_2")
SBD_TRAIN, SBD_VAL = ("2007_1", "2009_1", "2008_1"), ("2009_2", "2007_2")


def write_list(path, stems):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def write_mask(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full(SIZE, raw, np.uint8))
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


def write_voc(root):
    """Masks of VOC's own are all 1."""
    for stem in {*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL}:
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], "navy").save(root / f"JPEGImages/{stem}.jpg")
    for split, stems in (("train", TRAIN), ("val", VAL)):
        write_list(root / f"ImageSets/Segmentation/{split}.txt", stems)
        for stem in stems:
            write_mask(root / f"SegmentationClass/{stem}.png", 1)
    return root


def write_sbd(folder):
    """The official release; its masks are all 2."""
    write_list(folder / "train.txt", SBD_TRAIN)
    write_list(folder / "val.txt", SBD_VAL)
    (folder / "cls").mkdir()
    for stem in {*SBD_TRAIN, *SBD_VAL}:
        truth = {"Boundaries": np.zeros((20, 1), object), "Segmentation": np.full(SIZE, 2, np.uint8)}
        savemat(folder / f"cls/{stem}.mat", {"GTcls": {**truth, "CategoriesPresent": np.array([[2]])}})


def write_converted(root):
    """Masks of SBD as others converted them, those of VOC's val among them; all are 3."""
    for stem in {*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL}:
        write_mask(root / f"SegmentationClassAug/{stem}.png", 3)


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "VOCdevkit/VOC2012")


def classes_of(dataset):
    """The class of each image's mask, by the image's name."""
    return {dataset.image_path(index).stem: dataset.read_labels(index).unique().item() for index in range(len(dataset))}


def test_val_is_evaluated_whatever_lies_beside_it(root):
    write_sbd(root / "benchmark_RELEASE/dataset")
    write_converted(root)
    assert classes_of(VOC(root, "val")) == dict.fromkeys(VAL, 1)
    assert classes_of(VOC(root, "train")) == dict.fromkeys(TRAIN, 1)


AUGMENTED = {"2007_1": 1, "2007_2": 1, "2009_1": 2, "2009_2": 2}


@pytest.mark.parametrize(
    "place",
    [
        "VOCdevkit/VOC2012/benchmark_RELEASE/dataset",
        "VOCdevkit/benchmark_RELEASE/dataset",
        "benchmark_RELEASE/dataset",
        "VOCdevkit/VOCaug/dataset",
    ],
)
def test_trainaug_is_train_and_all_of_sbd_but_val(root, tmp_path, place):
    write_sbd(tmp_path / place)
    dataset = VOC(root, "trainaug")
    assert classes_of(dataset) == AUGMENTED
    assert [dataset[index].key for index in range(4)] == [f"JPEGImages/{stem}" for stem in sorted(AUGMENTED)]
    assert dataset.missing_files() == ([], [])


def test_converted_masks_go_before_matlab_files_and_those_of_voc_before_both(root, tmp_path):
    write_sbd(tmp_path / "benchmark_RELEASE/dataset")
    write_converted(root)
    assert classes_of(VOC(root, "trainaug")) == {**AUGMENTED, "2009_1": 3, "2009_2": 3}


def test_converted_masks_need_no_list(root):
    write_converted(root)
    assert classes_of(VOC(root, "trainaug")) == {**AUGMENTED, "2009_1": 3, "2009_2": 3}


@pytest.mark.parametrize("name", ["trainaug", "train_aug"])
def test_a_list_of_trainaug_is_obeyed(root, name):
    write_converted(root)
    lines = ["2007_1", "/JPEGImages/2009_2.jpg /SegmentationClassAug/2009_2.png", "/JPEGImages/2007_2.jpg x"]
    write_list(root / f"ImageSets/Segmentation/{name}.txt", lines)
    assert classes_of(VOC(root, "trainaug")) == {"2007_1": 1, "2007_2": 1, "2009_2": 3}


def test_a_list_does_not_leave_the_folders(root):
    write_converted(root)
    write_list(root / "ImageSets/Segmentation/trainaug.txt", ["/etc/../../2009_1.jpg x", "../../2009_2"])
    assert classes_of(VOC(root, "trainaug")) == {"2007_1": 1, "2007_2": 1, "2009_1": 3, "2009_2": 3}


def test_without_sbd_there_is_no_trainaug(root):
    with pytest.raises(EmptySplitError, match=r"'trainaug' needs SBD: .* has no 'SegmentationClassAug'") as error:
        VOC(root, "trainaug")
    assert "benchmark_RELEASE" in str(error.value) and "\n" not in str(error.value)
    write_list(root / "ImageSets/Segmentation/trainaug.txt", ["2009_1"])
    with pytest.raises(EmptySplitError, match="'trainaug' needs SBD"):
        VOC(root, "trainaug")


def test_the_archive_may_be_unpacked_anywhere_above(root, tmp_path):
    assert VOC(tmp_path, "val").root == VOC(tmp_path / "VOCdevkit", "val").root == root


def test_beside_other_years_2012_is_meant(root, tmp_path):
    write_voc(tmp_path / "VOCdevkit/VOC2007")
    assert VOC(tmp_path / "VOCdevkit", "val").root == root
    assert VOC(tmp_path / "VOCdevkit/VOC2007", "val").root.name == "VOC2007"


def test_borders_are_ignored_and_the_palette_does_not_matter(root):
    write_mask(root / "SegmentationClass/2008_1.png", 255)
    write_mask(root / "SegmentationClass/2008_2.png", 20)
    dataset = VOC(root, "val")
    assert dataset[0].labels.unique().tolist() == [IGNORE]
    assert dataset.label_space.names[dataset[1].labels.unique().item()] == "tvmonitor"


def test_the_check_looks_into_matlab_files(root, tmp_path):
    folder = tmp_path / "benchmark_RELEASE/dataset"
    write_sbd(folder)
    (folder / "cls/2009_1.mat").write_bytes(b"<html>404 Not Found</html>" * 9)
    (folder / "cls/2009_2.mat").unlink()
    problems = {problem.kind: problem.examples for problem in check_dataset(VOC(root, "trainaug"), workers=1).errors}
    assert problems.keys() == {"missing_mask", "unreadable_mask"}
    assert problems["missing_mask"][0].endswith("benchmark_RELEASE/dataset/cls/2009_2.mat")
    assert "2009_1.mat cannot be decoded as a MATLAB file: " in problems["unreadable_mask"][0]


def test_a_quick_check_compares_the_sizes_of_matlab_files(root, tmp_path):
    folder = tmp_path / "benchmark_RELEASE/dataset"
    write_sbd(folder)
    savemat(folder / "cls/2009_2.mat", {"GTcls": {"Segmentation": np.zeros((5, 8), np.uint8)}})
    report = check_dataset(VOC(root, "trainaug"), workers=1, limit=1)
    assert [problem.kind for problem in report.errors] == ["size_mismatch"]
    assert "8×5, its image 8×6" in report.errors[0].examples[0]


def test_an_unknown_id_of_a_matlab_file_is_named(root, tmp_path):
    folder = tmp_path / "benchmark_RELEASE/dataset"
    write_sbd(folder)
    savemat(folder / "cls/2009_2.mat", {"GTcls": {"Segmentation": np.full(SIZE, 21, np.uint8)}})
    with pytest.raises(MultisegError, match=r"2009_2\.mat: id 21 is no class of 'voc'"):
        VOC(root, "trainaug")[3]
