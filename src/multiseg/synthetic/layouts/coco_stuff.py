"""COCO-Stuff 164k: the images of COCO 2017 and the masks of things and stuff, which hold the official ids less one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save

#: The official ids of `labels.txt`.
IDS = {
    **dict.fromkeys(("person", "rider"), 1),
    "bicycle": 2,
    "car": 3,
    "truck": 8,
    "boat": 9,
    "traffic-light": 10,
    "traffic-sign": 13,
    "bench": 15,
    "chair": 62,
    "sofa": 63,
    "potted-plant": 64,
    "table": 67,
    "facade": 96,
    "bush": 97,
    "ceiling": 102,
    "door": 112,
    "fence": 113,
    "floor": 118,
    "grass": 124,
    "lamp": 130,
    "pole": 132,
    **dict.fromkeys(("kerb", "sidewalk", "paving"), 140),
    **dict.fromkeys(("road", "road-marking"), 149),
    "rug": 152,
    "water": 155,
    "shelf": 156,
    "sky": 157,
    "tree": 169,
    "wall-brick": 171,
    "wall-concrete": 172,
    "wall-panel": 174,
    "window": 181,
}


class COCOStuff(Layout):
    name = "coco_stuff"
    domain = "square"
    other = 255
    raw_of_world: ClassVar = {world: official - 1 for world, official in IDS.items()}

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"{split}2017/{1 + index + 500_000 * (split == 'val'):012d}"
        save(root / f"{name}.jpg", picture.image)
        save(root / f"stuffthingmaps/{name}.png", picture.ids.astype(np.uint8))
        return {}


LAYOUT = COCOStuff()
