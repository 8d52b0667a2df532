"""What commands print about datasets and scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from multiseg.checking import check_dataset
from multiseg.configuration import parse_data
from multiseg.console import progress_bar, results, say
from multiseg.datasets import SegmentationDataset, all_readers
from multiseg.errors import EmptySplitError
from multiseg.label_space import LabelSpace, same_name, union_by_name
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.taxonomy import read_relations, relations_by_name, write_relations


def open_named(arguments: Sequence[str], role: str) -> dict[str, SegmentationDataset]:
    """Datasets given as NAME=ROOT.

    Args:
        arguments: of the command line.
        role: "train", "val", or the name of a split.
    """
    entries = {name: DatasetEntry(Path(e["root"]), e.get("reader")) for name, e in parse_data(arguments).items()}
    return {name: open_dataset(name, entry, role) for name, entry in entries.items()}


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


def check_datasets(arguments: Sequence[str], as_json: bool) -> int:
    """`multiseg datasets check`: every split of every dataset. Returns 1 where something would stop training."""
    reports = []
    for name, dataset in open_named(arguments, "train").items():
        for split in dataset.splits:
            try:
                part = type(dataset)(dataset.root, split, name)
            except EmptySplitError as error:
                say(f"{name} {split}: not there ({str(error).splitlines()[0]})")
                continue
            with progress_bar(f"{name} {split}", len(part)) as advance:
                reports.append(check_dataset(part, progress=lambda done, _total: advance(done)))
    if as_json:
        print(json.dumps([report.to_json() for report in reports], ensure_ascii=False))
    else:
        for report in reports:
            results.print(str(report), markup=False, soft_wrap=True)
    return 0 if all(report.ok for report in reports) else 1


def show_taxonomy(arguments: Sequence[str], by: str, out: Path | None, as_json: bool) -> int:
    """`multiseg taxonomy`: how the label spaces relate."""
    spaces = [dataset.label_space for dataset in open_named(arguments, "train").values()]
    relations = relations_by_name(spaces) if by == "name" else read_relations(Path(by), spaces)
    related = {(r.from_dataset, r.from_class) for r in relations} | {(r.to_dataset, r.to_class) for r in relations}
    alone = {s.name: [name for name in s.names if (s.name, name) not in related] for s in spaces}
    if out:
        write_relations(out, relations)
        say(f"wrote {len(relations)} relations to {out}")
    if as_json:
        rows = [[r.from_dataset, r.from_class, r.relation, r.to_dataset, r.to_class] for r in relations]
        union = [entry.name for entry in union_by_name(spaces).space.classes]
        print(json.dumps({"relations": rows, "without_partner": alone, "union_by_name": union}, ensure_ascii=False))
        return 0
    results.print(_union_table(spaces))
    results.print(f"\n{len(relations)} relations between classes of different datasets:", markup=False)
    for relation in relations:
        start, end = f"{relation.from_dataset}/{relation.from_class}", f"{relation.to_dataset}/{relation.to_class}"
        results.print(f"  {start}  {relation.relation}  {end}", markup=False)
    results.print("\nwithout partner:", markup=False)
    for dataset, names in alone.items():
        results.print(f"  {dataset}: {', '.join(names) or 'none'}", markup=False, soft_wrap=True)
    return 0


def _union_table(spaces: Sequence[LabelSpace]) -> Table:
    table = Table("class (union by name)", *[space.name for space in spaces], box=None, pad_edge=False)
    for entry in union_by_name(spaces).space.classes:
        own = [next((name for name in space.names if same_name(name) == same_name(entry.name)), "") for space in spaces]
        table.add_row(entry.name, *own)
    return table


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
