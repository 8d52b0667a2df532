"""What is wrong with a dataset, found before training starts rather than in its third hour.

Every file is looked for; images and masks are decoded, all of them or an even sample.
"""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import PanopticDataset
from multiseg.errors import MultisegError
from multiseg.inspection.passing import Progress, evenly_spread, in_threads
from multiseg.inspection.sample import Inspection, inspect_sample
from multiseg.label_space import raw_text

#: So many file names, ids or classes are shown of each problem.
_SHOWN = 5

#: Where only some samples are decoded, the headers of so many are read: 120,000 pairs would take a quarter of a minute
#: at least, and minutes from a slow disk.
_HEADERS = 4000

#: So many unknown ids are counted one by one; a dataset with more has another fault.
_MOST_IDS = 10_000

#: What a problem does: an error stops training, a warning may spoil it, a note is good to know.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

#: Every kind of problem: how bad it is, what it is, and what to do about it.
PROBLEMS: dict[str, tuple[Severity, str]] = {
    "broken_split": ("error", "The split cannot be listed: mend what the line below names."),
    "missing_image": ("error", "Images do not exist: put them back, or take their masks or lines out of the split."),
    "missing_mask": ("error", "Masks do not exist: put them back, or take their images out of the split."),
    "unreadable_image": ("error", "Images are damaged or truncated: copy or download them again."),
    "unreadable_mask": ("error", "Masks are damaged, truncated or no masks: copy or export them again."),
    "colored_mask": (
        "error",
        "Masks hold colours where ids are expected: give the masks of ids, or say 'encoding: colors' in dataset.yaml.",
    ),
    "lossy_mask": ("error", "Masks are JPEG, which blurs ids into others: export them again from the source, as PNG."),
    "size_mismatch": ("error", "Masks have another size than their images: export both at the same size."),
    "unknown_id": (
        "error",
        "Masks hold values that are neither a class nor ignored: add each to the classes or the ignored ids.",
    ),
    "unknown_segment": (
        "error",
        "Masks hold segments without a class or a record: take masks and records from the same release.",
    ),
    "uncolored_mask": (
        "warning",
        "Masks are grey where colours are expected: if they hold ids, take 'encoding: colors' out of dataset.yaml.",
    ),
    "odd_mask": (
        "warning",
        "Masks are saved in another mode than most: see that their values mean the same, and save all alike.",
    ),
    "unclear_turn": (
        "warning",
        "Images are turned by an EXIF tag, masks never are: see that they fit, or turn the pixels and drop the tag.",
    ),
    "duplicate_image": ("warning", "The same picture occurs again in the split: leave one out, or it counts twice."),
    "leaked_image": (
        "warning",
        "The same picture is in a split that must share none: leave one out, or scores come out too good.",
    ),
    "empty_mask": ("warning", "Masks are ignored everywhere, nothing can be learned from them: leave them out."),
    "unseen_class": (
        "warning",
        "Classes never occur in this split: it cannot teach them, and evaluation on it leaves them out.",
    ),
    "withheld_labels": ("warning", "The masks of this split are dummies, the true ones are withheld: only predict."),
    "shared_image": ("note", "The same picture is in another dataset: it is seen more often in a run with both."),
    "overlapping_split": ("note", "The split lists files of another one: train on one of the two."),
    "turned_image": ("note", "Images are turned on reading, by an EXIF tag; their masks have the turned size."),
    "grey_image": ("note", "Images are grey: they are read with three equal channels."),
    "transparent_image": ("note", "Images have transparency: it is dropped."),
    "cmyk_image": (
        "note",
        "Images are CMYK: they are read as RGB, and colours may differ from what you see elsewhere.",
    ),
    "deep_image": ("note", "Images have 16 bits a channel: the upper eight are read."),
    "multichannel_mask": ("note", "Masks of ids are saved with several channels: the first is read; grey takes less."),
    "deep_mask": ("note", "Masks have 16 bits, though no id needs more than 8."),
    "unseen_segment": ("note", "Records name segments that their mask does not show: they are left out."),
}

#: Pillow's modes of masks, for people.
_MODES = {
    "1": "1-bit grey",
    "L": "8-bit grey",
    "I;16": "16-bit grey",
    "I;16B": "16-bit grey",
    "I": "32-bit grey",
    "P": "palette",
    "LA": "grey with transparency",
    "PA": "palette with transparency",
    "RGBA": "RGB with transparency",
}
_ONE_CHANNEL = ("1", "L", "I;16", "I;16B", "I", "P")


