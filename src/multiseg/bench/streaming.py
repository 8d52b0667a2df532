"""Reading samples of a plain folder in a random order, against the same ones packed into shards."""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from multiseg.batch import Sample
from multiseg.bench.base import Comparison, one_thread
from multiseg.datasets import SegmentationDataset, find_reader
from multiseg.packing import pack

_CLASSES = 19
_PEER = "packed"


def comparisons() -> list[Comparison]:
    """Photographs of two usual sizes, decoded in one thread with their masks; the files are in the page cache."""
    folder = Path(tempfile.mkdtemp(prefix="multiseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [
        _comparison(folder, (480, 640), images=200, read=100, shard_bytes=4_000_000),
        _comparison(folder, (96, 128), images=4000, read=1000, shard_bytes=4_000_000),
    ]


def _comparison(folder: Path, size: tuple[int, int], images: int, read: int, shard_bytes: int) -> Comparison:
    plain = _write(folder / f"{size[1]}_plain", size, images)
    order = np.random.default_rng(0).permutation(images)[:read].tolist()
    opened: list[SegmentationDataset] = []

    def packed() -> list[tuple[str, int]]:
        importlib.import_module("litdata")  # where it is not installed, the others are still to be measured
        if not opened:
            target = folder / f"{size[1]}_packed"
            pack([plain], str(target), shard_bytes)
            opened.append(find_reader("packed")(target, "train"))
        return _read(opened[0], order)

    what = f"{read} of {images} samples {size[1]}×{size[0]} (jpg, png) in random order, one thread"
    return Comparison(
        f"streaming_{size[1]}", what, lambda: _read(plain, order), {_PEER: packed}, list.__eq__, repeats=7
    )


def _read(dataset: SegmentationDataset, order: Sequence[int]) -> list[tuple[str, int]]:
    """Keys of the samples, and a sum over their images and labels."""
    with one_thread():
        return [_summary(dataset[index]) for index in order]


def _summary(sample: Sample) -> tuple[str, int]:
    # a few pixels: the sum over all of them would take longer than to decode a small image
    return sample.key, int(sample.image[:, ::16, ::16].sum()) * 31 + int(sample.labels[::16, ::16].sum())


def _write(root: Path, size: tuple[int, int], images: int) -> SegmentationDataset:
    """A dozen pictures of blurred noise with masks of blocks, each written under many names."""
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(images):
        image, mask = root / f"images/{number:06d}.jpg", root / f"masks/{number:06d}.png"
        if number >= 12:
            shutil.copy(root / f"images/{number % 12:06d}.jpg", image)
            shutil.copy(root / f"masks/{number % 12:06d}.png", mask)
            continue
        coarse = random.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
        Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC).save(image)
        blocks = random.integers(0, _CLASSES, (size[0] // 32, size[1] // 32), np.uint8)
        Image.fromarray(blocks.repeat(32, 0).repeat(32, 1)).save(mask)
    names = ", ".join(f"class {number}" for number in range(_CLASSES))
    (root / "dataset.yaml").write_text(
        f"name: bench\nclasses: [{names}]\nsplits:\n  train: {{images: images, masks: masks}}\n", encoding="utf-8"
    )
    return find_reader("folder")(root, "train")
