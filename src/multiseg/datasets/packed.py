"""A dataset in shards, as `multiseg datasets pack` writes it: any reader's, with the same images, labels and keys.

Masks are PNG files of contiguous ids (of a panoptic dataset: of segments) plus one, so that 0 is `IGNORE`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.datasets.base import (
    DatasetCard,
    Item,
    PairTable,
    PanopticDataset,
    SegmentationDataset,
    Shards,
    StoredFile,
    UnlabelledDataset,
    image_size,
    read_files,
    read_manifest,
    read_mask,
    url_of,
)
from multiseg.datasets.base.shards import MANIFEST
from multiseg.errors import EmptySplitError, MultisegError, did_you_mean
from multiseg.label_space import LabelClass, LabelSpace

_OWN = LabelSpace("packed", (LabelClass("as packed", (0,), (0, 0, 0)),))

_CARD = DatasetCard(
    title="Any dataset in shards, by multiseg datasets pack",
    url="",
    license="that of the dataset",
    citation="",
    layout="packed.json (classes, card, splits)\n0-train/{index.json,files.npz,chunk-*.bin}\n1-val/…",
)


class PackedSplit(SegmentationDataset):
    """What the three kinds below share."""

    card = _CARD
    splits: tuple[str, ...] = ()
    markers = (MANIFEST,)

    def __init__(self, root: Path | str, split: str, name: str | None = None) -> None:
        self.root = self.find_root(Path(root))
        self.url = url_of(self.root)
        manifest = read_manifest(self.root)
        self.manifest_reader = str(manifest["reader"])
        known = manifest["splits"]
        if split not in known:
            raise MultisegError(f"{self.location} has no split '{split}'; {did_you_mean(split, known)}")
        self.splits = tuple(known)
        self.split = split
        self.withheld_splits = tuple(manifest["withheld_splits"])
        self.card = DatasetCard(**{**manifest["card"], "layout": _CARD.layout})
        self.label_space = LabelSpace.from_json(manifest["label_space"])
        self.name = name or self.label_space.name
        self.label_space = self.label_space.renamed(self.name)
        folder = known[split]["folder"]
        files = read_files(self.root / folder / "files.npz")
        self.pairs = PairTable.from_arrays(files)
        if not len(self.pairs):
            raise EmptySplitError(f"{self.location}: split '{split}' has no images.")
        self.shards = Shards(self.root / folder, files["checksums"], self.url and f"{self.url}/{folder}")
        self._last: tuple[int, Item] | None = None

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        return tuple(read_manifest(cls.find_root(root))["splits"])

    @property
    def location(self) -> str:
        return self.url or str(self.root)

    @property
    def made_by(self) -> str:
        return self.manifest_reader

    def missing_files(self) -> tuple[list[int], list[int]]:
        return self.shards.missing(), []

    def require_shards(self) -> None:
        """Looks at the files without opening them.

        Raises:
            MultisegError: a shard that cannot be fetched is missing, or has another size than it had when packed.
        """
        self.shards.require()

    def image_path(self, index: int) -> NoReturn:
        """
        Raises:
            MultisegError: always.
        """
        raise MultisegError(f"{self.name} is packed: its images are no files.")

    def mask_path(self, index: int) -> NoReturn:
        """
        Raises:
            MultisegError: always.
        """
        raise MultisegError(f"{self.name} is packed: its masks are no files.")

    def image_source(self, index: int) -> StoredFile:
        return StoredFile(f"{self.shards.where(index)}:{self.pairs[index][0]}", self._item(index).image)

    def mask_source(self, index: int) -> StoredFile:
        return StoredFile(f"{self.shards.where(index)}:{self.pairs[index][1]}", self._item(index).mask)

    def labels_size(self, index: int) -> tuple[int, int]:
        return image_size(self.mask_source(index), turned=False)

    def _item(self, index: int) -> Item:
        """A sample's parts are asked for one after another, so the last one is kept."""
        last = self._last
        if last is None or last[0] != index:
            last = index, self.shards[index]
            self._last = last
        return last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def _ids(self, index: int) -> tv_tensors.Mask:
        """The stored mask. Shape: (H, W) int16."""
        raw = read_mask(self.mask_source(index), as_colors=False)
        return tv_tensors.Mask(torch.from_numpy(raw.astype(np.int16) - np.int16(1)))


class Packed(PackedSplit):
    """A dataset with labels."""

    reader = "packed"
    label_space = _OWN

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        return (self.pairs[index] for index in range(len(self.pairs)))

    def read_labels(self, index: int) -> tv_tensors.Mask:
        """
        Raises:
            MultisegError: the shard is missing or damaged.
        """
        return self._ids(index)


class PackedPanoptic(PackedSplit, PanopticDataset):
    """A dataset with segments."""

    reader = "packed_panoptic"
    label_space = _OWN

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        return (self.pairs[index] for index in range(len(self.pairs)))

    def read_segments(self, index: int) -> Segments:
        """
        Raises:
            MultisegError: the shard is missing or damaged.
        """
        ids, told = self._ids(index), json.loads(self._item(index).segments)
        return Segments(
            ids, torch.tensor(told["classes"], dtype=torch.int64), torch.tensor(told["crowd"], dtype=torch.bool)
        )


class PackedImages(PackedSplit, UnlabelledDataset):
    """Images without labels."""

    reader = "packed_images"
    label_space = LabelSpace("packed_images", ())

    def list_images(self) -> Iterable[str]:
        return (self.pairs[index][0] for index in range(len(self.pairs)))


#: By what a packed dataset calls its kind.
KINDS: dict[str, type[SegmentationDataset]] = {
    "semantic": Packed,
    "panoptic": PackedPanoptic,
    "unlabelled": PackedImages,
}


def kind_of(dataset: type[SegmentationDataset]) -> str:
    """How a dataset is to be packed: a key of `KINDS`."""
    if not dataset.labelled:
        return "unlabelled"
    return "panoptic" if issubclass(dataset, PanopticDataset) else "semantic"


def packed_reader(root: Path, stated: str | None = None) -> type[SegmentationDataset] | None:
    """What reads a packed dataset, as a root is recognised without a reader's name.

    Args:
        root: a folder, or its parent.
        stated: the reader that a recipe or the command line names. One of this module may stand for any of them, and
            so may the one that the dataset was packed with.

    Returns:
        None where nothing packed lies there.

    Raises:
        MultisegError: it was packed with another reader than is stated, or its description is damaged.
    """
    try:
        folder = next(path.parent for path in (root / MANIFEST, *sorted(root.glob(f"*/{MANIFEST}"))) if path.is_file())
    except StopIteration:
        return None
    manifest = read_manifest(folder)
    if manifest.get("kind") not in KINDS:
        raise MultisegError(f"{folder / MANIFEST} is of unknown kind '{manifest.get('kind')}'.")
    own = [reader.reader for reader in KINDS.values()]
    if stated is not None and stated not in (*own, manifest["reader"]):
        raise MultisegError(
            f"{url_of(folder) or folder} was packed with the reader '{manifest['reader']}', not '{stated}'."
        )
    return KINDS[manifest["kind"]]
