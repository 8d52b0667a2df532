"""ADE20K as the MIT Scene Parsing Benchmark has it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save

_FOLDERS = {"train": "training", "val": "validation"}


class ADE20K(Layout):
    name = "ade20k"
    domain = "room"
    other = 0
    raw_of_world: ClassVar = {
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 1),
        "facade": 2,
        "sky": 3,
        "floor": 4,
        "tree": 5,
        "ceiling": 6,
        **dict.fromkeys(("road", "road-marking"), 7),
        "window": 9,
        "grass": 10,
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 12),
        **dict.fromkeys(("person", "rider"), 13),
        "door": 15,
        "table": 16,
        **dict.fromkeys(("bush", "potted-plant"), 18),
        "chair": 20,
        "car": 21,
        "water": 22,
        "picture": 23,
        "sofa": 24,
        "shelf": 25,
        "rug": 29,
        "fence": 33,
        "lamp": 37,
        "traffic-sign": 44,
        "bench": 70,
        "boat": 77,
        "truck": 84,
        **dict.fromkeys(("pole", "bollard"), 94),
        "bicycle": 128,
        "traffic-light": 137,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"{_FOLDERS[split]}/ADE_{split}_{1 + index:08d}"
        save(root / f"images/{name}.jpg", picture.image)
        save(root / f"annotations/{name}.png", picture.ids.astype(np.uint8))
        return {"name": name}


LAYOUT = ADE20K()
