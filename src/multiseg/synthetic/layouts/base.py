"""What every layout shares: pictures in its own numbering, and the writing of files.

A layout's numbers are typed in its own module, not taken from the reader of that dataset, so that a wrong table there
cannot hide.
"""

from __future__ import annotations

import io
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiseg.synthetic.world import WORLD_CLASSES, WORLD_IDS

_JPEG_QUALITY = 92

#: What a layout's index files need to know of a picture; plain types, since it may come from another process.
Record = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One picture, its truth in the numbering of a layout.

    Args:
        image: (H, W, 3) uint8.
        ids: (H, W) int32, raw ids.
        instances: (H, W) integers, 0 where nothing is countable, else one number an object.
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.int32]
    instances: NDArray[np.integer[Any]]


class Layout(ABC):
    """How one dataset lies on disk."""

    #: The reader it is written for.
    name: ClassVar[str]
    #: The synthetic domain whose scenes suit it.
    domain: ClassVar[str]
    #: What the dataset calls the splits trained on and evaluated.
    splits: ClassVar[Mapping[str, str]] = {"train": "train", "val": "val"}
    #: The raw id of each world class that the dataset has a class for.
    raw_of_world: ClassVar[Mapping[str, int]]
    #: The raw id of everything else.
    other: ClassVar[int]

    @abstractmethod
    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        """Writes the files of one picture. `split` is "train" or "val"; folders are made as needed."""

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:  # noqa: B027  (optional)
        """Writes the files that describe a split as a whole; by default there are none."""

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """Raw id of each world class. Shape: (world classes,)."""
        table = np.full(len(WORLD_CLASSES), self.other, np.int32)
        for world, raw in self.raw_of_world.items():
            table[WORLD_IDS[world]] = raw
        return table


def write_tree(layout: Layout, root: Path, pictures: Mapping[str, Sequence[Picture]]) -> Path:
    """A whole dataset from pictures at hand.

    Args:
        layout: how it lies.
        root: made if missing.
        pictures: of the splits "train" and "val".
    """
    for split, entries in pictures.items():
        records = [layout.write_picture(root, split, index, picture) for index, picture in enumerate(entries)]
        layout.write_index(root, split, records)
    return root


def unpack_colors(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """The inverse of `label_space.pack_colors`. Shape: (...) to (..., 3)."""
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16], -1).astype(np.uint8)


def palette_image(ids: NDArray[Any], colors: Mapping[int, tuple[int, int, int]]) -> Image.Image:
    """A palette image whose indices are ids below 256."""
    image = Image.fromarray(ids.astype(np.uint8))
    palette = np.zeros((256, 3), np.uint8)
    for raw, color in colors.items():
        palette[raw] = color
    image.putpalette(palette.tobytes())
    return image


def number_objects(picture: Picture, things: Sequence[int]) -> NDArray[np.int32]:
    """Objects numbered from 0 in each thing class; -1 elsewhere. Shape: (H, W)."""
    numbers = np.full(picture.ids.shape, -1, np.int32)
    for raw in things:
        where = picture.ids == raw
        objects = picture.instances[where].astype(np.int64)
        present = np.bincount(objects, minlength=1) > 0
        numbers[where] = (np.cumsum(present) - 1)[objects]
    return numbers


def number_across_classes(picture: Picture, things: Sequence[int]) -> NDArray[np.int32]:
    """Objects numbered from 1, each number once in the picture; 0 elsewhere. Shape: (H, W)."""
    numbers = number_objects(picture, things)
    keys = np.where(numbers >= 0, picture.ids.astype(np.int64) << 16 | numbers + 1, 0)
    place = np.unique(np.append(0, keys), return_inverse=True)[1][1:]
    return place.reshape(numbers.shape).astype(np.int32)


def panoptic_record(
    image_id: int | str,
    image: str,
    mask: str,
    panoptic_ids: NDArray[np.integer[Any]],
    category_of: Mapping[int, int],
) -> Record:
    """The `image` and the `annotation` of one picture in COCO's panoptic JSON.

    Args:
        image_id: its id there.
        image: the name of its file there.
        mask: the name of its PNG there.
        panoptic_ids: (H, W), what the PNG shows.
        category_of: the category of each id that occurs.
    """
    height, width = panoptic_ids.shape
    return {
        "image": {"id": image_id, "width": width, "height": height, "file_name": image},
        "annotation": {
            "image_id": image_id,
            "file_name": mask,
            "segments_info": segment_records(panoptic_ids, category_of),
        },
    }


def write_panoptic_json(path: Path, records: Sequence[Record], categories: Sequence[Record]) -> None:
    """COCO's panoptic JSON of a split, from what `panoptic_record` makes of its pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    panoptic = {
        "images": [record["image"] for record in records],
        "annotations": [record["annotation"] for record in records],
        "categories": categories,
    }
    path.write_text(json.dumps(panoptic))


def segment_records(
    panoptic_ids: NDArray[np.integer[Any]], category_of: Mapping[int, int], crowd: Sequence[int] = ()
) -> list[Record]:
    """COCO's record of each segment but id 0, which is void: id, category, area in pixels, box (x, y, width, height).

    Args:
        panoptic_ids: (H, W).
        category_of: the category of each id that occurs.
        crowd: ids of crowd regions.
    """
    found, place = np.unique(panoptic_ids, return_inverse=True)
    rank = place.reshape(panoptic_ids.shape)
    areas = np.bincount(rank.ravel())
    (y, y_end), (x, x_end) = (_extent(rank, len(found), axis) for axis in (0, 1))
    boxes = np.stack([x, y, x_end - x, y_end - y], 1).tolist()
    return [
        {
            "id": segment,
            "category_id": category_of[segment],
            "area": area,
            "bbox": box,
            "iscrowd": int(segment in crowd),
        }
        for segment, area, box in zip(found.tolist(), areas.tolist(), boxes, strict=True)
        if segment != 0
    ]


def _extent(rank: NDArray[np.intp], count: int, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each of `count` segments its first row (or column) and the one after its last."""
    length = rank.shape[axis]
    position = np.arange(length).reshape((-1, 1) if axis == 0 else (1, -1))
    touched = np.bincount((rank * length + position).ravel(), minlength=count * length).reshape(count, length) > 0
    return touched.argmax(1), length - touched[:, ::-1].argmax(1)


def save(path: Path, image: Image.Image | NDArray[Any]) -> None:
    """An image in the format of the ending, its folder made if missing."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    options: dict[str, int] = {"quality": _JPEG_QUALITY}
    if path.suffix == ".png":
        # run lengths alone: smaller and faster than matching strings, for flat masks and for noisy photographs
        options = {"compress_level": 1, "compress_type": zlib.Z_RLE}
    # one write of a whole file: Pillow itself writes a PNG in many small pieces
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getbuffer())


def save_matlab(path: Path, variables: Mapping[str, Any]) -> None:
    """A compressed MATLAB file, its folder made if missing; the same bytes at any time of day."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)  # type: ignore[no-untyped-call]
    # its first 116 bytes are free text, in which scipy puts the time
    buffer.seek(0)
    buffer.write(b"MATLAB 5.0 MAT-file".ljust(116))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getbuffer())
