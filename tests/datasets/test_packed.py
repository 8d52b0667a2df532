"""A packed dataset is the dataset it was made from: same samples, same batches; what is broken is told in one line."""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import fake_trees
from multiseg.cli import main
from multiseg.configuration import compose, parse_data, with_absolute_roots
from multiseg.datasets import SegmentationDataset, find_reader
from multiseg.datasets.base import shards
from multiseg.datasets.packed import Packed, packed_reader
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.inspection.checking import check_dataset
from multiseg.inspection.statistics import gather_statistics
from multiseg.loading.datamodule import DatasetEntry, is_labelled, open_dataset, reader_of
from multiseg.packing import pack

pytest.importorskip("litdata", reason="the extra `shards` is not installed")

#: Ids in one channel, colours, withheld splits, ids above 255, segments in two formats, no labels.
READERS = ["folder", "labelmefacade", "cityscapes", "ade20k_full", "cityscapes_panoptic", "panoptic", "images"]


def present(reader: str, root: Path) -> list[SegmentationDataset]:
    datasets = []
    for split in find_reader(reader).splits_of(root):
        try:
            datasets.append(find_reader(reader)(root, split))
        except EmptySplitError:
            continue
    return datasets


def assert_same(first, second) -> None:
    assert first.key == second.key
    assert first.space == second.space
    for name in ("image", "labels"):
        one, other = getattr(first, name), getattr(second, name)
        assert type(one) is type(other) and one.dtype == other.dtype and torch.equal(one, other)
    assert (first.segments is None) == (second.segments is None)
    if first.segments is not None:
        for name in ("ids", "classes", "crowd"):
            one, other = getattr(first.segments, name), getattr(second.segments, name)
            assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fake_trees.write("folder", tmp_path / "plain")


@pytest.fixture
def packed(root: Path, tmp_path: Path) -> Path:
    pack(present("folder", root), str(tmp_path / "packed"))
    return tmp_path / "packed"


# The same dataset


@pytest.mark.parametrize("reader", READERS)
def test_every_sample_is_that_of_the_folder(reader, tmp_path):
    plain = present(reader, fake_trees.write(reader, tmp_path / "plain"))
    pack(plain, str(tmp_path / "packed"), shard_bytes=3000)
    packed = packed_reader(tmp_path / "packed")
    assert packed is not None
    assert packed.splits_of(tmp_path / "packed") == tuple(part.split for part in plain)
    for part in plain:
        other = packed(tmp_path / "packed", part.split)
        assert len(other) == len(part)
        assert other.label_space == part.label_space
        assert other.card.license == part.card.license and other.labelled == part.labelled
        assert (other.split in other.withheld_splits) == (part.split in part.withheld_splits)
        for index in (*range(len(part)), 0):
            assert other.pairs[index] == part.pairs[index]
            assert_same(part[index], other[index])


def test_check_and_statistics_say_the_same(root, packed):
    for split in ("train", "val"):
        plain, other = find_reader("folder")(root, split), Packed(packed, split)
        reports = [check_dataset(part, workers=2) for part in (plain, other)]
        assert reports[0].problems == reports[1].problems == ()
        assert reports[0].class_pixels == reports[1].class_pixels
        assert reports[0].digests.tolist() == reports[1].digests.tolist()
        counted = [gather_statistics(part, workers=2) for part in (plain, other)]
        assert counted[0].classes == counted[1].classes and counted[0].sizes == counted[1].sizes


def test_a_photograph_turned_by_its_exif_tag_stays_turned(root, tmp_path):
    path = root / "images/val/9.jpg"
    picture, exif = Image.open(path), Image.Exif()
    size = picture.size
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    pack(present("folder", root), str(tmp_path / "packed"))
    assert Packed(tmp_path / "packed", "val")[0].image.shape[-2:] == (size[1], size[0])
    assert_same(find_reader("folder")(root, "val")[0], Packed(tmp_path / "packed", "val")[0])


def test_packed_again_it_is_the_same_and_knows_its_reader(packed, tmp_path):
    pack([Packed(packed, "val")], str(tmp_path / "again"))
    assert_same(Packed(packed, "val")[0], Packed(tmp_path / "again", "val")[0])
    assert packed_reader(tmp_path / "again", stated="folder") is Packed
    assert Packed.splits_of(tmp_path / "again") == ("val",)


@pytest.mark.parametrize("workers", [0, 2])
def test_it_travels_to_workers(root, packed, workers):
    plain, other = find_reader("folder")(root, "train"), pickle.loads(pickle.dumps(Packed(packed, "train")))
    other[0]  # what is open in this process must not be used in another
    loader = DataLoader(other, batch_size=None, num_workers=workers, shuffle=False)
    for index, sample in enumerate(loader):
        assert_same(plain[index], sample)


# In place of a root


@pytest.mark.parametrize(
    ("name", "reader", "inside"),
    [("harbour", None, False), ("camvid", None, False), ("x", "folder", False), ("x", "packed", True)],
)
def test_a_packed_root_is_recognised(packed, name, reader, inside):
    entry = DatasetEntry(packed.parent / "packed" if not inside else _apart(packed), reader)
    assert reader_of(name, entry) is Packed
    assert open_dataset(name, entry, "train").label_space.name == name
    assert open_dataset(name, entry, "val").split == "val"