@dataclass(frozen=True)
class Problem:
    """One kind of problem in one split.

    Args:
        kind: a key of `PROBLEMS`.
        count: how many files have it; for `unknown_id` how many values, for `unseen_class` how many classes.
        examples: the first few of them, with details; files are relative to the root of the dataset.
    """

    kind: str
    count: int
    examples: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        return PROBLEMS[self.kind][0]

    @property
    def is_error(self) -> bool:
        """Whether it stops training."""
        return self.severity == "error"

    @property
    def advice(self) -> str:
        """What it is and what to do about it, in one line."""
        return PROBLEMS[self.kind][1]

    def __str__(self) -> str:
        rest = self.count - len(self.examples)
        more = (f"… and {rest} more",) if rest else ()
        return "\n    ".join([f"{self.severity}: {self.kind} ×{self.count}. {self.advice}", *self.examples, *more])


@dataclass(frozen=True)
class CheckReport:
    """What `check_dataset` found.

    Args:
        dataset: its name in the run.
        split: the split looked at.
        root: the folder.
        images: how many samples the split has; every file was looked for.
        headers: of how many of them the headers were read.
        decoded: how many of those were decoded too.
        problems: errors first, then warnings, then notes; each kind once.
        class_pixels: labelled pixels of each class, in the decoded masks.
        ignored_pixels: the remaining ones.
        digests: the content of each image as a number, 0 where it was not decoded, by which `compare_splits` finds
            pictures again. Shape: (images,) uint64.
    """

    dataset: str
    split: str
    root: str
    images: int
    headers: int
    decoded: int
    problems: tuple[Problem, ...]
    class_pixels: dict[str, int]
    ignored_pixels: int
    digests: NDArray[np.uint64] = field(compare=False, repr=False)

    def of_severity(self, severity: Severity) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == severity)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops training."""
        return self.of_severity("error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What may spoil it."""
        return self.of_severity("warning")

    @property
    def ok(self) -> bool:
        return not self.errors

    def __str__(self) -> str:
        looked_at = "all decoded" if self.decoded == self.images else f"{self.decoded} decoded"
        if self.headers < self.images:
            looked_at += f", headers of {self.headers} read"
        plural = "s" if len(self.errors) > 1 else ""
        verdict = "ok" if self.ok else f"{len(self.errors)} kind{plural} of error"
        title = f"{self.dataset}/{self.split}: {self.images} images, {looked_at}: {verdict}"
        return "\n  ".join([title, *map(str, self.problems)])

    def to_json(self) -> dict[str, Any]:
        facts = asdict(replace(self, digests=np.zeros(0, np.uint64)))
        del facts["digests"]
        problems = [
            {**asdict(p), "severity": p.severity, "is_error": p.is_error, "advice": p.advice} for p in self.problems
        ]
        return {**facts, "ok": self.ok, "problems": problems}

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


def samples_to_check(total: int, limit: int | None) -> tuple[Sequence[int], Sequence[int]]:
    """The places whose headers `check_dataset` reads, and those among them that it decodes.

    Raises:
        MultisegError: the limit is not positive.
    """
    decoded = evenly_spread(total, limit)
    if len(decoded) == total:
        return decoded, decoded
    return sorted({*decoded, *evenly_spread(total, max(_HEADERS, len(decoded)))}), decoded


def check_dataset(
    dataset: SegmentationDataset,
    workers: int | None = None,
    progress: Progress | None = None,
    limit: int | None = None,
) -> CheckReport:
    """Looks for what would stop or spoil training.

    Every file is looked for (a third of a second for 120,000 pairs), and every one decoded. With a limit this is a
    matter of seconds for any dataset: an even sample is decoded, and of a larger one, of a few thousand, the headers
    are read; the command `multiseg datasets check` is for looking at all.

    Args:
        dataset: one split of it.
        workers: threads; by default one a core and at most eight.
        progress: called now and then with how many of the samples looked into are done.
        limit: decode only so many samples, spread evenly over the split. Whether a class is never seen is not said
            then.

    Raises:
        MultisegError: the limit or the number of workers is not positive.
    """
    total = len(dataset)
    headers, decoded = samples_to_check(total, limit)
    missing_images, missing_masks = dataset.missing_files()
    findings = _Findings(dataset)
    for kind, part, missing in (("missing_image", 0, missing_images), ("missing_mask", 1, missing_masks)):
        paths = [dataset.pairs[index][part] for index in missing]
        findings.add(kind, [*(_with_namesakes(dataset.root, path) for path in paths[:_SHOWN]), *paths[_SHOWN:]])
    no_image, no_mask, to_decode = set(missing_images), set(missing_masks), set(decoded)

    def look_at(index: int) -> Inspection:
        has_mask = dataset.labelled and index not in no_mask
        return inspect_sample(dataset, index, index not in no_image, has_mask, index in to_decode)

    for index, inspection in zip(headers, in_threads(look_at, headers, workers, progress), strict=True):
        findings.add_sample(index, inspection)
    return findings.report(total, len(headers), len(decoded))


