"""Datasets as the command line names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multiseg.configuration import parse_data
from multiseg.console import say
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import local_root, url_of
from multiseg.errors import EmptySplitError, MultisegError, did_you_mean
from multiseg.inspection.checking import CheckReport, broken_split
from multiseg.loading.datamodule import DatasetEntry, open_dataset, reader_of


def open_named(arguments: Sequence[str], role: str) -> dict[str, SegmentationDataset]:
    """Datasets given as NAME=ROOT.

    Args:
        arguments: of the command line.
        role: "train", "val", or the name of a split.
    """
    return {name: open_dataset(name, entry, role) for name, entry in _entries(arguments).items()}


def require_labels(datasets: Iterable[SegmentationDataset], purpose: str) -> None:
    """
    Args:
        datasets: given on the command line.
        purpose: what needs labels, as in "evaluate on".

    Raises:
        MultisegError: one of them has none.
    """
    for dataset in datasets:
        if not dataset.labelled:
            raise MultisegError(f"the dataset '{dataset.name}' has no labels: there is nothing to {purpose}.")


def _entries(arguments: Sequence[str]) -> dict[str, DatasetEntry]:
    return {name: DatasetEntry(e["root"], e.get("reader")) for name, e in parse_data(arguments).items()}


def open_unnamed(arguments: Sequence[str], wanted: Sequence[str] = ()) -> dict[str, list[SegmentationDataset]]:
    """The splits of datasets given as NAME=ROOT, under the names that they have by themselves.

    Args:
        arguments: of the command line.
        wanted: splits of each dataset; by default all that are there.

    Raises:
        MultisegError: a dataset or one of these splits cannot be opened.
    """
    opened: dict[str, list[SegmentationDataset]] = {}
    for name, entry in _entries(arguments).items():
        reader, root = reader_of(name, entry), local_root(entry.root)
        parts = []
        for split in dict.fromkeys(wanted or reader.splits_of(root)):
            try:
                parts.append(reader(root, split))
            except EmptySplitError as error:
                if wanted:
                    raise
                say(f"{name} {split}: not there ({str(error).splitlines()[0]})")
        if not parts:
            raise MultisegError(f"{name}: none of its splits is there.")
        opened[name] = parts
    return opened


def open_splits(
    arguments: Sequence[str], wanted: Sequence[str] | None = None
) -> list[SegmentationDataset | CheckReport]:
    """The splits of datasets given as NAME=ROOT; one that cannot be listed comes as the report that says why.

    Args:
        arguments: of the command line.
        wanted: splits of each dataset; by default all that are there.

    Raises:
        MultisegError: a dataset cannot be opened at all, or a split that is wanted does not exist.
    """
    parts: list[SegmentationDataset | CheckReport] = []
    for name, entry in _entries(arguments).items():
        reader = reader_of(name, entry)
        root = reader.find_root(local_root(entry.root))
        valid = reader.splits_of(root)
        for split in wanted or ():
            if split not in valid:
                raise MultisegError(f"{name} has no split '{split}'; {did_you_mean(split, valid)}")
        absent: list[EmptySplitError] = []
        for split in wanted or valid:
            try:
                parts.append(reader(root, split, name))
            except EmptySplitError as error:
                absent.append(error)
                say(f"{name} {split}: not there ({str(error).splitlines()[0]})")
            except MultisegError as error:
                parts.append(broken_split(name, split, url_of(root) or root, error))
        if absent and (wanted or len(absent) == len(valid)):
            raise absent[0]
    return parts
