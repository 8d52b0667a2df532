"""BDD100K: train ids, and the colour pictures that come with them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save

#: Colours by train id, as the official `label.py` has them.
_COLORS = (
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
)


class BDD100K(Layout):
    name = "bdd100k"
    domain = "street"
    other = 255
    raw_of_world: ClassVar = {
        **dict.fromkeys(("road", "road-marking"), 0),
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 1),
        **dict.fromkeys(("facade", "window", "door"), 2),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 3),
        "fence": 4,
        **dict.fromkeys(("pole", "bollard", "lamp"), 5),
        "traffic-light": 6,
        "traffic-sign": 7,
        **dict.fromkeys(("tree", "bush", "potted-plant"), 8),
        "grass": 9,
        "sky": 10,
        "person": 11,
        "rider": 12,
        "car": 13,
        "truck": 14,
        "bicycle": 18,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"{index:08x}-{0 if split == 'train' else 1:08x}"
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(_COLORS)] = _COLORS
        save(root / f"images/10k/{split}/{name}.jpg", picture.image)
        save(root / f"labels/sem_seg/masks/{split}/{name}.png", picture.ids.astype(np.uint8))
        save(root / f"labels/sem_seg/colormaps/{split}/{name}.png", colors[picture.ids])
        return {}


LAYOUT = BDD100K()
