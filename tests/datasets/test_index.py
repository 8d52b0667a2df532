"""The index of files: remembered, forgotten in time, small, and never trusted blindly."""

import os
import pickle
import time

import numpy as np
import pytest

import fake_trees
from multiseg.datasets import find_reader
from multiseg.datasets.base import Listing, PairTable, index

TREES = ("camvid", "cityscapes", "folder", "idd_lite", "labelmefacade")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and every listing worth keeping."""
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "WORTHWHILE", 0.0)
    return tmp_path / "cache/index"


def settle(root):
    """As if nothing below had changed for an hour."""
    past = time.time() - 3600
    for path in [root, *root.rglob("*")]:
        os.utime(path, (past, past))


def pairs(dataset):
    return [dataset.pairs[place] for place in range(len(dataset))]


@pytest.fixture(params=TREES)
def reader(request):
    return find_reader(request.param)


@pytest.fixture
def root(reader, tmp_path):
    root = fake_trees.write(reader.reader, tmp_path / "root")
    settle(root)
    return root


def test_the_second_time_nothing_is_listed(reader, root, cache, monkeypatch):
    first = reader(root, "train")
    assert len(list(cache.glob("*.npz"))) == 1
    assert not list(cache.glob("*.partial"))
    monkeypatch.setattr(reader, "list_pairs", lambda self: pytest.fail("the files were listed again"))
    second = reader(root, "train")
    assert pairs(second) == pairs(first)
    np.testing.assert_array_equal(second[0].labels, first[0].labels)


def test_splits_and_copies_have_indices_of_their_own(reader, root, cache):
    reader(root, "train"), reader(root, reader.splits_of(root)[1])
    assert len(list(cache.glob("*.npz"))) == 2


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_a_change_in_a_folder_is_noticed(tmp_path, cache, change):
    root = fake_trees.write("cityscapes", tmp_path / "root")
    settle(root)
    reader = find_reader("cityscapes")
    before = pairs(reader(root, "train"))
    image = root / before[0][0]
    if change == "added":
        fake_trees.write_image(image.with_name("aachen_000099_000019_leftImg8bit.png"), (4, 4))
        fake_trees.write_mask(root / before[0][1].replace("000000", "000099"), (4, 4), (7,))
    elif change == "removed":
        image.unlink()
        (root / before[0][1]).unlink()
    else:
        image.rename(image.with_name("aachen_000055_000019_leftImg8bit.png"))
    after = pairs(reader(root, "train"))
    assert after != before


def test_a_new_folder_is_noticed(tmp_path):
    root = fake_trees.write("cityscapes", tmp_path / "root")
    settle(root)
    before = len(find_reader("cityscapes")(root, "train"))
    fake_trees.write_image(root / "leftImg8bit/train/zurich/zurich_000000_000019_leftImg8bit.png", (4, 4))
    assert len(find_reader("cityscapes")(root, "train")) == before + 1


def test_a_changed_list_is_noticed(tmp_path):
    root = fake_trees.write("labelmefacade", tmp_path / "root")
    settle(root)
    assert len(find_reader("labelmefacade")(root, "train")) == 2
    (root / "train.txt").write_text("images/street_a.jpg\n")
    assert len(find_reader("labelmefacade")(root, "train")) == 1


def test_the_description_of_own_data_belongs_to_the_index(tmp_path):
    root = fake_trees.write("folder", tmp_path / "root")
    settle(root)
    assert len(find_reader("folder")(root, "train")) == 2
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("images/train, masks: masks/train", "images/val, masks: masks/val"))
    settle(root)
    assert pairs(find_reader("folder")(root, "train")) == [("images/val/9.jpg", "masks/val/9.png")]


def test_a_tree_that_is_still_being_written_is_not_remembered(tmp_path, cache):
    root = fake_trees.write("cityscapes", tmp_path / "root")
    find_reader("cityscapes")(root, "train")
    assert not list(cache.glob("*"))


def test_a_quick_listing_is_not_remembered(reader, root, cache, monkeypatch):
    monkeypatch.setattr(index, "WORTHWHILE", 60.0)
    reader(root, "train")
    assert not cache.exists()


@pytest.mark.parametrize("damage", [b"", b"PK", b"no archive", None])
def test_a_damaged_index_is_made_again(reader, root, cache, damage):
    expected = pairs(reader(root, "train"))
    (file,) = cache.glob("*.npz")
    file.write_bytes(file.read_bytes()[:200] if damage is None else damage)
    assert pairs(reader(root, "train")) == expected
    assert pairs(reader(root, "train")) == expected


def test_an_index_of_another_version_of_the_reader_is_not_used(reader, root, cache, monkeypatch):
    reader(root, "train")
    monkeypatch.setattr("multiseg.datasets.base.dataset.code_of", lambda file: "another")
    reader(root, "train")
    assert len(list(cache.glob("*.npz"))) == 2


def test_a_reader_without_a_source_file_is_not_remembered(tmp_path, cache):
    root = fake_trees.write("camvid", tmp_path / "root")
    settle(root)
    notebook = type("Notebook", (find_reader("camvid"),), {"__module__": "__notebook__"})
    assert len(notebook(root, "train")) == 2
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_done_without(reader, root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "file"))
    assert len(reader(root, "train"))


def test_a_pair_takes_less_than_two_hundred_bytes():
    names = [(f"images/train2017/{n:012d}.jpg", f"stuffthingmaps/train2017/{n:012d}.png") for n in range(10_000)]
    table = PairTable(names)
    assert len(pickle.dumps(table)) / len(table) < 100
    assert table[9_999] == names[9_999]


def test_every_place_looked_into_is_remembered(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    listing = Listing(tmp_path)
    list(listing.pairs("images", "masks", (".jpg",), (".png",)))
    assert set(listing.places) == {"images", "images/a", "masks"}
    assert listing.exists("more/x.txt") is False
    assert listing.places["more"] is None
    assert listing.names("images") == ["a"]


def test_a_folder_that_changes_between_two_looks_is_known_as_it_first_was(tmp_path):
    (tmp_path / "masks").mkdir()
    os.utime(tmp_path / "masks", (1, 1))
    listing = Listing(tmp_path)
    assert not listing.exists("masks/a.png")
    (tmp_path / "masks/a.png").touch()
    assert listing.names("masks") == ["a.png"]
    assert listing.places["masks"][0] == 1_000_000_000


def test_many_files_are_indexed_in_seconds_and_again_in_a_fraction(tmp_path):
    """20,000 pairs here; the figures for 120,000 are in docs/results.md."""
    root = tmp_path / "root"
    for folder in ("images/train", "masks/train", "images/val", "masks/val"):
        (root / folder).mkdir(parents=True)
    for number in range(20_000):
        (root / f"images/train/{number:06d}.jpg").touch()
        (root / f"masks/train/{number:06d}.png").touch()
    (root / "dataset.yaml").write_text(fake_trees.HARBOUR)
    settle(root / "images")
    settle(root / "masks")
    os.utime(root / "dataset.yaml", (1, 1))
    started = time.perf_counter()
    assert len(find_reader("folder")(root, "train")) == 20_000
    first = time.perf_counter() - started
    started = time.perf_counter()
    assert len(find_reader("folder")(root, "train")) == 20_000
    again = time.perf_counter() - started
    assert again < first / 2
    assert first < 10
