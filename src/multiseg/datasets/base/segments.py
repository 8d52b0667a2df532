"""Panoptic truth from files: maps of segment ids, and the records that say what each segment is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.base.colors import numbered_color
from multiseg.datasets.base.dataset import PanopticDataset
from multiseg.datasets.base.decoding import read_mask
from multiseg.datasets.base.listing import Arrays, PairTable, leaves_root
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.label_space import IGNORE, LabelClass, UnknownIdsError
from multiseg.runs import Runs

#: A segment's number is an int16.
MAX_SEGMENTS = 2**15 - 1

#: What distinct raw ids stand for: the class of each, `IGNORE` for what is no segment, and whether it is a crowd.
Description = tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]


def segments_of(
    raw: NDArray[Any], describe: Callable[[NDArray[Any]], Description], things: NDArray[np.bool_] | None = None
) -> Segments:
    """A map of arbitrary ids, one for each segment, as `Segments`.

    Looked up run by run (`multiseg.runs`), without a loop over segments.

    Args:
        raw: (H, W) of any integer type.
        describe: takes the distinct ids in ascending order, (R,) int64.
        things: which classes are things, (K,): all ids of one other class become one segment. Without it, each id is a
            segment.

    Raises:
        MultisegError: there are more than `MAX_SEGMENTS`, or `describe` raises it.
    """
    runs = Runs.of(raw)
    values, place = np.unique(runs.values, return_inverse=True)
    classes, crowd = describe(values.astype(np.int64))
    kept = np.flatnonzero(classes != IGNORE)
    owner = kept if things is None else np.where(things[classes[kept]], len(things) + kept, classes[kept])
    _, first, number = np.unique(owner, return_index=True, return_inverse=True)
    if len(first) > MAX_SEGMENTS:
        raise MultisegError(f"{len(first)} segments in one image; at most {MAX_SEGMENTS} are supported.")
    numbers = np.full(len(values), IGNORE, np.int16)
    numbers[kept] = number.reshape(-1)
    ids = runs.spread(numbers[place.reshape(-1)])
    return Segments(
        tv_tensors.Mask(torch.from_numpy(ids)),
        torch.from_numpy(classes[kept[first]].astype(np.int64)),
        torch.from_numpy(crowd[kept[first]]),
    )


class SegmentTable:
    """What the segments of every image are, in flat arrays: seven bytes a segment.

    Args:
        ids: raw ids of all segments, image after image, ascending within an image. Shape: (N,) uint32.
        classes: contiguous class ids, `IGNORE` for ignored categories. Shape: (N,) int16.
        crowd: shape: (N,) bool.
        ends: where each image's segments end. Shape: (images,) int64.
    """

    def __init__(self, ids: NDArray[Any], classes: NDArray[Any], crowd: NDArray[Any], ends: NDArray[Any]) -> None:
        self.ids, self.classes, self.crowd, self.ends = ids, classes, crowd, ends

    def to_arrays(self) -> Arrays:
        return {"ids": self.ids, "classes": self.classes, "crowd": self.crowd, "segment_ends": self.ends}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> SegmentTable:
        return cls(arrays["ids"], arrays["classes"], arrays["crowd"], arrays["segment_ends"])

    @classmethod
    def of(cls, images: Iterable[list[tuple[int, int, bool]]]) -> SegmentTable:
        """From (raw id, class, crowd) of the segments of each image."""
        ids: list[int] = []
        classes: list[int] = []
        crowd: list[bool] = []
        ends: list[int] = []
        for segments in images:
            for raw, class_id, is_crowd in sorted(segments):
                ids.append(raw)
                classes.append(class_id)
                crowd.append(is_crowd)
            ends.append(len(ids))
        return cls(
            np.array(ids, np.uint32), np.array(classes, np.int16), np.array(crowd, np.bool_), np.array(ends, np.int64)
        )

    def __len__(self) -> int:
        return len(self.ends)

    def of_image(self, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Raw ids, classes and crowd flags of one image."""
        part = slice(self.ends[index - 1] if index else 0, self.ends[index])
        return self.ids[part], self.classes[part], self.crowd[part]


