"""What every reader of a dataset shares: finding the root, listing pairs, reading an image and its mask.

A new dataset is one new module beside this one: a subclass of `SegmentationDataset` with a name, a card, a label space and
`list_pairs`. Nothing else needs to know of it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from multiseg.batch import Sample
from multiseg.errors import MultisegError, did_you_mean
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


class PairTable(Sequence[tuple[str, str]]):
    """Relative paths of images and masks in two flat byte strings: a few dozen bytes an image, and, being no Python objects,
    never copied into forked workers by reference counting."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        encoded = [f"{image}\0{mask}".encode() for image, mask in pairs]
        self._ends = np.cumsum([len(line) for line in encoded], dtype=np.int64)
        self._text = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self._ends[index - 1] if index else 0
        image, mask = self._text[start : self._ends[index]].tobytes().decode().split("\0")
        return image, mask


class SegmentationDataset(Dataset[Sample], ABC):
    """One split of one dataset, read as it lies on disk.

    Args:
        root: the folder of the official layout, or its parent.
        split: one of `splits`.
        name: the name of the dataset in this run, and so of its label space; by default the reader's.

    Raises:
        MultisegError: the root is missing or is not of this layout, there is no such split, or the split is empty.
    """

    #: The name on the command line, as in `--data camvid=/d/CamVid`.
    reader: ClassVar[str]
    card: ClassVar[DatasetCard]
    #: The first is trained on, the second evaluated, unless a recipe says otherwise.
    splits: tuple[str, ...]
    #: Paths, relative to the root, by which a root of this layout is recognised.
    markers: ClassVar[tuple[str, ...]]
    label_space: LabelSpace

    def __init__(self, root: Path | str, split: str, name: str | None = None) -> None:
        self.root = self.find_root(Path(root))
        self.prepare()
        if split not in self.splits:
            raise MultisegError(f"{self.reader} has no split '{split}'; {did_you_mean(split, self.splits)}")
        self.split = split
        self.name = name or self.reader
        self.label_space = self.label_space.renamed(self.name)
        self.pairs = PairTable(self.list_pairs())
        if not len(self.pairs):
            raise MultisegError(f"{self.root}: split '{split}' of {self.reader} has no images.")

    def prepare(self) -> None:  # noqa: B027  (optional, so not abstract)
        """Called once the root is known: a reader whose classes or splits lie in a file reads them here."""

    @abstractmethod
    def list_pairs(self) -> Iterable[tuple[str, str]]:
        """(image, mask) of every sample of `self.split`, as paths relative to `self.root`, in a fixed order."""

    def read_raw(self, path: Path) -> NDArray[Any]:
        """The raw ids of a mask file, (H, W). Override for masks that are neither grey, palette nor RGB."""
        return read_mask(path, as_colors=False)

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """`root` or the one child of it that has this layout."""
        if not root.is_dir():
            raise MultisegError(f"{cls.reader}: the folder {root} does not exist.")
        children = sorted(child for child in root.iterdir() if child.is_dir())
        for candidate in [root, *children]:
            if all((candidate / marker).exists() for marker in cls.markers):
                return candidate
        missing = next(marker for marker in cls.markers if not (root / marker).exists())
        raise MultisegError(f"{cls.reader}: {root} has no '{missing}'; expected layout:\n{cls.card.layout}")

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
            raise MultisegError(
                f"{self.mask_path(index)} is {mask_width}×{mask_height}, but its image {image_path.name} is {width}×{height}."
            )
        return Sample(image, labels, self.label_space, Path(self.pairs[index][0]).with_suffix("").as_posix())


def read_image(path: Path) -> tv_tensors.Image:
    """An image as RGB, turned as its EXIF says. Shape: (3, H, W) uint8.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or is absurdly large.
    """
    _refuse_bomb(path)
    try:
        return tv_tensors.Image(decode_image(str(path), mode=ImageReadMode.RGB, apply_exif_orientation=True))
    except RuntimeError as error:
        raise _undecodable(path, error) from None


def read_mask(path: Path, as_colors: bool) -> NDArray[Any]:
    """The raw ids of a mask file.

    Args:
        path: PNG (or any lossless format): 8-bit or 16-bit grey, palette (the indices are the ids), or RGB.
        as_colors: pixels are colours and leave packed by `pack_colors`.

    Shape: (H, W) uint8, uint16 or int32.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or holds colours where ids are expected.
    """
    try:
        with Image.open(path) as file:
            _refuse_pixels(path, *file.size)
            if as_colors:
                return pack_colors(np.asarray(file.convert("RGB")))
            if file.mode in ("RGB", "RGBA"):
                rgb = np.asarray(file)[..., :3]
                if (rgb == rgb[..., :1]).all():  # a grey mask saved as RGB
                    return np.ascontiguousarray(rgb[..., 0])
                raise MultisegError(f"{path} holds colours, but ids are expected.")
            if file.mode == "1":
                return np.asarray(file).astype(np.uint8)
            raw = np.asarray(file)
            return raw.astype(np.int32) if raw.dtype.kind not in "iu" else raw
    except FileNotFoundError:
        raise MultisegError(f"{path} does not exist.") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, error) from None


def image_size(path: Path) -> tuple[int, int]:
    """Height and width as stored, read from the header alone.

    Raises:
        MultisegError: the file is missing or is no image.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            return height, width
    except FileNotFoundError:
        raise MultisegError(f"{path} does not exist.") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, error) from None


def _refuse_bomb(path: Path) -> None:
    _refuse_pixels(path, *image_size(path))


def _refuse_pixels(path: Path, first: int, second: int) -> None:
    if first * second > MAX_PIXELS:
        raise MultisegError(f"{path} has {first * second:,} pixels; more than {MAX_PIXELS:,} are refused.")


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
