"""Panoptic data of one's own: COCO's format with categories that nobody else has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save, write_panoptic_json
from multiseg.synthetic.layouts.coco_panoptic import write_segments

#: Neither in the order of ids nor without gaps; one has no colour.
CATEGORIES: tuple[Record, ...] = (
    {"id": 40, "name": "quay", "isthing": 0, "color": [170, 150, 130]},
    {"id": 41, "name": "water", "isthing": 0, "color": [40, 120, 200]},
    {"id": 7, "name": "ship", "isthing": 1, "color": [240, 120, 30]},
    {"id": 3, "name": "container", "isthing": 1, "color": [30, 140, 110]},
    {"id": 1000, "name": "backdrop", "isthing": 0},
    {"id": 12, "name": "person", "isthing": 1, "color": [220, 20, 60]},
    {"id": 13, "name": "vehicle", "isthing": 1, "color": [20, 40, 140]},
)
_THINGS = tuple(category["id"] for category in CATEGORIES if category["isthing"])


class Panoptic(Layout):
    name = "panoptic"
    domain = "harbour"
    other = 0
    raw_of_world: ClassVar = {
        **dict.fromkeys(("paving", "sidewalk", "kerb", "road", "road-marking"), 40),
        "water": 41,
        "boat": 7,
        "container": 3,
        **dict.fromkeys(("sky", "facade", "window", "door", "tree", "bush", "grass", "crane"), 1000),
        **dict.fromkeys(("person", "rider"), 12),
        **dict.fromkeys(("car", "truck", "bicycle"), 13),
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        stem = f"{split}_{index:04d}"
        save(root / f"images/{split}/{stem}.jpg", picture.image)
        return write_segments(root / f"panoptic_{split}/{stem}.png", f"{stem}.jpg", index, picture, _THINGS)

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        write_panoptic_json(root / f"panoptic_{split}.json", records, CATEGORIES)


LAYOUT = Panoptic()
