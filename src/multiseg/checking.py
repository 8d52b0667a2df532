"""What is wrong with a dataset, found before training starts rather than in its third hour.

Every file is looked for, every header read; images and masks are decoded, all of them or an even sample.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import image_size, read_image
from multiseg.errors import MultisegError
from multiseg.label_space import UnknownIdsError

#: So many file names, ids or classes are shown of each problem.
_SHOWN = 5

#: What each kind of problem is called, and what to do about it. Those of `_ERRORS` stop training.
_ADVICE = {
    "missing_image": "Images do not exist: put them back, or take their masks or lines out of the split.",
    "missing_mask": "Masks do not exist: put them back, or take their images out of the split.",
    "unreadable_image": "Images are damaged or truncated: copy or download them again.",
    "unreadable_mask": "Masks are damaged, truncated or no masks: copy or export them again.",
    "size_mismatch": "Masks have another size than their images: export both at the same size.",
    "unknown_id": "Masks hold values that are neither a class nor ignored: add each to the classes or the ignored ids.",
    "empty_mask": "Masks are ignored everywhere, nothing can be learned from them: leave them out of the split.",
    "unseen_class": "Classes never occur in this split: it cannot teach them, and evaluation on it leaves them out.",
    "withheld_labels": "The masks of this split are dummies, the true ones are withheld: only predict on it.",
}
_ERRORS = ("missing_image", "missing_mask", "unreadable_image", "unreadable_mask", "size_mismatch", "unknown_id")


@dataclass(frozen=True)
class Problem:
    """One kind of problem in one split.

    Args:
        kind: a key such as `missing_mask`.
        count: how many files have it; for `unknown_id` how many values, for `unseen_class` how many classes.
        examples: the first few of them, with details; files are relative to the root of the dataset.
    """

    kind: str
    count: int
    examples: tuple[str, ...]

    @property
    def is_error(self) -> bool:
        """Whether it stops training."""
        return self.kind in _ERRORS

    @property
    def advice(self) -> str:
        """What it is and what to do about it, in one line."""
        return _ADVICE[self.kind]

    def __str__(self) -> str:
        severity = "error" if self.is_error else "warning"
        rest = self.count - len(self.examples)
        more = (f"… and {rest} more",) if rest else ()
        return "\n    ".join([f"{severity}: {self.kind} ×{self.count}. {self.advice}", *self.examples, *more])


@dataclass(frozen=True)
class CheckReport:
    """What `check_dataset` found.

    Args:
        dataset: its name in the run.
        split: the split looked at.
        root: the folder.
        images: how many samples the split has; every header was read.
        decoded: how many of them were decoded too.
        problems: errors first, each kind once.
        class_pixels: labelled pixels of each class, in the decoded masks.
        ignored_pixels: the remaining ones.
    """

    dataset: str
    split: str
    root: str
    images: int
    decoded: int
    problems: tuple[Problem, ...]
    class_pixels: dict[str, int]
    ignored_pixels: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops training."""
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is odd, but no obstacle."""
        return tuple(problem for problem in self.problems if not problem.is_error)

    @property
    def ok(self) -> bool:
        return not self.errors

    def __str__(self) -> str:
        decoded = "all decoded" if self.decoded == self.images else f"{self.decoded} decoded"
        plural = "s" if len(self.errors) > 1 else ""
        verdict = "ok" if self.ok else f"{len(self.errors)} kind{plural} of error"
        title = f"{self.dataset}/{self.split}: {self.images} images, {decoded}: {verdict}"
        return "\n  ".join([title, *map(str, self.problems)])

    def to_json(self) -> dict[str, Any]:
        problems = [{**asdict(p), "is_error": p.is_error, "advice": p.advice} for p in self.problems]
        return {**asdict(self), "ok": self.ok, "problems": problems}

    def raise_for_errors(self) -> None:
        """Does nothing where training can start.

        Raises:
            MultisegError: it cannot; the message names the first error, its first file, and the command that lists all.
        """
        if self.ok:
            return
        first = self.errors[0]
        others = f" ({len(self.errors) - 1} more kinds of errors)" if len(self.errors) > 1 else ""
        what = f"{first.kind} ×{first.count}, first {first.examples[0]}{others}. {first.advice}"
        command = f"multiseg datasets check {self.dataset}={self.root}"
        raise MultisegError(f"{self.dataset}/{self.split}: {what}\nTo see all: {command}")


def check_dataset(
    dataset: SegmentationDataset,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    limit: int | None = None,
) -> CheckReport:
    """Looks for what would stop or spoil training.

    Args:
        dataset: one split of it.
        workers: threads that decode, by default one a core and at most eight. Both decoders let go of Python's lock, so
            threads are as fast as forked processes, and several times as fast as spawned ones.
        progress: called with (done, total) now and then.
        limit: decode only so many samples, spread evenly over the split; of the others the headers are read. Whether a
            class is never seen is not said then.

    Raises:
        MultisegError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise MultisegError(f"the limit of a check is at least 1, not {limit}.")
    total = len(dataset)
    # samples 0, n/limit, 2n/limit, ...
    sampled = None if limit is None or limit >= total else {place * total // limit for place in range(limit)}
    findings = _Findings(dataset)
    missing_images, missing_masks = dataset.missing_files()
    for kind, missing in (("missing_image", missing_images), ("missing_mask", missing_masks)):
        for index in missing:
            findings.add(kind, dataset.pairs[index][kind == "missing_mask"])
    no_image, no_mask = set(missing_images), set(missing_masks)

    def look_at(chunk: range) -> list[_Sample]:
        return [
            _look_at(dataset, index, index not in no_image, index not in no_mask, sampled is None or index in sampled)
            for index in chunk
        ]

    chunks = [range(start, min(start + 32, total)) for start in range(0, total, 32)]
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        try:
            for chunk, samples in zip(chunks, pool.map(look_at, chunks), strict=True):
                for sample in samples:
                    findings.add_sample(sample)
                if progress is not None:
                    progress(chunk.stop, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C need not wait for the rest
            raise
    return findings.report(total, total if sampled is None else len(sampled))


@dataclass
class _Sample:
    """What was found in one sample: problems as (kind, text), raw ids of no class, pixels ignored and of each class."""

    problems: list[tuple[str, str]] = field(default_factory=list)
    mask: str = ""
    unknown_ids: Sequence[int] = ()
    pixels: NDArray[np.int64] | None = None


class _Findings:
    """Gathers samples, in order, into a report."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset
        self.examples: defaultdict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.files_with_id: Counter[int] = Counter()
        self.first_with_id: dict[int, str] = {}
        self.pixels = np.zeros(1 + len(dataset.label_space), np.int64)

    def add(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < _SHOWN:
            self.examples[kind].append(text)

    def add_sample(self, sample: _Sample) -> None:
        for kind, text in sample.problems:
            self.add(kind, text)
        self.files_with_id.update(sample.unknown_ids)
        for raw in sample.unknown_ids:
            self.first_with_id.setdefault(raw, sample.mask)
        if sample.pixels is not None:
            self.pixels += sample.pixels
            if not sample.pixels[1:].any() and not self._withheld:
                self.add("empty_mask", sample.mask)

    def report(self, images: int, decoded: int) -> CheckReport:
        dataset = self.dataset
        for raw, files in self.files_with_id.most_common():
            where = f"in {files} masks, first" if files > 1 else "in"
            self.add("unknown_id", f"{_raw_text(dataset, raw)} {where} {self.first_with_id[raw]}")
        if self._withheld:
            self.add("withheld_labels", f"split '{dataset.split}'")
        elif decoded == images:
            for name, pixels in zip(dataset.label_space.names, self.pixels[1:], strict=True):
                if not pixels:
                    self.add("unseen_class", name)
        return CheckReport(
            dataset=dataset.name,
            split=dataset.split,
            root=str(dataset.root),
            images=images,
            decoded=decoded,
            problems=tuple(Problem(k, self.counts[k], tuple(self.examples[k])) for k in _ADVICE if self.counts[k]),
            class_pixels=dict(zip(dataset.label_space.names, self.pixels[1:].tolist(), strict=True)),
            ignored_pixels=int(self.pixels[0]),
        )

    @property
    def _withheld(self) -> bool:
        return self.dataset.split in self.dataset.withheld_splits


def _look_at(dataset: SegmentationDataset, index: int, has_image: bool, has_mask: bool, decode: bool) -> _Sample:
    image, mask = dataset.pairs[index]
    sample = _Sample(mask=mask)
    image_shape = mask_shape = None
    if has_image:
        path = dataset.image_path(index)
        try:
            image_shape = _decoded_size(path) if decode else image_size(path)
        except MultisegError as error:
            sample.problems.append(("unreadable_image", f"{image} {_reason(error, path)}"))
    if has_mask:
        path = dataset.mask_path(index)
        try:
            mask_shape = _look_at_mask(dataset, index, sample) if decode else image_size(path, turned=False)
        except MultisegError as error:
            sample.problems.append(("unreadable_mask", f"{mask} {_reason(error, path)}"))
    if image_shape and mask_shape and image_shape != mask_shape:
        (height, width), (mask_height, mask_width) = image_shape, mask_shape
        sample.problems.append(("size_mismatch", f"{mask} is {mask_width}×{mask_height}, its image {width}×{height}"))
    return sample


def _decoded_size(path: Path) -> tuple[int, int]:
    _refuse_damaged_png(path)
    height, width = read_image(path).shape[-2:]
    return height, width


def _look_at_mask(dataset: SegmentationDataset, index: int, sample: _Sample) -> tuple[int, int]:
    path = dataset.mask_path(index)
    _refuse_damaged_png(path)
    try:
        labels = dataset.read_labels(index).numpy()
    except UnknownIdsError as error:
        sample.unknown_ids = error.ids
        return image_size(path, turned=False)
    # ignored pixels, which are -1, are counted in front
    sample.pixels = np.bincount((labels + np.int16(1)).ravel(), minlength=1 + len(dataset.label_space))
    height, width = labels.shape
    return height, width


def _refuse_damaged_png(path: Path) -> None:
    """Walks the chunks of a PNG: Pillow overlooks wrong checksums, and a cut within the last rows.

    Of other formats, the decoders notice a truncated file themselves.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise MultisegError(f"{path} cannot be read: {error.strerror}") from None
    if bytes(data[:8]) != b"\x89PNG\r\n\x1a\n":
        return
    # each chunk: length, four letters, content, checksum of letters and content (PNG specification, 5.3)
    start, letters = 8, b""
    while letters != b"IEND":
        content_end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if content_end + 4 > len(data):
            raise MultisegError(f"{path} is truncated.")
        letters = bytes(data[start + 4 : start + 8])
        if zlib.crc32(data[start + 4 : content_end]) != int.from_bytes(data[content_end : content_end + 4], "big"):
            raise MultisegError(f"{path} is damaged: wrong checksum.")
        start = content_end + 4


def _raw_text(dataset: SegmentationDataset, raw: int) -> str:
    if dataset.masks_are_colors:
        return f"colour ({raw % 256}, {raw // 256 % 256}, {raw // 65536})"
    return f"id {raw}"


def _reason(error: MultisegError, path: Path) -> str:
    """The message without the path with which it begins, which stands in front of it already."""
    return str(error).removeprefix(str(path)).strip()
