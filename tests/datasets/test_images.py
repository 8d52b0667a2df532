"""Plain folders of images without masks."""

import pytest
import torch
from PIL import Image

import fake_trees
from multiseg.datasets import find_reader
from multiseg.datasets.base import IMAGE_ENDINGS
from multiseg.datasets.images import Images
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.label_space import IGNORE
from multiseg.wizard.init import published_layouts

SIZE = (20, 24)


def keys(root):
    return [sample.key for sample in Images(root, "train")]


def test_every_image_below_the_root_in_the_order_of_paths(tmp_path):
    names = ["b.jpg", "a/z.png", "a/deep/er/1.webp", "c.JPG", "a.jpeg", "d.TIFF", "e.bmp", "f.ppm", "g.tif"]
    for seed, name in enumerate(names):
        fake_trees.write_image(tmp_path / name, SIZE, seed)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    assert keys(tmp_path) == sorted(names)
    assert {name[name.index(".") :].lower() for name in names} == set(IMAGE_ENDINGS)


def test_what_is_hidden_is_passed_over(tmp_path):
    for name in ("1.jpg", "._1.jpg", ".thumbnails/1.jpg", "a/.b/1.jpg"):
        fake_trees.write_image(tmp_path / name, SIZE)
    assert keys(tmp_path) == ["1.jpg"]


def test_images_that_differ_in_folder_or_extension_only_are_told_apart(tmp_path):
    names = ["a.jpg", "a.png", "a/a.jpg", "b/a.jpg"]
    for name in names:
        fake_trees.write_image(tmp_path / name, SIZE)
    assert keys(tmp_path) == names


def test_folders_may_be_links(tmp_path):
    fake_trees.write_image(tmp_path / "elsewhere/1.jpg", SIZE)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    assert keys(tmp_path / "photos") == ["linked/1.jpg"]


def test_nothing_is_labelled(tmp_path):
    dataset = Images(fake_trees.write_images(tmp_path), "train", "photos")
    assert not dataset.labelled and len(dataset.label_space) == 0
    sample = dataset[0]
    assert sample.labels.dtype == torch.int16 and (sample.labels == IGNORE).all()
    assert torch.equal(sample.labels, dataset.read_labels(0))
    assert dataset.missing_files() == ([], [])
    with pytest.raises(MultisegError, match="photos has no masks"):
        dataset.mask_path(0)


@pytest.mark.parametrize("name", ["1.jpg", "1.png"])
def test_labels_have_the_size_of_the_image_as_its_exif_turns_it(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(tmp_path / name, exif=exif)
    dataset = Images(tmp_path, "train")
    sample = dataset[0]
    assert sample.image.shape[-2:] == sample.labels.shape == dataset.read_labels(0).shape == SIZE[::-1]


def test_an_image_that_is_gone_since_is_found(tmp_path):
    dataset = Images(fake_trees.write_images(tmp_path), "train")
    (tmp_path / "night/7.png").unlink()
    assert dataset.missing_files() == ([1], [])
    with pytest.raises(MultisegError, match=r"night/7\.png does not exist"):
        dataset[1]


def test_a_broken_image_is_named(tmp_path):
    (fake_trees.write_images(tmp_path) / "7.jpg").write_bytes(b"no image")
    dataset = Images(tmp_path, "train")
    for read in (dataset.__getitem__, dataset.read_labels):
        with pytest.raises(MultisegError, match=r"7\.jpg cannot be decoded as an image"):
            read(0)


def test_a_new_image_is_seen_though_the_list_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("multiseg.datasets.base.index.WORTHWHILE", 0)
    monkeypatch.setattr("multiseg.datasets.base.index.SETTLED", 0)
    fake_trees.write_images(tmp_path)
    assert keys(tmp_path) == keys(tmp_path) == ["7.jpg", "night/7.png"]
    fake_trees.write_image(tmp_path / "night/8.png", SIZE)
    assert keys(tmp_path) == ["7.jpg", "night/7.png", "night/8.png"]


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(EmptySplitError, match="split 'train' of images has no images; expected: photos/"):
        Images(tmp_path, "train")


def test_a_described_dataset_is_not_taken_for_images(tmp_path):
    fake_trees.write_folder(tmp_path)
    with pytest.raises(MultisegError, match=r"holds a dataset\.yaml"):
        Images(tmp_path, "train")
    assert len(Images(tmp_path / "images", "train")) == 3


def test_it_claims_no_folder_of_its_own_accord(tmp_path):
    assert published_layouts(fake_trees.write_images(tmp_path)) == []
    assert find_reader("images").find_root(tmp_path) == tmp_path