def _apart(packed: Path) -> Path:
    folder = packed.parent / "apart"
    shutil.copytree(packed, folder / "harbour")
    return folder


def test_another_reader_than_it_was_packed_with_is_refused(packed):
    with pytest.raises(MultisegError, match="packed with the reader 'folder', not 'camvid'"):
        reader_of("x", DatasetEntry(packed, "camvid"))


def test_images_without_labels_are_known_to_have_none(tmp_path):
    pack(present("images", fake_trees.write("images", tmp_path / "plain")), str(tmp_path / "packed"))
    assert not is_labelled("photos", DatasetEntry(tmp_path / "packed"))
    with pytest.raises(MultisegError, match="no labels"):
        open_dataset("photos", DatasetEntry(tmp_path / "packed"), "val")


def test_a_url_survives_command_line_and_configuration():
    (entry,) = parse_data(["x:folder=s3://bucket/a b/x/"]).values()
    assert entry == {"root": "s3://bucket/a b/x", "reader": "folder"}
    config = with_absolute_roots(compose(["multi_head"], ["x=s3://bucket/x"]))
    assert config["data"]["datasets"]["x"]["root"] == "s3://bucket/x"


# The command


def test_the_command(root, tmp_path, capsys):
    assert main(["datasets", "pack", f"mine:folder={root}", "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["mine"]
    assert told["root"] == str(tmp_path / "out/mine")
    assert [(split["split"], split["images"]) for split in told["splits"]] == [("train", 2), ("val", 1)]
    assert Packed(tmp_path / "out", "train").label_space.name == "harbour"
    again = ["datasets", "pack", f"mine:folder={root}", "--out", str(tmp_path / "out"), "--splits"]
    assert main([*again, "val"]) == 2
    assert "out/mine is not empty" in capsys.readouterr().err
    assert main([*again, "vol"]) == 2
    assert "did you mean 'val'" in capsys.readouterr().err


def test_every_broken_file_is_named_and_nothing_is_left(root, tmp_path, capsys):
    (root / "images/train/7.jpg").write_bytes((root / "images/train/7.jpg").read_bytes()[:200])
    fake_trees.write_mask(root / "masks/val/9.png", fake_trees.SIZES[0], (0, 1, 77))
    assert main(["datasets", "pack", f"mine:folder={root}", "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err.replace("\n", " ")
    assert "images/train/7.jpg" in errors and "masks/val/9.png" in errors and "2 samples cannot be read" in errors
    assert list((tmp_path / "out").iterdir()) == []


def test_interrupted_it_leaves_nothing(root, tmp_path):
    def interrupt(more: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(present("folder", root), str(tmp_path / "out/packed"), progress=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


# What is broken


def read_all(packed: Path) -> None:
    dataset = Packed(packed, "train")
    dataset.require_shards()
    for index in range(len(dataset)):
        dataset[index]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def age(path: Path) -> None:
    path.write_text(path.read_text().replace('"multiseg_packed": 1', '"multiseg_packed": 9'))


def climb(path: Path) -> None:
    path.write_text(path.read_text().replace('"0-train"', '"../0-train"'))


def escape(path: Path) -> None:
    path.write_text(path.read_text().replace("chunk-0-0.bin", "../chunk-0-0.bin"))


def unpickle(path: Path) -> None:
    path.write_text(path.read_text().replace('"bytes"', '"pickle"'))


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("0-train/chunk-0-0.bin", Path.unlink, "the shard .*0-train/chunk-0-0.bin is missing"),
        ("0-train/chunk-0-0.bin", cut, "the shard .*0-train/chunk-0-0.bin has .* bytes, not"),
        ("0-train/chunk-0-0.bin", flip, "the shard .*0-train/chunk-0-0.bin is damaged"),
        ("0-train/index.json", Path.unlink, "0-train/index.json is missing"),
        ("0-train/index.json", cut, "0-train/index.json is damaged"),
        ("0-train/index.json", unpickle, "0-train/index.json was not written by `multiseg datasets pack`"),
        ("0-train/index.json", escape, "0-train/index.json was not written by `multiseg datasets pack`"),
        ("0-train/files.npz", cut, "0-train/files.npz is missing or damaged"),
        ("packed.json", cut, "packed.json is missing, damaged or not of a packed dataset"),
        ("packed.json", climb, "packed.json is missing, damaged or not of a packed dataset"),
        ("packed.json", age, "packed.json is of version 9 of the layout, this multiseg reads 1"),
    ],
)
def test_what_is_broken_is_named_in_one_line(packed, file, harm, message):
    harm(packed / file)
    with pytest.raises(MultisegError, match=message) as error:
        read_all(packed)
    assert "\n" not in str(error.value)


def test_a_missing_shard_is_found_by_the_check(packed):
    (packed / "0-train/chunk-0-0.bin").unlink()
    report = check_dataset(Packed(packed, "train"), workers=1)
    assert "missing_image" in [problem.kind for problem in report.problems]


def test_without_litdata_the_extra_is_named(packed, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata", None)
    with pytest.raises(MultisegError, match=r"pip install 'multiseg\[shards\]'"):
        Packed(packed, "train")


# Object storage


class Storage:
    """What litdata's providers do, on a folder; the real protocol is spoken in `test_object_storage.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads: list[str] = []
        self.down = False

    def place(self, url: str) -> Path:
        if self.down:
            raise ConnectionError("the network is down\nand more")
        return self.folder / url.removeprefix("s3://")

    def upload_file(self, path: str, url: str) -> None:
        self.place(url).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, self.place(url))

    def download_file(self, url: str, path: str) -> None:
        shutil.copy(self.place(url), path)
        self.downloads.append(url)

    def is_empty(self, url: str) -> bool:
        return not self.place(url).exists()


@pytest.fixture
def storage(tmp_path, monkeypatch) -> Storage:
    storage = Storage(tmp_path / "storage")
    monkeypatch.setattr(shards, "_storage", lambda url: storage)
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    shards._mirrored.cache_clear()
    return storage


URL = "s3://bucket/harbour"


def test_shards_are_fetched_once_and_only_when_needed(root, storage):
    pack(present("folder", root), URL, shard_bytes=1000)
    plain, dataset = find_reader("folder")(root, "train"), open_dataset("harbour", DatasetEntry(URL), "train")
    assert not [url for url in storage.downloads if url.endswith(".bin")]
    assert_same(plain[1], dataset[1])
    assert_same(plain[1], dataset[1])
    assert [url for url in storage.downloads if url.endswith(".bin")] == [f"{URL}/0-train/chunk-0-1.bin"]
    assert dataset.location == URL
    with pytest.raises(MultisegError, match=f"{URL} is not empty"):
        pack([plain], URL)


def test_what_is_packed_anew_is_fetched_anew(root, storage):
    pack(present("folder", root), URL)
    first = open_dataset("harbour", DatasetEntry(URL), "train")[0]
    shutil.rmtree(storage.place(URL))
    fake_trees.write_image(root / "images/train/7.jpg", fake_trees.SIZES[0], seed=5)
    pack(present("folder", root), URL)
    shards._mirrored.cache_clear()  # another process
    assert not torch.equal(open_dataset("harbour", DatasetEntry(URL), "train")[0].image, first.image)


def test_a_lost_network_is_told_in_one_line(root, storage):
    pack(present("folder", root), URL, shard_bytes=1000)
    dataset = open_dataset("harbour", DatasetEntry(URL), "train")
    storage.down = True
    with pytest.raises(MultisegError, match=r"0-train/chunk-0-0.bin cannot be read: the network is down$"):
        dataset[0]
    storage.down = False
    dataset[0]
    assert not list(dataset.root.rglob("*.partial"))


def test_an_upload_that_fails_cannot_be_taken_for_a_dataset(root, storage):
    with pytest.raises(KeyboardInterrupt):
        pack(present("folder", root), URL, shard_bytes=1000, progress=interrupt_after(2))
    assert storage.place(URL).exists()
    with pytest.raises(MultisegError, match=f"{URL}/packed.json cannot be read"):
        open_dataset("harbour", DatasetEntry(URL), "train")


def interrupt_after(count: int):
    done = []

    def progress(more: int) -> None:
        done.append(more)
        if len(done) == count:
            raise KeyboardInterrupt

    return progress


def test_other_places_are_refused():
    with pytest.raises(MultisegError, match=r"ftp://x/y.*: packed datasets lie in a folder, at s3://"):
        open_dataset("x", DatasetEntry("ftp://x/y"), "train")


# Memory


def write_small(root: Path, count: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    Image.fromarray(pixels).save(root / "images/0.png")
    Image.fromarray(pixels[..., 0] % 2).save(root / "masks/0.png")
    for number in range(1, count):
        os.link(root / "images/0.png", root / f"images/{number}.png")
        os.link(root / "masks/0.png", root / f"masks/{number}.png")
    (root / "dataset.yaml").write_text(
        "name: small\nclasses: [a, b]\nsplits: {train: {images: images, masks: masks}}\n"
    )
    return root


def memory() -> int:
    """Bytes of this process in memory, files mapped into it included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_memory_and_open_files_are_flat_over_an_epoch(kind, tmp_path):
    count = 600
    dataset = find_reader("folder")(write_small(tmp_path / "plain", count), "train")
    if kind == "packed":
        pack([dataset], str(tmp_path / "packed"), shard_bytes=250_000)
        dataset = Packed(tmp_path / "packed", "train")
        assert len(dataset.shards.names) > 20
    order = np.random.default_rng(0).permutation(count).tolist()
    for index in range(50):  # of the first shards only: pages of the others must not count as held before
        dataset[index]
    before, files = memory(), len(os.listdir("/proc/self/fd"))
    for index in order:
        dataset[index]
    # all images together have 10 MB decoded and 8 MB as files: what is kept would be seen
    assert memory() - before < 4e6
    assert len(os.listdir("/proc/self/fd")) <= files + 4
