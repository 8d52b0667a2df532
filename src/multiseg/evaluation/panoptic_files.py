"""Panoptic predictions as files in COCO's format (cocodataset.org/#format-results), which the benchmarks take.

A PNG an image, whose colour `R + 256 G + 65536 B` is a segment's id, and one JSON that says what each segment is.
`multiseg.datasets.panoptic` reads both back.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiseg.batch import Segments
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.runs import Runs


class PanopticWriter:
    """Writes `FOLDER/NAME/*.png` image by image, and at the end `FOLDER/NAME.json`.

    A category's id is the class's first raw id, which for a dataset in COCO's format is the id that its own JSON and
    benchmark use (see `category_ids`). A segment's id is its place in the image's `Segments` plus one; 0 is void.

    Args:
        folder: made if missing.
        space: what the classes of the segments mean.
        name: of the JSON and of the folder of PNG files. Behind `panoptic_` stands what the reader calls the split.
    """

    def __init__(self, folder: Path, space: LabelSpace, name: str = "panoptic_predictions") -> None:
        self.folder = folder
        self.space = space
        self.name = name
        self._category_ids = category_ids(space)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._file_of_mask: dict[str, str] = {}
        self._file_of_id: dict[int | str, str] = {}

    def add(self, file_name: str, segments: Segments, image_id: int | str | None = None) -> Path:
        """Writes the PNG of one image.

        Args:
            file_name: of the image, as the truth's JSON spells it; with folders where it has some, with `/` between.
            segments: at the size of the image. One without a pixel is left out.
            image_id: by default a name that is a number as that number (`000000142238.jpg`: 142238, as in COCO), any
                other without its ending.

        Returns:
            The PNG: the name of the image with another ending.

        Raises:
            MultisegError: the name leads out of the folder, the image or its PNG or id was there before, or the file
                cannot be written.
            ValueError: a class or an id of the segments is out of range.
        """
        path = PurePosixPath(file_name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise MultisegError(f"'{file_name}' does not name a file below {self.folder}.")
        mask, stem = str(path.with_suffix(".png")), str(path.with_suffix(""))
        if image_id is None:
            image_id = int(stem) if stem.isascii() and stem.isdecimal() else stem
        if mask in self._file_of_mask:
            raise MultisegError(f"'{file_name}' has the PNG '{mask}' of '{self._file_of_mask[mask]}'.")
        if image_id in self._file_of_id:
            raise MultisegError(f"'{file_name}' has the image id {image_id!r} of '{self._file_of_id[image_id]}'.")
        records = self._records(segments)
        target = self.folder / self.name / mask
        _write(target, _png(segments.ids.cpu().numpy()))
        self._file_of_mask[mask] = self._file_of_id[image_id] = file_name
        height, width = segments.ids.shape
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        self._annotations.append({"image_id": image_id, "file_name": mask, "segments_info": records})
        return target

    def write(self) -> Path:
        """Writes the JSON of the images added so far, atomically; returns its path.

        Raises:
            MultisegError: it cannot be written.
        """
        categories = [
            {"id": category, "name": entry.name, "isthing": int(entry.thing), "color": list(entry.color)}
            for category, entry in zip(self._category_ids, self.space.classes, strict=True)
        ]
        data = {"images": self._images, "annotations": self._annotations, "categories": categories}
        target = self.folder / f"{self.name}.json"
        _write(target, json.dumps(data, ensure_ascii=False).encode())
        return target

    def _records(self, segments: Segments) -> list[dict[str, Any]]:
        classes = segments.classes.tolist()
        if classes and not 0 <= min(classes) <= max(classes) < len(self.space):
            raise ValueError(f"a class of the segments is not in 0..{len(self.space) - 1} of '{self.space.name}'.")
        areas, boxes = areas_and_boxes(segments)
        entries = zip(classes, segments.crowd.tolist(), areas.tolist(), boxes.tolist(), strict=True)
        return [
            {
                "id": place + 1,
                "category_id": self._category_ids[index],
                "area": area,
                "bbox": box,
                "iscrowd": int(crowd),
            }
            for place, (index, crowd, area, box) in enumerate(entries)
            if area
        ]


def category_ids(space: LabelSpace) -> tuple[int, ...]:
    """The id of each class in COCO's files: its first raw id; contiguous ids where some class has none.

    Raw ids are unique in a label space, but need not be in order, nor below the number of classes.
    """
    if all(entry.raw_ids for entry in space.classes):
        return tuple(entry.raw_ids[0] for entry in space.classes)
    return tuple(range(len(space)))


def areas_and_boxes(segments: Segments) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each segment its pixels and the box around them: x, y, width, height; zeros where it has no pixel.

    Shape: (S,), (S, 4).

    Raises:
        ValueError: an id is out of range.
    """
    count = len(segments)
    runs = Runs.of(segments.ids.cpu().numpy())
    places = runs.values.astype(np.int64)
    if places.size and not IGNORE <= places.min() <= places.max() < count:
        raise ValueError(f"an id of a map of {count} segments is neither {IGNORE} (void) nor in 0..{count - 1}.")
    ends = runs.lengths.cumsum()
    here = places != IGNORE
    places, first, last = places[here], (ends - runs.lengths)[here], ends[here] - 1
    height, width = runs.shape
    # a run that goes on in the next row touches the right side of the map and the left one
    wraps = first // width != last // width
    low, high = np.full((2, count), max(height, width)), np.full((2, count), -1)
    np.minimum.at(low[0], places, np.where(wraps, 0, first % width))
    np.maximum.at(high[0], places, np.where(wraps, width - 1, last % width))
    np.minimum.at(low[1], places, first // width)
    np.maximum.at(high[1], places, last // width)
    areas = np.zeros(count, np.int64)
    np.add.at(areas, places, last - first + 1)
    boxes = np.where(areas > 0, np.concatenate([low, high - low + 1]), 0).T
    return areas, boxes


def _png(ids: NDArray[np.integer[Any]]) -> bytes:
    packed = ids.astype(np.int32) - IGNORE
    pixels = np.stack([packed & 255, packed >> 8 & 255, packed >> 16], -1).astype(np.uint8)
    buffer = io.BytesIO()
    # flat regions: run lengths alone are fast, and small enough
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Atomically: a reader, or a crash, finds the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise MultisegError(f"cannot write {path}: {error.strerror or error}.") from None
