"""Panoptic truth from files: maps of segment ids, and the records that say what each segment is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.base.dataset import PanopticDataset
from multiseg.datasets.base.decoding import read_mask
from multiseg.datasets.base.listing import Arrays, PairTable, leaves_root
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, UnknownIdsError

#: A segment's number is an int16.
MAX_SEGMENTS = 2**15 - 1

#: What distinct raw ids stand for: the class of each, `IGNORE` for what is no segment, and whether it is a crowd.
Description = tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]


def segments_of(raw: NDArray[Any], describe: Callable[[NDArray[Any]], Description]) -> Segments:
    """A map of arbitrary ids, one for each segment, as `Segments`.

    Neighbours in a row mostly belong to one segment, so only the first pixel of each run is looked up: a tenth of the
    time of `np.unique` over all pixels, and no loop over segments.

    Args:
        raw: (H, W) of any integer type.
        describe: takes the distinct ids in ascending order, (R,).

    Raises:
        MultisegError: there are more than `MAX_SEGMENTS`, or `describe` raises it.
    """
    flat = raw.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])[: flat.size])
    values, place = np.unique(flat[starts], return_inverse=True)
    classes, crowd = describe(values)
    kept = classes != IGNORE
    if kept.sum() > MAX_SEGMENTS:
        raise MultisegError(f"{kept.sum()} segments in one image; at most {MAX_SEGMENTS} are supported.")
    numbers = np.where(kept, np.cumsum(kept) - 1, IGNORE).astype(np.int16)
    ids = np.repeat(numbers[place.reshape(-1)], np.diff(np.append(starts, flat.size))).reshape(raw.shape)
    return Segments(
        tv_tensors.Mask(torch.from_numpy(ids)),
        torch.from_numpy(classes[kept].astype(np.int64)),
        torch.from_numpy(crowd[kept]),
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
        masks: the folder of the PNG files that it names.
        images: the folder of the images that it names.
    """

    index: str
    masks: str
    images: str


class CocoPanopticDataset(PanopticDataset):
    """A dataset in COCO's panoptic format: a PNG an image, whose colour `R + 256 G + 65536 B` is a segment's id, and
    one JSON a split that says each segment's category.

    The raw ids of the label space are category ids; those in its `ignore_ids` are unlabelled.
    """

    @abstractmethod
    def panoptic_files(self) -> PanopticFiles:
        """Where `self.split` lies."""

    def image_file(self, name: str) -> str:
        """The image's path below the folder of images, from its `file_name` in the JSON."""
        return name

    def build_index(self) -> Arrays:
        files = self.panoptic_files()
        index = _PanopticIndex(self.listing.json(files.index), f"{self.root / files.index}")
        label_of = {raw: place for place, entry in enumerate(self.label_space.classes) for raw in entry.raw_ids}
        label_of |= dict.fromkeys(self.label_space.ignore_ids, IGNORE)
        pairs, segments = [], []
        for image, mask, records in index.annotated_images():
            pairs.append((f"{files.images}/{self.image_file(image)}", f"{files.masks}/{mask}"))
            try:
                segments.append([(raw, label_of[category], crowd) for raw, category, crowd in records])
            except KeyError as error:
                raise MultisegError(
                    f"{index.file}: {mask} has a segment of category {error}, which is no class of "
                    f"'{self.label_space.name}' and not ignored."
                ) from None
        order = sorted(range(len(pairs)), key=pairs.__getitem__)
        table = SegmentTable.of(segments[place] for place in order)
        return {**PairTable(pairs[place] for place in order).to_arrays(), **table.to_arrays()}

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

        return segments_of(read_mask(path, as_colors=True), describe)


class _PanopticIndex:
    """The JSON of one split, read so that a missing or odd field is named."""

    def __init__(self, data: Any, file: str) -> None:
        self.file = file
        self.images = self._records(data, "images")
        self.annotations = self._records(data, "annotations")

    def annotated_images(self) -> Iterator[tuple[str, str, list[tuple[int, int, bool]]]]:
        """File names of image and mask, and (id, category, crowd) of each segment."""
        names = {
            self._field(image, "id", int | str, f"images[{place}]"): self._path(image, f"images[{place}]")
            for place, image in enumerate(self.images)
        }
        for place, annotation in enumerate(self.annotations):
            where = f"annotations[{place}]"
            image_id = self._field(annotation, "image_id", int | str, where)
            if image_id not in names:
                raise MultisegError(f"{self.file}: {where} is of image {image_id!r}, which is not among the images.")
            segments = [
                (
                    self._field(segment, "id", int, f"{where}.segments_info[{number}]"),
                    self._field(segment, "category_id", int, f"{where}.segments_info[{number}]"),
                    bool(segment.get("iscrowd", 0)),
                )
                for number, segment in enumerate(self._field(annotation, "segments_info", list, where))
            ]
            yield names[image_id], self._path(annotation, where), segments

    def _records(self, data: Any, key: str) -> list[Any]:
        records = data.get(key) if isinstance(data, dict) else None
        if not isinstance(records, list):
            raise MultisegError(f"{self.file}: the list '{key}' is missing.")
        return records

    def _field(self, record: Any, key: str, kind: Any, where: str) -> Any:
        value = record.get(key) if isinstance(record, Mapping) else None
        if not isinstance(value, kind):
            raise MultisegError(f"{self.file}: {where}.{key} is missing or of the wrong type.")
        return value

    def _path(self, record: Any, where: str) -> str:
        path: str = self._field(record, "file_name", str, where)
        if leaves_root(path):
            raise MultisegError(f"{self.file}: {where}.file_name '{path}' lies outside the dataset.")
        return path