def _with_namesakes(root: Path, path: str) -> str:
    """A missing file, and those that differ from it in their ending only: mostly the answer."""
    stem = (root / path).with_suffix("").name
    names = sorted(file.name for file in (root / path).parent.glob(f"{glob.escape(stem)}.*"))
    return f"{path} (there is {', '.join(names)})" if names else path


def broken_split(dataset: str, split: str, root: Path | str, error: MultisegError) -> CheckReport:
    """The report on a split that could not even be listed."""
    message = str(error).splitlines()[0].replace(f"{root}{os.sep}", "")
    problem = Problem("broken_split", 1, (message,))
    return CheckReport(dataset, split, str(root), 0, 0, 0, (problem,), {}, 0, np.zeros(0, np.uint64))


def compare_splits(checked: Sequence[tuple[SegmentationDataset, CheckReport]]) -> list[CheckReport]:
    """The reports with the pictures that several splits share, each told in the later one.

    Args:
        checked: splits of any datasets with what `check_dataset` said of each; only decoded images are compared.
    """
    findings = [_Findings(dataset) for dataset, _ in checked]
    ends = np.cumsum([len(report.digests) for _, report in checked], dtype=np.int64)
    digests = np.concatenate([report.digests for _, report in checked]) if checked else np.zeros(0, np.uint64)
    for places in _repeats(digests):
        owners = np.searchsorted(ends, places, side="right").tolist()
        first_of: dict[int, int] = {}
        for owner, place in zip(owners, places, strict=True):
            index = place - (ends[owner - 1] if owner else 0)
            for other, other_index in first_of.items():
                if other != owner:
                    kind, text = _shared(checked[owner][0], index, checked[other][0], other_index)
                    findings[owner].add(kind, [text])
            first_of.setdefault(owner, index)
    return [
        replace(report, problems=_sorted([*report.problems, *found.problems()]))
        for (_, report), found in zip(checked, findings, strict=True)
    ]


def _shared(dataset: SegmentationDataset, index: int, other: SegmentationDataset, other_index: int) -> tuple[str, str]:
    """The kind of problem, and a line about it, that a picture of a split is in another one, too."""
    (image, _), (other_image, _) = dataset.pairs[index], other.pairs[other_index]
    if dataset.name != other.name:
        # only what one trains on and the other does not can spoil a score
        kind = "shared_image" if _is_trained_on(dataset) == _is_trained_on(other) else "leaked_image"
        return kind, f"{image} = {other_image} of {other.name}/{other.split}"
    if image != other_image:
        return "leaked_image", f"{image} = {other_image} of split {other.split}"
    # beyond the first two, a split may be made of others on purpose, as PASCAL VOC's "trainval"
    both = {dataset.split, other.split} <= set(dataset.splits[:2])
    return "leaked_image" if both else "overlapping_split", f"{image} is in split {other.split}, too"


def _is_trained_on(dataset: SegmentationDataset) -> bool:
    return dataset.split == dataset.splits[0]


def _repeats(digests: NDArray[np.uint64]) -> Iterator[list[int]]:
    """The places of each number that occurs several times and is not 0, in ascending order."""
    known = np.flatnonzero(digests)
    order = known[np.argsort(digests[known], kind="stable")]
    edges = np.flatnonzero(np.diff(digests[order], prepend=0, append=0))
    groups = [order[start:end] for start, end in pairwise(edges) if end - start > 1]
    yield from sorted(group.tolist() for group in groups)


def _sorted(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: list(PROBLEMS).index(problem.kind)))


