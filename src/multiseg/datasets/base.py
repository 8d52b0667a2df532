"""What every reader of a dataset shares: finding the root, listing pairs, reading an image and its mask.

A new dataset is one new module beside this one: a subclass of `SegmentationDataset` with a name, a card, a label space
and `list_pairs`. Nothing else needs to know of it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from multiseg.batch import Sample
from multiseg.errors import EmptySplitError, MultisegError, did_you_mean
from multiseg.label_space import LabelSpace, pack_colors

#: Larger images are refused as decompression bombs (Pillow's own limit, applied to every decoder).
MAX_PIXELS = 178_956_970


@dataclass(frozen=True)
class DatasetCard:
    """What a person wants to know of a dataset before using it.

    Args:
        title: its full name.
        url: where to get it.
        license: in a few words.
        citation: the paper.
        layout: how it must lie on disk, as a small tree.
    """

    title: str
    url: str
    license: str
    citation: str
    layout: str


class PairTable:
    """Relative paths of images and masks in one flat byte string and the places where each pair ends.

    A few dozen bytes an image, and, being no Python objects, never copied into forked workers by reference counting.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        encoded = [os.fsencode(f"{image}\0{mask}") for image, mask in pairs]
        self._ends = np.cumsum([len(line) for line in encoded], dtype=np.int64)
        self._text = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> tuple[str, str]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self._ends[index - 1] if index else 0
        image, mask = os.fsdecode(self._text[start : self._ends[index]].tobytes()).split("\0")
        return image, mask


class SegmentationDataset(Dataset[Sample], ABC):
    """One split of one dataset, read as it lies on disk.

    Args:
        root: the folder of the official layout, or its parent.
        split: one of `splits`.
        name: the name of the dataset in this run, and so of its label space; by default the label space's own, which is
            the reader's, and for `folder` the one in its file.

    Raises:
        MultisegError: the root is missing or is not of this layout, there is no such split, or the split is empty.
    """

    #: The name on the command line, as in `--data camvid=/d/CamVid`.
    reader: ClassVar[str]
    card: DatasetCard
    #: The first is trained on, the second evaluated, unless a recipe says otherwise.
    splits: tuple[str, ...]
    #: Paths, relative to the root, by which a root of this layout is recognised.
    markers: ClassVar[tuple[str, ...]]
    label_space: LabelSpace
    #: Whether masks hold RGB colours, which `pack_colors` turns into raw ids.
    masks_are_colors: bool = False
    #: Splits whose masks are empty dummies, because a benchmark keeps the true ones.
    withheld_splits: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: Path | str, split: str, name: str | None = None) -> None:
        self.root = self.find_root(Path(root))
        self.prepare()
        if split not in self.splits:
            raise MultisegError(f"{self.reader} has no split '{split}'; {did_you_mean(split, self.splits)}")
        self.split = split
        self.name = name or self.label_space.name
        self.label_space = self.label_space.renamed(self.name)
        self.pairs = PairTable(self.list_pairs())
        if not len(self.pairs):
            raise EmptySplitError(f"{self.root}: split '{split}' of {self.reader} has no images; {self._expected()}")

    def prepare(self) -> None:
        """Called once the root is known: a reader whose classes or splits lie in a file reads them here."""

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        """The splits of the dataset at a root, before one of them is opened."""
        return cls.splits

    @abstractmethod
    def list_pairs(self) -> Iterable[tuple[str, str]]:
        """(image, mask) of every sample of `self.split`, as paths relative to `self.root`, in a fixed order."""

    def read_raw(self, path: Path) -> NDArray[Any]:
        """The raw ids of a mask file, (H, W). Override for masks that are neither grey, palette nor RGB."""
        return read_mask(path, as_colors=self.masks_are_colors)

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """`root` or the one child of it that has this layout.

        Raises:
            MultisegError: there is no such folder, neither has this layout, or several children have it.
        """
        if not root.is_dir():
            raise MultisegError(f"{cls.reader}: the folder {root} does not exist.")
        if cls._has_markers(root):
            return root
        with os.scandir(root) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir() and cls._has_markers(root / entry.name))
        if len(found) > 1:
            raise MultisegError(f"{cls.reader}: {root} holds several such folders, name one: {', '.join(found)}.")
        if not found:
            missing = next(marker for marker in cls.markers if not os.path.exists(root / marker))
            raise MultisegError(f"{cls.reader}: {root} has no '{missing}'; {cls._expected()}")
        return root / found[0]

    @classmethod
    def _has_markers(cls, folder: Path) -> bool:
        return all(os.path.exists(folder / marker) for marker in cls.markers)

    @classmethod
    def _expected(cls) -> str:
        return "expected: " + " · ".join(cls.card.layout.splitlines())

    def missing_files(self) -> tuple[list[int], list[int]]:
        """Places of the samples whose image, and of those whose mask, does not exist.

        Every folder is listed once and no file is opened, so 120,000 pairs take about a second.
        """
        names_in: dict[str, set[str]] = {}

        def exists(path: str) -> bool:
            folder, _, name = path.rpartition("/")
            if folder not in names_in:
                names_in[folder] = _names_in(self.root / folder)
            # a file system that ignores case finds more than its listing shows
            return name in names_in[folder] or os.path.isfile(self.root / path)

        images, masks = [], []
        for index in range(len(self)):
            image, mask = self.pairs[index]
            if not exists(image):
                images.append(index)
            if not exists(mask):
                masks.append(index)
        return images, masks

    def __len__(self) -> int:
        return len(self.pairs)

    def image_path(self, index: int) -> Path:
        return self.root / self.pairs[index][0]

    def mask_path(self, index: int) -> Path:
        return self.root / self.pairs[index][1]

    def read_labels(self, index: int) -> tv_tensors.Mask:
        """Labels in contiguous ids. Shape: (H, W) int16."""
        path = self.mask_path(index)
        labels = self.label_space.from_raw(self.read_raw(path), where=str(path))
        return tv_tensors.Mask(torch.from_numpy(labels))

    def __getitem__(self, index: int) -> Sample:
        """
        Raises:
            MultisegError: a file is missing or cannot be decoded, sizes differ, or a raw id is unknown.
        """
        image_path = self.image_path(index)
        image = read_image(image_path)
        labels = self.read_labels(index)
        if image.shape[-2:] != labels.shape[-2:]:
            (height, width), (mask_height, mask_width) = image.shape[-2:], labels.shape[-2:]
            mask = f"{self.mask_path(index)} is {mask_width}×{mask_height}"
            raise MultisegError(f"{mask}, but its image {image_path.name} is {width}×{height}.")
        return Sample(image, labels, self.label_space, Path(self.pairs[index][0]).with_suffix("").as_posix())


