"""Writing a dataset as shards: the same images, labels and keys in a few large files.

An image is stored as the bytes of its file, a mask as a PNG of contiguous ids plus one. Every image and mask is decoded
on the way, so what cannot be read is told here and not in training.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from multiseg.batch import Sample
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import Item, ShardWriter, is_vacant, upload
from multiseg.datasets.base.shards import MANIFEST, VERSION
from multiseg.datasets.packed import kind_of
from multiseg.errors import MultisegError
from multiseg.roots import is_url

#: Called with a line about each sample that cannot be packed.
Complaint = Callable[[str], None]


@dataclass(frozen=True)
class WrittenSplit:
    """What was written of a split.

    Args:
        split: its name.
        images: how many.
        shards: how many files hold them.
        bytes: of these files.
    """

    split: str
    images: int
    shards: int
    bytes: int


def pack(
    splits: Sequence[SegmentationDataset],
    out: str,
    shard_bytes: int = 64_000_000,
    progress: Callable[[int], None] = lambda more: None,
    complain: Complaint = lambda line: None,
) -> list[WrittenSplit]:
    """Writes the splits of one dataset to a folder or URL, which holds either all of it or nothing that can be opened.

    Args:
        splits: in the order in which they are to be trained on and evaluated.
        out: a folder that does not exist or is empty, or a URL where nothing lies.
        shard_bytes: about how large a shard may be.
        progress: called with how many more samples are done.
        complain: called with a line about each sample that cannot be read; all are looked at.

    Raises:
        MultisegError: there is something at `out`, it cannot be written, or samples cannot be read.
    """
    if shard_bytes < 1:
        raise MultisegError("a shard must hold at least one byte.")
    with _destination(out) as (folder, finish):
        written, broken = [], 0
        described: dict[str, dict[str, Any]] = {}
        for place, dataset in enumerate(splits):
            name = f"{place}-{re.sub(r'[^A-Za-z0-9_.-]', '_', dataset.split)}"
            writer = ShardWriter(folder / name, shard_bytes)
            shards = size = 0
            finished: list[Path] = []
            for index in range(len(dataset)):
                try:
                    shard = writer.add(item_of(dataset, index))
                except MultisegError as error:
                    broken += 1
                    complain(str(error))
                else:
                    finished += [shard] if shard else []
                if not broken:
                    for path in finished:
                        shards, size = shards + 1, size + path.stat().st_size
                        finish(path)
                    finished = []
                progress(1)
            if broken:
                continue
            for path in writer.close(dataset.pairs.to_arrays()):
                if path.suffix == ".bin":
                    shards, size = shards + 1, size + path.stat().st_size
                finish(path)
            described[dataset.split] = {"folder": name, "images": len(dataset)}
            written.append(WrittenSplit(dataset.split, len(dataset), shards, size))
        if broken:
            raise MultisegError(f"{out} was not written: {broken} sample{'s' * (broken != 1)} cannot be read.")
        (folder / MANIFEST).write_text(json.dumps(_manifest(splits[0], described), ensure_ascii=False, indent=1) + "\n")
        finish(folder / MANIFEST)
    return written


def item_of(dataset: SegmentationDataset, index: int) -> Item:
    """A sample as it is stored.

    Raises:
        MultisegError: it cannot be read.
    """
    sample = dataset[index]
    source = dataset.image_source(index)
    try:
        image = source.read_bytes()
    except OSError as error:
        raise MultisegError(f"{source} cannot be read: {error.strerror}") from None
    return Item(image, *_truth(dataset, sample))


def _truth(dataset: SegmentationDataset, sample: Sample) -> tuple[bytes, bytes]:
    """Mask and segments."""
    if not dataset.labelled:
        return b"", b""
    if sample.segments is None:
        return _png(sample.labels), b""
    told = {"classes": sample.segments.classes.tolist(), "crowd": sample.segments.crowd.tolist()}
    return _png(sample.segments.ids), json.dumps(told, separators=(",", ":")).encode()


def _png(ids: torch.Tensor) -> bytes:
    """Contiguous ids plus one, in 8 bits where that is enough. Shape: (H, W)."""
    raw = ids.as_subclass(torch.Tensor).numpy().astype(np.int32) + 1
    stored = raw.astype(np.uint8 if raw.size == 0 or raw.max() < 256 else np.uint16)
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG")
    return file.getvalue()


def _manifest(dataset: SegmentationDataset, splits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    card = asdict(dataset.card)
    del card["layout"]
    return {
        "multiseg_packed": VERSION,
        # packed again to the same URL, a dataset must not be read from the copy of the old one in a cache
        "id": os.urandom(8).hex(),
        "kind": kind_of(type(dataset)),
        "reader": dataset.made_by,
        "card": card,
        "label_space": dataset.label_space.to_json(),
        "withheld_splits": [split for split in dataset.withheld_splits if split in splits],
        "splits": splits,
    }


@contextmanager
def _destination(out: str) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """A folder to write to, and what is to be called with each file that is finished; nothing is left after errors.

    A folder takes its name when all is there; to a URL files are moved one by one, the description last.
    """
    if is_url(out):
        if not is_vacant(out):
            raise MultisegError(f"{out} is not empty; give another --out, or delete what lies there.")
        with tempfile.TemporaryDirectory(prefix="multiseg-pack-") as text:
            scratch = Path(text)

            def move(path: Path) -> None:
                upload(path, f"{out}/{path.relative_to(scratch).as_posix()}")
                path.unlink()

            yield scratch, move
        return
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise MultisegError(f"{target} is not empty; give another --out, or delete it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield unfinished, lambda path: None
        unfinished.chmod(0o777 & ~_umask())  # mkdtemp makes folders that nobody else can read
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