@dataclass(frozen=True)
class PanopticFiles:
    """Where one split of a dataset in COCO's panoptic format lies, relative to the root.

    Args:
        index: the JSON with `images` and `annotations`.
        masks: the folder of the PNG files that it names; of several, the first that has the first file.
        images: the folder of the images that it names; likewise.
    """

    index: str
    masks: str | tuple[str, ...]
    images: str | tuple[str, ...]


class CocoPanopticDataset(PanopticDataset):
    """A dataset in COCO's panoptic format: a PNG an image, whose colour `R + 256 G + 65536 B` is a segment's id, and
    one JSON a split that says each segment's category.

    The raw ids of the label space are category ids; those in its `ignore_ids` are unlabelled.
    """

    #: Categories that are regions of many things of a class, whatever a segment's own flag says.
    crowd_categories: ClassVar[frozenset[int]] = frozenset()

    @abstractmethod
    def panoptic_files(self) -> PanopticFiles:
        """Where `self.split` lies."""

    def image_file(self, name: str) -> str:
        """The image's path below the folder of images, from its `file_name` in the JSON."""
        return name

    def in_split(self, name: str) -> bool:
        """Whether an image, by its `file_name`, is of `self.split`. Override where one JSON holds several splits."""
        return True

    def check_index(self, index: PanopticIndex) -> None:
        """Called before a JSON is used, by a reader that has something to hold against it."""

    def build_index(self) -> Arrays:
        files = self.panoptic_files()
        index = PanopticIndex(self.listing.json(files.index), f"{self.root / files.index}")
        self.check_index(index)
        label_of = {raw: place for place, entry in enumerate(self.label_space.classes) for raw in entry.raw_ids}
        label_of |= dict.fromkeys(self.label_space.ignore_ids, IGNORE)
        pairs, segments = [], []
        for image, mask, records in index.annotated_images():
            if not self.in_split(image):
                continue
            pairs.append((self.image_file(image), mask))
            try:
                segments.append(
                    [
                        (raw, label_of[category], crowd or category in self.crowd_categories)
                        for raw, category, crowd in records
                    ]
                )
            except KeyError as error:
                raise MultisegError(
                    f"{index.file}: {mask} has a segment of category {error}, which is no class of "
                    f"'{self.label_space.name}' and not ignored."
                ) from None
        order = sorted(range(len(pairs)), key=pairs.__getitem__)
        table = SegmentTable.of(segments[place] for place in order)
        return {**self.located(files, [pairs[place] for place in order]).to_arrays(), **table.to_arrays()}

    def located(self, files: PanopticFiles, names: Sequence[tuple[str, str]]) -> PairTable:
        """Image and mask relative to the root, from their names in the JSON.

        Raises:
            EmptySplitError: none of the folders named in `files` exists.
        """
        if not names:
            return PairTable(())
        images, masks = self._folder(files.images, names[0][0]), self._folder(files.masks, names[0][1])
        return PairTable((images + image, masks + mask) for image, mask in names)

    def _folder(self, places: str | tuple[str, ...], name: str) -> str:
        """What to put in front of a file name."""
        if isinstance(places, tuple):
            there = [place for place in places if self.listing.exists(place)]
            if not there:
                raise EmptySplitError(f"{self.root} has no folder {' or '.join(places)}.")
            places = next((place for place in there if self.listing.exists(f"{place}/{name}")), there[0])
        return "" if places == "." else f"{places}/"

    def use_index(self, arrays: Arrays) -> None:
        super().use_index(arrays)
        self.segment_table = SegmentTable.from_arrays(arrays)

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        return (self.pairs[index] for index in range(len(self.pairs)))

    def read_segments(self, index: int) -> Segments:
        ids, classes, crowd = self.segment_table.of_image(index)
        path = self.mask_path(index)

        def describe(values: NDArray[Any]) -> Description:
            void = values == 0
            if not len(ids):
                place, known = np.zeros(len(values), np.int64), void
                table, crowds = np.array([IGNORE], np.int16), np.zeros(1, np.bool_)
            else:
                place = np.searchsorted(ids, values).clip(max=len(ids) - 1)
                known = void | (ids[place] == values)
                table, crowds = classes, crowd
            if not known.all():
                unknown = values[~known].tolist()
                raise UnknownIdsError(f"{path}: its JSON has no record of segment {unknown[0]}.", unknown)
            return np.where(void, IGNORE, table[place]), crowds[place] & ~void

        return segments_of(read_mask(path, as_colors=True), describe, self.label_space.things)


