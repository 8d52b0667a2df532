"""One sample of a dataset, looked at closely: what its two files are, whether they decode, and whether they agree."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import (
    SIDEWAYS,
    CocoPanopticDataset,
    ColoredMaskError,
    ImageHeader,
    PanopticDataset,
    Source,
    image_header,
    read_image,
)
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, UnknownIdsError

#: Pillow's modes of images that deserve a note.
_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")
_TRANSPARENT = ("LA", "PA", "RGBA")

#: More unknown ids in one mask only show that it is no mask.
_MOST_IDS = 1000

Size = tuple[int, int]


@dataclass
class Inspection:
    """What was found in one sample.

    Args:
        image: relative to the root.
        mask: relative to the root.
        problems: kind, as `multiseg.inspection.checking` knows it, and a line about it.
        mask_mode: Pillow's name of how the mask is saved; empty where that is unknown or a problem already.
        unknown_ids: raw ids of no class in the mask, `_MOST_IDS` at most.
        pixels: ignored, and of each class. Shape: (1 + K,); None where the mask was not decoded.
        digest: of the image's content, never 0; 0 where it was not decoded.
    """

    image: str
    mask: str
    problems: list[tuple[str, str]] = field(default_factory=list)
    mask_mode: str = ""
    unknown_ids: Sequence[int] = ()
    pixels: NDArray[np.int64] | None = None
    digest: int = 0


def inspect_sample(
    dataset: SegmentationDataset, index: int, has_image: bool, has_mask: bool, decode: bool
) -> Inspection:
    """Looks at one sample.

    Args:
        dataset: it belongs to.
        index: its place.
        has_image: whether the image exists; if not, only the mask is looked at.
        has_mask: the same of the mask; a dataset without labels has none.
        decode: read the pixels, too, and not the headers alone.
    """
    found = Inspection(*dataset.pairs[index])
    header = size = mask_size = None
    if has_image:
        try:
            source = dataset.image_source(index)
            header = image_header(source)
            size = _look_at_image(source, header, decode, found)
        except MultisegError as error:
            found.problems.append(("unreadable_image", _below_root(error, dataset)))
    if has_mask:
        try:
            mask_size = _look_at_mask(dataset, index, decode, found)
        except MultisegError as error:
            found.mask_mode = ""
            found.problems.append(("unreadable_mask", _below_root(error, dataset)))
    if header and size and mask_size:
        found.problems += _compare(header, size, mask_size, found)
    return found


def _look_at_image(path: Source, header: ImageHeader, decode: bool, found: Inspection) -> Size:
    notes = {
        "grey_image": header.mode in _GREY,
        "transparent_image": header.mode in _TRANSPARENT,
        "cmyk_image": header.mode == "CMYK",
        "deep_image": header.bits > 8,
    }
    found.problems += [(kind, found.image) for kind, applies in notes.items() if applies]
    if not decode:
        height, width = header.size
        return (width, height) if header.orientation in SIDEWAYS else (height, width)
    _refuse_damaged_png(path)
    image = read_image(path)
    found.digest = content_digest(image)
    height, width = image.shape[-2:]
    return height, width


def content_digest(image: tv_tensors.Image) -> int:
    """A number that equal pictures share, whatever their files: 64 bits, never 0.

    Shape:
        image: (3, H, W) uint8.
    """
    pixels = image.permute(1, 2, 0).contiguous().numpy()  # as the decoders lay them, so mostly no copy
    digest = blake2b(pixels.data, digest_size=8, person=b"%dx%d" % pixels.shape[:2])
    return int.from_bytes(digest.digest(), "little") or 1


def _look_at_mask(dataset: SegmentationDataset, index: int, decode: bool, found: Inspection) -> Size:
    path = dataset.mask_source(index)
    try:
        header = image_header(path)
    except MultisegError:  # damaged, or no image at all, as a MATLAB file; the reader will tell
        pass
    else:
        if header.format in ("JPEG", "MPO"):
            found.problems.append(("lossy_mask", found.mask))
        elif isinstance(path, Path):  # how packing stores masks is nobody's mistake
            found.mask_mode = header.mode
    if not decode:
        return dataset.labels_size(index)
    _refuse_damaged_png(path)
    try:
        labels, segments = dataset.read_truth(index)
    except UnknownIdsError as error:
        if isinstance(dataset, PanopticDataset):
            found.problems.append(("unknown_segment", _below_root(error, dataset)))
        else:
            found.unknown_ids = error.ids[:_MOST_IDS]
        return dataset.labels_size(index)
    except ColoredMaskError:
        found.mask_mode = ""
        found.problems.append(("colored_mask", found.mask))
        return dataset.labels_size(index)
    if segments is not None and (unseen := _unseen_segments(dataset, index, segments)) > 0:
        found.problems.append(("unseen_segment", f"{found.mask}: {unseen} of its records"))
    # ignored pixels, which are -1, are counted in front
    found.pixels = np.bincount((labels.numpy() + np.int16(1)).ravel(), minlength=1 + len(dataset.label_space))
    height, width = labels.shape[-2:]
    return height, width


def _unseen_segments(dataset: SegmentationDataset, index: int, segments: Segments) -> int:
    """How many segments are in the records and not in the mask; below 0 where there are no records."""
    if not isinstance(dataset, CocoPanopticDataset):
        return 0
    _, classes, _ = dataset.segment_table.of_image(index)
    classes = classes[classes != IGNORE]
    things = dataset.label_space.things[classes]
    # all records of one stuff class make one segment; of masks with two channels there are no records
    return max(0, int(things.sum()) + len(np.unique(classes[~things])) - len(segments))


def _compare(header: ImageHeader, size: Size, mask_size: Size, found: Inspection) -> list[tuple[str, str]]:
    """What image and mask have to do with one another."""
    turned = header.orientation
    if size != mask_size:
        (height, width), (mask_height, mask_width) = size, mask_size
        text = f"{found.mask} is {mask_width}×{mask_height}, its image {width}×{height}"
        return [("size_mismatch", f"{text} (turned by its EXIF tag)" if turned in SIDEWAYS else text)]
    if turned not in range(2, 9):
        return []
    clear = turned in SIDEWAYS and size[0] != size[1]
    return [("turned_image" if clear else "unclear_turn", f"{found.image} (orientation {turned})")]


def _refuse_damaged_png(path: Source) -> None:
    """Walks the chunks of a PNG: Pillow overlooks wrong checksums, and a cut within the last rows.

    Of other formats, the decoders notice a truncated file themselves.
    """
    try:
        with path.open("rb") as file:
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                return
            data = memoryview(file.read())
    except OSError as error:
        raise MultisegError(f"{path} cannot be read: {error.strerror}") from None
    # each chunk: length, four letters, content, checksum of letters and content (PNG specification, 5.3)
    start, letters = 0, b""
    while letters != b"IEND":
        content_end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if content_end + 4 > len(data):
            raise MultisegError(f"{path} is truncated.")
        letters = bytes(data[start + 4 : start + 8])
        if zlib.crc32(data[start + 4 : content_end]) != int.from_bytes(data[content_end : content_end + 4], "big"):
            raise MultisegError(f"{path} is damaged: wrong checksum.")
        start = content_end + 4


def _below_root(error: MultisegError, dataset: SegmentationDataset) -> str:
    """A message whose paths are relative to the dataset's root."""
    return str(error).replace(f"{dataset.location}{os.sep}", "")
