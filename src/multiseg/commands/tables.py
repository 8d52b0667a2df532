"""What commands print about datasets and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from multiseg.console import results
from multiseg.datasets import all_readers

#: Columns of panoptic scores.
PANOPTIC = ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff")


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
        classes = str(len(reader.label_space) or "none") if reader.splits else "own"
        table.add_row(name, reader.card.title, classes, " ".join(reader.splits) or "own", reader.card.license)
    results.print(table)
    return 0


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """Scores of a run, one row a dataset; nothing where it has none."""
    if not metrics["datasets"]:
        return
    counted = any("GFLOPs" in scores for scores in metrics["datasets"].values())
    cost = ["GFLOPs an image"] if counted else []
    panoptic = [key for key in PANOPTIC if any("PQ" in scores for scores in metrics["datasets"].values())]
    columns = ["dataset", *panoptic, "mIoU", "mean accuracy", "pixel accuracy", *cost, "absent classes"]
    table = Table(*columns, box=None, pad_edge=False)
    for name, scores in metrics["datasets"].items():
        figures = [_percent(scores.get(key)) for key in (*panoptic, "mIoU", "mean_accuracy", "pixel_accuracy")]
        figures += [f"{scores['GFLOPs']:.1f}"] if counted else []
        table.add_row(name, *figures, ", ".join(scores["absent"]) or "–")
    results.print(table)


def show_classes(name: str, scores: Mapping[str, Any]) -> None:
    """IoU of every class of one dataset, and where segments were judged its qualities."""
    segments = scores.get("PQ_per_class", {})
    columns = ("PQ", "SQ", "RQ") if segments else ()
    table = Table(name, *columns, "IoU", box=None, pad_edge=False)
    for class_name in dict.fromkeys([*scores["per_class"], *segments]):
        qualities = [_percent(segments.get(class_name, {}).get(key)) for key in columns]
        table.add_row(class_name, *qualities, _percent(scores["per_class"].get(class_name)))
    results.print(table)


def show_side_by_side(name: str, models: Mapping[str, Mapping[str, Any]]) -> None:
    """The scores of several models on one dataset, the means first and then the IoU of every class.

    Args:
        name: of the dataset.
        models: scores of each.
    """
    table = Table(name, *map(escape, models), box=None, pad_edge=False)
    for key, title in (("mIoU", "mIoU"), ("mean_accuracy", "mean accuracy"), ("pixel_accuracy", "pixel accuracy")):
        table.add_row(title, *(_percent(scores[key]) for scores in models.values()))
    table.add_row("GFLOPs an image", *(f"{scores['GFLOPs']:.1f}" for scores in models.values()))
    table.add_row()
    for class_name in next(iter(models.values()))["per_class"]:
        table.add_row(class_name, *(_percent(scores["per_class"][class_name]) for scores in models.values()))
    results.print(table)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
