"""The whole of ADE20K, release 2021_17_01, without its pickled index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save

_FOLDERS = {"train": "training", "val": "validation"}


class ADE20KFull(Layout):
    name = "ade20k_full"
    domain = "room"
    other = 0
    raw_of_world: ClassVar = {
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 2978),
        "facade": 312,
        "sky": 2420,
        "floor": 976,
        "tree": 2855,
        "ceiling": 447,
        **dict.fromkeys(("road", "road-marking"), 2131),
        "window": 3055,
        "grass": 1125,
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 2377),
        **dict.fromkeys(("person", "rider"), 1831),
        "door": 774,
        "table": 2684,
        **dict.fromkeys(("bush", "potted-plant"), 1910),
        "chair": 471,
        "car": 401,
        "water": 2994,
        "picture": 1735,
        "sofa": 2473,
        "shelf": 2329,
        "rug": 2178,
        "fence": 907,
        "lamp": 1395,
        "traffic-sign": 2380,
        "bench": 181,
        "boat": 223,
        "truck": 2880,
        **dict.fromkeys(("pole", "bollard"), 1936),
        "bicycle": 187,
        "traffic-light": 2836,
        "container": 597,
        "clutter": 246,  # one of two booths; none of the 847
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        scene = root / f"images/ADE/{_FOLDERS[split]}/home_or_hotel/living_room"
        name = f"ADE_{split}_{1 + index:08d}"
        objects = np.unique(picture.instances, return_inverse=True)[1].reshape(picture.ids.shape)
        mask = np.stack([picture.ids // 256 * 10, picture.ids % 256, objects], -1).astype(np.uint8)
        save(scene / f"{name}.jpg", picture.image)
        save(scene / f"{name}_seg.png", mask)
        save(scene / f"{name}_parts_1.png", np.zeros_like(mask))
        # amodal shapes lie in a folder named as the image
        save(scene / f"{name}/instance_000_{name}.png", np.where(objects > 0, 255, 0).astype(np.uint8))
        (scene / f"{name}.json").write_text(json.dumps({"annotation": {"filename": f"{name}.jpg", "object": []}}))
        return {}


LAYOUT = ADE20KFull()
