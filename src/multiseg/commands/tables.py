"""What commands print about datasets and scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from multiseg.configuration import parse_data
from multiseg.console import progress_bar, results, say
from multiseg.datasets import SegmentationDataset, all_readers
from multiseg.errors import EmptySplitError, MultisegError, did_you_mean
from multiseg.inspection.checking import (
    SEVERITIES,
    CheckReport,
    broken_split,
    check_dataset,
    compare_splits,
    samples_to_check,
)
from multiseg.loading.datamodule import DatasetEntry, open_dataset, reader_of


def open_named(arguments: Sequence[str], role: str) -> dict[str, SegmentationDataset]:
    """Datasets given as NAME=ROOT.

    Args:
        arguments: of the command line.
        role: "train", "val", or the name of a split.
    """
    return {name: open_dataset(name, entry, role) for name, entry in _entries(arguments).items()}


def _entries(arguments: Sequence[str]) -> dict[str, DatasetEntry]:
    return {name: DatasetEntry(Path(e["root"]), e.get("reader")) for name, e in parse_data(arguments).items()}


def list_datasets(as_json: bool) -> int:
    """`multiseg datasets list`."""
    readers = all_readers()
    if as_json:
        cards = {
            name: {
                "title": reader.card.title,
                "classes": len(reader.label_space) if reader.splits else None,
                "splits": list(reader.splits),
                "license": reader.card.license,
                "url": reader.card.url,
                "citation": reader.card.citation,
                "layout": reader.card.layout,
            }
            for name, reader in readers.items()
        }
        print(json.dumps(cards, ensure_ascii=False))
        return 0
    table = Table("name", "dataset", "classes", "splits", "license", box=None, pad_edge=False)
    for name, reader in readers.items():
        classes = str(len(reader.label_space)) if reader.splits else "own"
        table.add_row(name, reader.card.title, classes, " ".join(reader.splits) or "own", reader.card.license)
    results.print(table)
    return 0


def check_datasets(
    arguments: Sequence[str],
    splits: Sequence[str] | None,
    limit: int | None,
    workers: int | None,
    strict: bool,
    as_json: bool,
) -> int:
    """`multiseg datasets check`: the splits of every dataset, one by one and against one another.

    Returns:
        1 where there are errors or, if strict, warnings.
    """
    broken: list[CheckReport] = []
    checked: list[tuple[SegmentationDataset, CheckReport]] = []
    for part in open_splits(arguments, splits):
        if isinstance(part, CheckReport):
            broken.append(part)
            continue
        headers, _ = samples_to_check(len(part), limit)
        with progress_bar(f"{part.name} {part.split}", len(headers)) as advance:
            checked.append((part, check_dataset(part, workers, lambda done, _total: advance(done), limit)))
    reports = [*broken, *compare_splits(checked)]
    if as_json:
        print(json.dumps([report.to_json() for report in reports], ensure_ascii=False))
    else:
        for report in reports:
            results.print(str(report), markup=False, soft_wrap=True)
        results.print(_verdict(reports), markup=False)
    return 1 if any(not report.ok or (strict and report.warnings) for report in reports) else 0


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
        root = reader.find_root(entry.root)
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
                parts.append(broken_split(name, split, root, error))
        if absent and (wanted or len(absent) == len(valid)):
            raise absent[0]
    return parts


def _verdict(reports: Sequence[CheckReport]) -> str:
    kinds = {severity: sum(len(report.of_severity(severity)) for report in reports) for severity in SEVERITIES}
    found = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in kinds.items() if count]
    return f"{len(reports)} split{'s' * (len(reports) != 1)} checked: {', '.join(found) or 'nothing found'}."


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """Scores of a run, one row a dataset."""
    table = Table("dataset", "mIoU", "mean accuracy", "pixel accuracy", "absent classes", box=None, pad_edge=False)
    for name, scores in metrics["datasets"].items():
        figures = [_percent(scores[key]) for key in ("mIoU", "mean_accuracy", "pixel_accuracy")]
        table.add_row(name, *figures, ", ".join(scores["absent"]) or "–")
    results.print(table)


def show_classes(name: str, scores: Mapping[str, Any]) -> None:
    """IoU of every class of one dataset."""
    table = Table(name, "IoU", box=None, pad_edge=False)
    for class_name, iou in scores["per_class"].items():
        table.add_row(class_name, _percent(iou))
    results.print(table)


def mean_miou(scores: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean over the datasets that have one; None where nothing was labelled."""
    known = [entry["mIoU"] for entry in scores if entry["mIoU"] is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
