"""What every reader keeps, found by discovery, on a fake tree of its layout."""

import contextlib
import json
import pickle

import pytest
import torch

import fake_trees
from multiseg.datasets import all_readers, find_reader
from multiseg.datasets.packed import PackedSplit
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.label_space import IGNORE

#: Packed datasets are no layout that lies on disk: test_packed.py compares each kind with what it was made from.
READERS = sorted(name for name, reader in all_readers().items() if not issubclass(reader, PackedSplit))

#: Those that take whatever data people have: their cards name no source.
OWN_DATA = ("folder", "images")

pytestmark = pytest.mark.parametrize("reader", READERS)


def recognises(reader, tmp_path):
    """For what a reader does to recognise a root: to one without markers every folder is one."""
    if find_reader(reader).missing_marker(tmp_path / "absent") is None:
        pytest.skip("every folder is a root")


@pytest.fixture
def root(reader, tmp_path):
    assert fake_trees.has_writer(reader), f"nothing writes the layout of '{reader}': see fake_trees.py"
    return fake_trees.write(reader, tmp_path / "somewhere" / "root")


def present(reader, root):
    """Its splits that lie there: beyond the first two, a copy may lack some."""
    datasets = []
    for split in find_reader(reader).splits_of(root):
        with contextlib.suppress(EmptySplitError):
            datasets.append(find_reader(reader)(root, split))
    return datasets


def test_every_split_lists_and_reads(reader, root):
    splits = find_reader(reader).splits_of(root)
    assert len(splits) >= (2 if find_reader(reader).labelled else 1)
    datasets = present(reader, root)
    assert [dataset.split for dataset in datasets][:2] == list(splits[:2])
    for dataset in datasets:
        assert len(dataset) >= 1
        for index in range(len(dataset)):
            sample = dataset[index]
            height, width = fake_trees.SIZES[index]
            assert sample.image.shape == (3, height, width)
            assert sample.image.dtype == torch.uint8
            assert sample.labels.shape == (height, width)
            assert sample.labels.dtype == torch.int16
            assert IGNORE <= sample.labels.min() <= sample.labels.max() < len(dataset.label_space)
            assert sample.space is dataset.label_space
            assert dataset.labelled == bool(sample.space.classes)


def test_keys_are_unique_and_the_order_is_fixed(reader, root):
    for first, second in zip(present(reader, root), present(reader, root), strict=True):
        keys = [first[index].key for index in range(len(first))]
        assert len(set(keys)) == len(keys)
        assert keys == [second[index].key for index in range(len(second))]


def test_splits_do_not_share_images(reader, root):
    seen = {}
    for dataset in present(reader, root)[:2]:  # further splits may be larger versions of these
        for index in range(len(dataset)):
            assert seen.setdefault(dataset.image_path(index), dataset.split) == dataset.split


def test_the_check_finds_nothing(reader, root):
    for dataset in present(reader, root):
        report = check_dataset(dataset, workers=1)
        kinds = [problem.kind for problem in report.problems]
        assert kinds == (["withheld_labels"] if dataset.split in dataset.withheld_splits else []), str(report)


def test_the_parent_of_the_root_will_do(reader, root, tmp_path):
    recognises(reader, tmp_path)
    split = find_reader(reader).splits_of(root.parent)[0]
    assert find_reader(reader)(root.parent, split).root == root


def test_a_parent_of_two_roots_is_refused(reader, root, tmp_path):
    recognises(reader, tmp_path)
    fake_trees.write(reader, root.parent / "other")
    with pytest.raises(MultisegError, match="several such folders, name one: other, root"):
        find_reader(reader).find_root(root.parent)


def test_a_missing_root_is_named(reader, root):
    with pytest.raises(MultisegError, match="absent does not exist"):
        find_reader(reader)(root / "absent", "train")


def test_a_folder_of_another_layout_is_refused_in_one_line(reader, tmp_path):
    recognises(reader, tmp_path)
    with pytest.raises(MultisegError, match=f"{reader}: .* has no '.*'; expected: ") as error:
        find_reader(reader)(tmp_path, "train")
    assert "\n" not in str(error.value)


def test_an_unknown_split_names_the_nearest(reader, root):
    with pytest.raises(MultisegError, match="no split 'trian'; did you mean 'train'"):
        find_reader(reader)(root, "trian")


def test_an_empty_split_is_refused(reader, root):
    split = find_reader(reader).splits_of(root)[0]
    for path in list(root.rglob("*.txt")):
        path.write_text("")
    for path in list(root.rglob("*.json")):
        index = json.loads(path.read_text())
        if "images" in index:
            path.write_text(json.dumps({**index, "images": [], "annotations": []}))
        else:
            path.unlink()
    for path in [*root.rglob("*.jpg"), *root.rglob("*.png")]:
        path.unlink()
    with pytest.raises(MultisegError, match=f"split '{split}' of {reader} has no images"):
        find_reader(reader)(root, split)


def test_the_name_of_a_run_reaches_the_label_space(reader, root):
    dataset = find_reader(reader)(root, "train", name="mine")
    assert dataset.name == dataset.label_space.name == dataset[0].space.name == "mine"
    assert find_reader(reader)(root, "train").name == ("harbour" if reader == "folder" else reader)


def test_it_travels_to_workers(reader, root):
    dataset = find_reader(reader)(root, "train")
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0].labels, dataset[0].labels)


def test_the_card_is_complete(reader, root):
    card = find_reader(reader).card
    assert card.title and card.license and card.layout
    if reader not in OWN_DATA:
        assert card.url.startswith("https://")
        assert card.citation