class _Findings:
    """Gathers what is found in one split, in the order of its samples, in eight bytes for each."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset
        self.examples: defaultdict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.files_with_id: Counter[int] = Counter()
        self.first_with_id: dict[int, str] = {}
        self.mask_modes: Counter[str] = Counter()
        self.masks_of_mode: defaultdict[str, list[str]] = defaultdict(list)
        self.pixels = np.zeros(1 + len(dataset.label_space), np.int64)
        self.digests = np.zeros(len(dataset), np.uint64)

    def add(self, kind: str, texts: Iterator[str] | Sequence[str]) -> None:
        for text in texts:
            self.counts[kind] += 1
            if len(self.examples[kind]) < _SHOWN:
                self.examples[kind].append(text)

    def add_sample(self, index: int, sample: Inspection) -> None:
        for kind, text in sample.problems:
            self.add(kind, [text])
        for raw in sample.unknown_ids:
            if raw in self.files_with_id or len(self.files_with_id) < _MOST_IDS:
                self.files_with_id[raw] += 1
                self.first_with_id.setdefault(raw, sample.mask)
        if sample.mask_mode:
            self.mask_modes[sample.mask_mode] += 1
            if self.mask_modes[sample.mask_mode] <= _SHOWN:
                self.masks_of_mode[sample.mask_mode].append(sample.mask)
        self.digests[index] = sample.digest
        if sample.pixels is not None:
            self.pixels += sample.pixels
            if not sample.pixels[1:].any() and not self._withheld:
                self.add("empty_mask", [sample.mask])

    def report(self, images: int, headers: int, decoded: int) -> CheckReport:
        dataset = self.dataset
        self._judge_unknown_ids()
        self._judge_mask_modes()
        for first, *others in _repeats(self.digests):
            self.add("duplicate_image", [f"{dataset.pairs[place][0]} = {dataset.pairs[first][0]}" for place in others])
        names = dataset.label_space.names
        if self._withheld:
            self.add("withheld_labels", [f"split '{dataset.split}'"])
        elif decoded == images:
            self.add("unseen_class", [name for name, pixels in zip(names, self.pixels[1:], strict=True) if not pixels])
        return CheckReport(
            dataset=dataset.name,
            split=dataset.split,
            root=dataset.location,
            images=images,
            headers=headers,
            decoded=decoded,
            problems=self.problems(),
            class_pixels=dict(zip(names, self.pixels[1:].tolist(), strict=True)),
            ignored_pixels=int(self.pixels[0]),
            digests=self.digests,
        )

    def problems(self) -> tuple[Problem, ...]:
        return _sorted([Problem(kind, count, tuple(self.examples[kind])) for kind, count in self.counts.items()])

    def _judge_unknown_ids(self) -> None:
        what = "colour" if self.dataset.masks_are_colors else "id"
        for raw, files in self.files_with_id.most_common():
            where = f"in {files} masks, first" if files > 1 else "in"
            text = raw_text(raw, self.dataset.masks_are_colors)
            self.add("unknown_id", [f"{what} {text} {where} {self.first_with_id[raw]}"])

    def _judge_mask_modes(self) -> None:
        """Masks saved otherwise than the others, or than they should be."""
        modes = [mode for mode, _ in self.mask_modes.most_common()]
        if self.dataset.masks_are_colors:  # a palette is read as its colours, so it may stand beside RGB
            for mode in modes:
                if mode in _ONE_CHANNEL and mode != "P":
                    self._add_mode("uncolored_mask", mode, "is")
            return
        for mode in modes[1:]:
            self._add_mode("odd_mask", mode, f"is not {_MODES.get(modes[0], modes[0])} but")
        if modes and self._reads_plain_ids:
            if modes[0] not in _ONE_CHANNEL:
                self._add_mode("multichannel_mask", modes[0], "is")
            elif modes[0].startswith("I") and max(self._raw_ids) < 256:
                self._add_mode("deep_mask", modes[0], "is")

    def _add_mode(self, kind: str, mode: str, verb: str) -> None:
        self.add(kind, [f"{mask} {verb} {_MODES.get(mode, mode)}" for mask in self.masks_of_mode[mode]])
        self.counts[kind] += self.mask_modes[mode] - len(self.masks_of_mode[mode])

    @property
    def _reads_plain_ids(self) -> bool:
        """Whether pixels are ids as they stand; a reader that decodes its masks itself knows their mode best."""
        own = type(self.dataset).read_raw is not SegmentationDataset.read_raw
        return not own and not isinstance(self.dataset, PanopticDataset)

    @property
    def _raw_ids(self) -> list[int]:
        space = self.dataset.label_space
        return [*space.ignore_ids, *(raw for entry in space.classes for raw in entry.raw_ids)]

    @property
    def _withheld(self) -> bool:
        return self.dataset.split in self.dataset.withheld_splits