class PanopticIndex:
    """The JSON of one split, read so that a missing or odd field is named.

    Args:
        data: what it holds.
        file: its path, for messages.
    """

    def __init__(self, data: Any, file: str) -> None:
        self.data = data
        self.file = file

    def categories(self) -> Iterator[LabelClass]:
        """The classes, each with its category id as raw id; one without a colour is given one.

        Raises:
            MultisegError: an entry is incomplete.
        """
        for place, category in enumerate(self._records("categories")):
            where = f"categories[{place}]"
            color = category.get("color") if isinstance(category, Mapping) else None
            yield LabelClass(
                self._field(category, "name", str, where),
                (self._field(category, "id", int, where),),
                numbered_color(place + 1) if color is None else self._color(color, where),
                bool(self._field(category, "isthing", int, where)),
            )

    def images(self) -> dict[int | str, str]:
        """The file name of each image by its id.

        Raises:
            MultisegError: an entry is incomplete, or its file lies outside the dataset.
        """
        return {
            self._field(image, "id", int | str, f"images[{place}]"): self._path(image, f"images[{place}]")
            for place, image in enumerate(self._records("images"))
        }

    def annotated_images(self) -> Iterator[tuple[str, str, list[tuple[int, int, bool]]]]:
        """File names of image and mask, and (id, category, crowd) of each segment.

        Raises:
            MultisegError: an entry is incomplete, or a file lies outside the dataset.
        """
        names = self.images()
        for place, annotation in enumerate(self._records("annotations")):
            where = f"annotations[{place}]"
            image_id = self._field(annotation, "image_id", int | str, where)
            if image_id not in names:
                raise MultisegError(f"{self.file}: {where} is of image {image_id!r}, which is not among the images.")
            records = self._field(annotation, "segments_info", list, where)
            segments = [self._segment(record, where, number) for number, record in enumerate(records)]
            yield names[image_id], self._path(annotation, where), segments

    def _records(self, key: str) -> list[Any]:
        records = self.data.get(key) if isinstance(self.data, dict) else None
        if not isinstance(records, list):
            raise MultisegError(f"{self.file}: the list '{key}' is missing.")
        return records

    def _field(self, record: Any, key: str, kind: Any, where: str) -> Any:
        value = record.get(key) if isinstance(record, Mapping) else None
        if not isinstance(value, kind):
            raise MultisegError(f"{self.file}: {where}.{key} is missing or of the wrong type.")
        return value

    def _segment(self, record: Any, annotation: str, number: int) -> tuple[int, int, bool]:
        """Id, category and crowd of a segment; there are over a million of them in COCO."""
        match record:
            case {"id": int(raw), "category_id": int(category)} if 0 < raw < 2**24:
                return raw, category, bool(record.get("iscrowd", 0))
        where = f"{annotation}.segments_info[{number}]"
        raw = self._field(record, "id", int, where)
        self._field(record, "category_id", int, where)
        raise MultisegError(f"{self.file}: {where}.id is {raw}, which is no colour of a PNG file.")

    def _color(self, color: Any, where: str) -> tuple[int, int, int]:
        whole = isinstance(color, list) and all(isinstance(part, int) and 0 <= part <= 255 for part in color)
        if not whole or len(color) != 3:
            raise MultisegError(f"{self.file}: {where}.color is no list of three numbers 0..255.")
        return color[0], color[1], color[2]

    def _path(self, record: Any, where: str) -> str:
        path: str = self._field(record, "file_name", str, where)
        if leaves_root(path):
            raise MultisegError(f"{self.file}: {where}.file_name '{path}' lies outside the dataset.")
        return path
