"""What is in a dataset: how often every class occurs and how large it is, how large the images are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.batch import Segments
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import PanopticDataset
from multiseg.errors import MultisegError
from multiseg.inspection.passing import Progress, evenly_spread, in_threads
from multiseg.label_space import LabelSpace

#: A class that takes less of an image than this can hardly be seen on a contact sheet.
_VISIBLE = 0.002

#: So many sizes of images are told one by one in JSON.
_MOST_SIZES = 50


@dataclass(frozen=True)
class ClassStatistics:
    """One class in one split.

    Args:
        name: of the class.
        pixels: labelled with it.
        pixel_share: of all labelled pixels.
        images: in which it occurs.
        image_share: of all images read.
        mean_area: the mean part of an image that it takes where it occurs; 0 where it never does.
        segments: how many there are of a thing, crowds not counted; None for stuff, and outside panoptic datasets.
    """

    name: str
    pixels: int
    pixel_share: float
    images: int
    image_share: float
    mean_area: float
    segments: int | None = None


@dataclass(frozen=True)
class SplitStatistics:
    """One split of a dataset, in numbers. Shares and areas are from 0 to 1.

    Args:
        dataset: its name in the run.
        split: the split.
        root: the folder.
        images: how many samples the split has.
        read: how many masks were read.
        unreadable: how many of those could not be; they are left out of all figures.
        first_unreadable: what was wrong with the first of them; empty if there was none.
        ignored_share: of all pixels.
        sizes: height, width, and how many images have that size, most common first.
        segments: in a panoptic dataset, all segments of things; None in another.
        most_segments: in a panoptic dataset, the most of things in one image.
        crowds: in a panoptic dataset, the regions of many things.
        classes: in the order of the label space.
        places: of the samples read, in the split.
        present: which classes are in each of them, one bit each. Shape: (read, ceil(K / 8)) uint8.
        visible: those that take enough of it to be seen. Shape: as `present`.
    """

    dataset: str
    split: str
    root: str
    images: int
    read: int
    unreadable: int
    first_unreadable: str
    ignored_share: float
    sizes: tuple[tuple[int, int, int], ...]
    segments: int | None
    most_segments: int | None
    crowds: int | None
    classes: tuple[ClassStatistics, ...]
    places: Sequence[int] = field(repr=False, compare=False)
    present: NDArray[np.uint8] = field(repr=False, compare=False)
    visible: NDArray[np.uint8] = field(repr=False, compare=False)

    @property
    def counted(self) -> int:
        """Masks that the figures come from."""
        return self.read - self.unreadable

    def classes_in(self, places: Sequence[int]) -> int:
        """How many classes occur in some of the samples read."""
        wanted = set(places)
        rows = [row for row, place in enumerate(self.places) if place in wanted]
        return int(np.unpackbits(np.bitwise_or.reduce(self.present[rows], axis=0)).sum())

    def to_json(self) -> dict[str, Any]:
        facts = {name: value for name, value in vars(self).items() if name not in ("places", "present", "visible")}
        sizes = [{"height": height, "width": width, "images": n} for height, width, n in self.sizes[:_MOST_SIZES]]
        return {**facts, "sizes": sizes, "classes": [asdict(entry) for entry in self.classes]}


def gather_statistics(
    dataset: SegmentationDataset,
    workers: int | None = None,
    progress: Progress | None = None,
    limit: int | None = None,
) -> SplitStatistics:
    """Reads the masks of a split; images are not opened, or where there are no masks only their headers are read.

    Args:
        dataset: one split of it.
        workers: threads; by default one a core and at most eight.
        progress: called now and then with how many masks are read.
        limit: read only so many, spread evenly over the split.

    Raises:
        MultisegError: no mask can be read, or the limit or the number of workers is not positive.
    """
    places = evenly_spread(len(dataset), limit)
    tally = _Tally(dataset, places)
    masks = in_threads(lambda place: _read(dataset, place), places, workers, progress)
    for number, mask in enumerate(masks):
        tally.add(number, mask)
    return tally.statistics()


def cover_classes(statistics: SplitStatistics, least: int, most: int) -> list[int]:
    """Samples that together show as many classes as possible, few of them first.

    The greedy cover: each next sample is the one that shows most classes not seen so far (of several, the one with the
    most classes at all). Classes that are nowhere large enough to be seen well come last.

    Args:
        statistics: of the split.
        least: so many samples, where there are as many; those that the cover does not need are spread evenly.
        most: at most so many, even if classes are left over.

    Returns:
        places in the split, ascending; of a dataset without labels `least` of them, spread evenly.
    """
    if not statistics.classes:
        return [statistics.places[number] for number in evenly_spread(len(statistics.places), min(least, most))]
    chosen: list[int] = []
    for bits in (statistics.visible, statistics.present):
        shown = np.unpackbits(bits, axis=1, count=len(statistics.classes)).astype(np.bool_)
        seen = shown[chosen].any(0)
        richness = shown.sum(1)
        while len(chosen) < most:
            gain = shown[:, ~seen].sum(1)
            best = int(np.lexsort((richness, gain))[-1])
            if not gain[best]:
                break
            chosen.append(best)
            seen |= shown[best]
    counted = np.flatnonzero(statistics.present.any(1))
    others = [place for place in counted.tolist() if place not in set(chosen)]
    if missing := min(least, most) - len(chosen):
        chosen += [others[place] for place in evenly_spread(len(others), missing)] if missing > 0 and others else []
    return sorted(statistics.places[number] for number in chosen)


@dataclass(frozen=True)
class _Mask:
    """What one mask holds: its size, and for each class pixels and things. Without size it could not be read."""

    problem: str = ""
    size: tuple[int, int] | None = None
    pixels: NDArray[np.int64] | None = None
    things: NDArray[np.int64] | None = None
    crowds: int = 0


def _read(dataset: SegmentationDataset, place: int) -> _Mask:
    try:
        labels, segments = dataset.read_truth(place)
    except MultisegError as error:
        return _Mask(problem=str(error).splitlines()[0])
    height, width = labels.shape[-2:]
    # ignored pixels, which are -1, are counted in front
    pixels = np.bincount((labels.numpy() + np.int16(1)).ravel(), minlength=1 + len(dataset.label_space))
    things, crowds = (None, 0) if segments is None else _count_things(segments, dataset.label_space)
    return _Mask("", (height, width), pixels, things, crowds)


def _count_things(segments: Segments, space: LabelSpace) -> tuple[NDArray[np.int64], int]:
    """Things of each class, (K,), and the number of crowds."""
    classes, crowd = segments.classes.numpy(), segments.crowd.numpy()
    counts = np.bincount(classes[~crowd], minlength=len(space))
    return np.where(space.things, counts, 0), int(crowd.sum())


class _Tally:
    """Adds masks up."""

    def __init__(self, dataset: SegmentationDataset, places: Sequence[int]) -> None:
        self.dataset = dataset
        self.places = places
        classes = len(dataset.label_space)
        self.pixels = np.zeros(1 + classes, np.int64)
        self.images = np.zeros(classes, np.int64)
        self.areas = np.zeros(classes, np.float64)
        self.things = np.zeros(classes, np.int64)
        self.crowds = self.most_things = self.unreadable = 0
        self.first_unreadable = ""
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.present = np.zeros((len(places), -(-classes // 8)), np.uint8)
        self.visible = np.zeros_like(self.present)

    def add(self, number: int, mask: _Mask) -> None:
        if mask.size is None or mask.pixels is None:
            self.unreadable += 1
            self.first_unreadable = self.first_unreadable or mask.problem
            return
        self.sizes[mask.size] += 1
        self.pixels += mask.pixels
        areas = mask.pixels[1:] / mask.pixels.sum()
        self.areas += areas
        self.images += areas > 0
        self.present[number] = np.packbits(areas > 0)
        self.visible[number] = np.packbits(areas >= _VISIBLE)
        if mask.things is not None:
            self.things += mask.things
            self.most_things = max(self.most_things, int(mask.things.sum()))
            self.crowds += mask.crowds

    def statistics(self) -> SplitStatistics:
        dataset = self.dataset
        counted = len(self.places) - self.unreadable
        if not counted:
            what = "masks" if dataset.labelled else "images"
            raise MultisegError(
                f"{dataset.name}/{dataset.split}: none of {self.unreadable} {what} can be read; "
                f"the first: {self.first_unreadable}"
            )
        is_panoptic = isinstance(dataset, PanopticDataset)
        labelled = max(1, int(self.pixels[1:].sum()))
        classes = tuple(
            ClassStatistics(
                name=entry.name,
                pixels=int(self.pixels[1 + place]),
                pixel_share=int(self.pixels[1 + place]) / labelled,
                images=int(self.images[place]),
                image_share=int(self.images[place]) / counted,
                mean_area=float(self.areas[place]) / max(1, int(self.images[place])),
                segments=int(self.things[place]) if is_panoptic and entry.thing else None,
            )
            for place, entry in enumerate(dataset.label_space.classes)
        )
        return SplitStatistics(
            dataset=dataset.name,
            split=dataset.split,
            root=dataset.location,
            images=len(dataset),
            read=len(self.places),
            unreadable=self.unreadable,
            first_unreadable=self.first_unreadable,
            ignored_share=int(self.pixels[0]) / max(1, int(self.pixels.sum())),
            sizes=tuple((*size, count) for size, count in self.sizes.most_common()),
            segments=int(self.things.sum()) if is_panoptic else None,
            most_segments=self.most_things if is_panoptic else None,
            crowds=self.crowds if is_panoptic else None,
            classes=classes,
            places=self.places,
            present=self.present,
            visible=self.visible,
        )