def pair_files(
    root: Path, images: str, masks: str, image_endings: tuple[str, ...], mask_endings: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """(image, mask) of two parallel folders, matched by their paths without the endings, in sorted order.

    An image without a mask, or a mask without an image, is paired with the name that its partner should have, so that
    `SegmentationDataset.missing_files` finds it.

    Args:
        root: what the result is relative to.
        images: the folder of the images, relative to `root`.
        masks: the folder of the masks.
        image_endings: such as `_image.jpg`, the usual one first; case does not matter.
        mask_endings: the same for the masks.

    Raises:
        EmptySplitError: there is no folder of images.
        MultisegError: there is none of masks, or two files match the same partner.
    """
    if not (root / images).is_dir():
        raise EmptySplitError(f"the folder {root / images} does not exist.")
    # images and masks may share a folder, or the masks' lie within the images'
    image_of = _list_files(
        root, images, image_endings, apart_from=masks, but_not=mask_endings if images == masks else ()
    )
    mask_of = _list_files(root, masks, mask_endings, apart_from=images)
    for stem in sorted(image_of.keys() | mask_of.keys()):
        image = image_of.get(stem, stem + image_endings[0])
        yield f"{images}/{image}", f"{masks}/{mask_of.get(stem, stem + mask_endings[0])}"


def _list_files(
    root: Path, folder: str, endings: tuple[str, ...], apart_from: str, but_not: tuple[str, ...] = ()
) -> dict[str, str]:
    """Files below a folder: path without its ending to path, both relative to the folder."""
    by_length = sorted((ending.lower() for ending in endings), key=len, reverse=True)
    files: dict[str, str] = {}

    def visit(where: str, prefix: str) -> None:
        with os.scandir(where) as entries:
            for entry in entries:
                name, path = entry.name, prefix + entry.name
                if name.startswith("."):  # macOS leaves a "._x.png" beside an "x.png"
                    continue
                if entry.is_dir():
                    if entry.path != partner:
                        visit(entry.path, path + "/")
                    continue
                lower = name.lower()
                ending = next((ending for ending in by_length if lower.endswith(ending)), None)
                if ending is None or lower.endswith(but_not):
                    continue
                stem = path[: len(path) - len(ending)]
                if stem in files:
                    first, second = sorted([files[stem], path])
                    raise MultisegError(f"{root / folder} has both {first} and {second}; keep one.")
                files[stem] = path

    if not (root / folder).is_dir():
        raise MultisegError(f"the folder {root / folder} does not exist.")
    partner = os.fspath(root / apart_from)
    visit(os.fspath(root / folder), "")
    return files


def _names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a split list with their numbers, without blank ones.

    Raises:
        EmptySplitError: there is no such file.
    """
    if not path.is_file():
        raise EmptySplitError(f"the list {path} does not exist.")
    # file names need not be UTF-8, so what is not comes back as `os.fsdecode` spells it
    for number, line in enumerate(path.read_text("utf-8-sig", "surrogateescape").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def pack_color(color: tuple[int, int, int]) -> int:
    """The raw id of one colour, as `pack_colors` gives it for a mask."""
    return int(pack_colors(np.array(color, np.uint8)))


def leaves_root(path: str) -> bool:
    """Whether a path from a list or a recipe is absolute or climbs out by `..`: such a file is never opened."""
    absolute = PurePosixPath(path).is_absolute() or bool(PureWindowsPath(path).anchor)
    return absolute or ".." in PureWindowsPath(path).parts


def read_image(path: Path) -> tv_tensors.Image:
    """An image as RGB, turned as its EXIF says. Shape: (3, H, W) uint8.

    Sixteen bits a channel become eight; transparency is dropped.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or is absurdly large.
    """
    with _opened(path) as file:
        if file.format not in ("JPEG", "MPO"):
            return _pixels(ImageOps.exif_transpose(file))
    # Two to three times as fast as Pillow. Only for JPEG: torchvision's PNG decoder is no faster, and a damaged file
    # can end the process (seen with torchvision 0.29: "bad adaptive filter value", then a segmentation fault).
    try:
        return tv_tensors.Image(decode_image(str(path), mode=ImageReadMode.RGB, apply_exif_orientation=True))
    except RuntimeError:
        # its own message begins with a path of the machine that torchvision was built on
        raise MultisegError(f"{path} cannot be decoded as an image: damaged or truncated JPEG data") from None


def _pixels(file: Image.Image) -> tv_tensors.Image:
    if file.mode in ("I", "F"):
        raise ValueError("it has 32 bits a pixel, expected 8 or 16 a channel")
    if file.mode.startswith("I;16"):
        file = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8))
    # like torchvision's JPEG decoder, channels last in memory
    return tv_tensors.Image(torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1))


def read_mask(path: Path, as_colors: bool) -> NDArray[Any]:
    """The raw ids of a mask file.

    Args:
        path: PNG (or any lossless format): 8-bit or 16-bit grey, palette (the indices are the ids), or RGB.
        as_colors: pixels are colours and leave packed by `pack_colors`.

    Shape: (H, W) uint8, uint16 or int32.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or holds colours where ids are expected.
    """
    with _opened(path) as file:
        if as_colors:
            # `pack_colors` at a fraction of its time: four bytes a pixel, of which the last is padding
            rgb = file if file.mode == "RGB" else file.convert("RGB")
            return np.asarray(rgb.convert("RGBX")).view("<i4")[..., 0] & 0xFFFFFF
        raw = np.asarray(file)
        if raw.ndim == 3:
            grey = raw[..., 0]
            if file.mode not in ("LA", "PA") and (raw[..., :3] != grey[..., None]).any():
                raise MultisegError(f"{path} holds colours, but ids are expected.")
            return np.ascontiguousarray(grey)  # a grey mask saved as RGB or with transparency
        if raw.dtype.kind in "iu":
            return raw
        if raw.dtype.kind == "b":
            return raw.astype(np.uint8)
        raise ValueError("its pixels are no integers")


def image_size(path: Path, turned: bool = True) -> tuple[int, int]:
    """Height and width, read from the header alone.

    Args:
        path: an image or a mask.
        turned: as its EXIF says, like `read_image`; false for a mask, which is never turned.

    Raises:
        MultisegError: the file is missing or is no image.
    """
    with _opened(path) as file:
        width, height = file.size
        # EXIF 2.3, tag Orientation: from 5 to 8 rows and columns change places
        sideways = turned and file.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (width, height) if sideways else (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A file opened by Pillow, its pixels counted first; whatever goes wrong inside is a `MultisegError` naming it."""
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width * file.height:,} pixels, more than {MAX_PIXELS:,} are refused")
            yield file
    except FileNotFoundError:
        raise MultisegError(f"{path} does not exist.") from None
    except _DECODE_ERRORS as error:
        raise _undecodable(path, error) from None


#: What Pillow raises on damaged files.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def _undecodable(path: Path, error: Exception) -> MultisegError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return MultisegError(f"{path} cannot be decoded as an image: {reason}")


@cache
def all_readers() -> dict[str, type[SegmentationDataset]]:
    """Every reader of this package by its command-line name, from the modules that lie in it."""
    package = importlib.import_module("multiseg.datasets")
    readers: dict[str, type[SegmentationDataset]] = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"multiseg.datasets.{module_info.name}")
        for member in vars(module).values():
            if inspect.isclass(member) and issubclass(member, SegmentationDataset) and not inspect.isabstract(member):
                readers[member.reader] = member
    return dict(sorted(readers.items()))


def find_reader(name: str) -> type[SegmentationDataset]:
    """A reader by its command-line name.

    Raises:
        MultisegError: there is none; the message names the nearest.
    """
    readers = all_readers()
    if name not in readers:
        raise MultisegError(f"no dataset reader '{name}'; {did_you_mean(name, readers)}")
    return readers[name]
