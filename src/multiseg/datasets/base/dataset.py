"""What every reader of a dataset shares: finding the root, indexing the files, reading an image and its truth."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

import multiseg
from multiseg.batch import Sample, Segments
from multiseg.datasets.base.decoding import Source, StoredImage, image_size, read_mask
from multiseg.datasets.base.index import code_of, indexed
from multiseg.datasets.base.listing import Arrays, Listing, PairTable
from multiseg.errors import EmptySplitError, MultisegError, did_you_mean
from multiseg.label_space import IGNORE, LabelSpace


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


class StoredSample(NamedTuple):
    """A `Sample` whose image has not been decoded yet; the entries are in the order of that class."""

    image: StoredImage
    labels: tv_tensors.Mask
    space: LabelSpace
    key: str
    segments: Segments | None


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
    #: Paths, relative to the root, by which a root of this layout is recognised; of a tuple of paths any one will do.
    #: Without any, every folder is a root: that which is named, and none is looked for inside it.
    markers: ClassVar[tuple[str | tuple[str, ...], ...]]
    label_space: LabelSpace
    #: Whether images have masks; see `UnlabelledDataset`.
    labelled: ClassVar[bool] = True
    #: Whether masks hold RGB colours, which `pack_colors` turns into raw ids.
    masks_are_colors: bool = False
    #: Splits whose masks are empty dummies, because a benchmark keeps the true ones.
    withheld_splits: tuple[str, ...] = ()

    def __init__(self, root: Path | str, split: str, name: str | None = None) -> None:
        self.root = self.find_root(Path(root))
        self.prepare()
        if split not in self.splits:
            raise MultisegError(f"{self.reader} has no split '{split}'; {did_you_mean(split, self.splits)}")
        self.split = split
        self.name = name or self.label_space.name
        self.label_space = self.label_space.renamed(self.name)
        self.listing = Listing(self.root)
        self.use_index(indexed(self._index_key(), self.listing, self.build_index))
        if not len(self.pairs):
            raise EmptySplitError(f"{self.root}: split '{split}' of {self.reader} has no images; {self._expected()}")

    def prepare(self) -> None:
        """Called once the root is known: a reader whose classes or splits lie in a file reads them here."""

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        """The splits of the dataset at a root, before one of them is opened."""
        return cls.splits

    def build_index(self) -> Arrays:
        """All that is to be remembered of the files of this split. A reader that needs more than pairs extends it."""
        return PairTable(self.list_pairs()).to_arrays()

    def use_index(self, arrays: Arrays) -> None:
        """Takes what `build_index` made, now or in an earlier process."""
        self.pairs = PairTable.from_arrays(arrays)

    def _index_key(self) -> tuple[str, ...] | None:
        """What an index depends on besides the disk; None for a reader without a source file, as in a notebook."""
        readers = [cls for cls in type(self).__mro__ if issubclass(cls, SegmentationDataset)]
        files = [getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in readers]
        if None in files:
            return None
        code = [code_of(file) for file in files if file]
        # an index may hold contiguous ids, which mean something in this label space only
        classes = [entry.raw_ids for entry in self.label_space.classes]
        space = json.dumps([classes, self.label_space.ignore_ids])
        return (multiseg.__version__, type(self).__qualname__, *code, str(self.root.resolve()), self.split, space)

    @abstractmethod
    def list_pairs(self) -> Iterable[tuple[str, str]]:
        """(image, mask) of every sample of `self.split`, as paths relative to `self.root`, in a fixed order.

        Look at folders and lists through `self.listing`, so that an index knows when it is out of date.
        """

    def read_raw(self, path: Path) -> NDArray[Any]:
        """The raw ids of a mask file, (H, W). Override for masks that are neither grey, palette nor RGB."""
        return read_mask(path, as_colors=self.masks_are_colors)

    def mask_size(self, path: Path) -> tuple[int, int]:
        """Height and width of a mask file, from its header alone. Override where masks are no images."""
        return image_size(path, turned=False)

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """`root` or the one child of it that has this layout.

        Raises:
            MultisegError: there is no such folder, neither has this layout, or several children have it.
        """
        if not root.is_dir():
            raise MultisegError(f"{cls.reader}: the folder {root} does not exist.")
        missing = cls.missing_marker(root)
        if missing is None:
            return root
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
        found = [name for name in folders if cls.missing_marker(root / name) is None]
        if len(found) > 1:
            raise MultisegError(f"{cls.reader}: {root} holds several such folders, name one: {', '.join(found)}.")
        if not found:
            raise MultisegError(f"{cls.reader}: {root} has no '{missing}'; {cls._expected()}")
        return root / found[0]

    @classmethod
    def missing_marker(cls, folder: Path) -> str | None:
        """The first of `markers` that a folder lacks, for a message; None where it is a root of this layout."""
        for marker in cls.markers:
            paths = (marker,) if isinstance(marker, str) else marker
            if not any(os.path.exists(folder / path) for path in paths):
                return "' or '".join(paths)
        return None

    @classmethod
    def _expected(cls) -> str:
        return "expected: " + " · ".join(cls.card.layout.splitlines())

    @property
    def made_by(self) -> str:
        """The reader that knows the files as their authors distribute them."""
        return self.reader

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
            if self.labelled and not exists(mask):
                masks.append(index)
        return images, masks

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def location(self) -> str:
        """The root, as a command line takes it and as it stands in messages."""
        return str(self.root)

    def image_path(self, index: int) -> Path:
        return self.root / self.pairs[index][0]

    def mask_path(self, index: int) -> Path:
        return self.root / self.pairs[index][1]

    # What reads samples goes through the next three, so that images and masks need not be files.

    def image_source(self, index: int) -> Source:
        """What the image is decoded from."""
        return self.image_path(index)

    def mask_source(self, index: int) -> Source:
        """What the mask is decoded from."""
        return self.mask_path(index)

    def labels_size(self, index: int) -> tuple[int, int]:
        """Height and width of a mask, from its header alone."""
        return self.mask_size(self.mask_path(index))

    def read_labels(self, index: int) -> tv_tensors.Mask:
        """Labels in contiguous ids. Shape: (H, W) int16.

        Raises:
            MultisegError: the mask is missing or cannot be decoded, or (as `UnknownIdsError`) a raw id is unknown.
        """
        path = self.mask_path(index)
        labels = self.label_space.from_raw(self.read_raw(path), str(path), self.masks_are_colors)
        return tv_tensors.Mask(torch.from_numpy(labels))

    def read_truth(self, index: int) -> tuple[tv_tensors.Mask, Segments | None]:
        """Labels, and in a panoptic dataset the segments they come from."""
        return self.read_labels(index), None

    def stored(self, index: int) -> StoredSample:
        """A sample whose image is still on disk, for whoever wants but a part of it.

        Raises:
            MultisegError: a file is missing, the mask cannot be decoded, sizes differ, or a raw id is unknown.
        """
        image = StoredImage(self.image_source(index))
        labels, segments = self.read_truth(index)
        if image.shape[-2:] != labels.shape[-2:]:
            (height, width), (mask_height, mask_width) = image.shape[-2:], labels.shape[-2:]
            mask = f"{self.mask_source(index)} is {mask_width}×{mask_height}"
            raise MultisegError(f"{mask}, but its image {image.path.name} is {width}×{height}.")
        key = Path(self.pairs[index][0]).with_suffix("").as_posix()
        return StoredSample(image, labels, self.label_space, key, segments)

    def __getitem__(self, index: int) -> Sample:
        """
        Raises:
            MultisegError: as `stored`, or the image cannot be decoded.
        """
        sample = self.stored(index)
        return Sample(sample.image.read(), *sample[1:])


class PanopticDataset(SegmentationDataset):
    """A dataset whose truth is segments: things one by one, stuff class by class."""

    @abstractmethod
    def read_segments(self, index: int) -> Segments:
        """
        Raises:
            MultisegError: a file is missing or cannot be decoded, or a segment has no class.
        """

    def read_labels(self, index: int) -> tv_tensors.Mask:
        return self.read_segments(index).labels

    def read_truth(self, index: int) -> tuple[tv_tensors.Mask, Segments | None]:
        segments = self.read_segments(index)
        return segments.labels, segments


class UnlabelledDataset(SegmentationDataset):
    """Images without masks: all their pixels are ignored, and the label space has no classes.

    In `pairs` the mask is an empty text. A sample's key is its path with the extension, since two images may differ in
    nothing else.
    """

    labelled = False

    @abstractmethod
    def list_images(self) -> Iterable[str]:
        """Every image of `self.split`, as `list_pairs` lists pairs."""

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        return ((image, "") for image in self.list_images())

    def mask_path(self, index: int) -> NoReturn:
        """
        Raises:
            MultisegError: always.
        """
        raise MultisegError(f"{self.name} has no masks.")

    def read_labels(self, index: int) -> tv_tensors.Mask:
        """`IGNORE` at the size of the image, of which only the header is read. Shape: (H, W) int16."""
        return _nothing_labelled(image_size(self.image_source(index)))

    def stored(self, index: int) -> StoredSample:
        """
        Raises:
            MultisegError: the image is missing or is none.
        """
        image = StoredImage(self.image_source(index))
        return StoredSample(image, _nothing_labelled(image.shape[-2:]), self.label_space, self.pairs[index][0], None)


def _nothing_labelled(size: Sequence[int]) -> tv_tensors.Mask:
    return tv_tensors.Mask(torch.full(tuple(size), IGNORE, dtype=torch.int16))


def _names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
