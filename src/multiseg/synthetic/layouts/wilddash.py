"""WildDash 2 as in release `wd_public_02`: label masks and COCO's panoptic files, not divided into splits."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import (
    Layout,
    Picture,
    Record,
    number_objects,
    panoptic_record,
    save,
    unpack_colors,
)

#: The categories that occur, as the official label policy has them: id, name, colour, whether they are things.
_CATEGORIES = (
    (1, "egovehicle", (0, 20, 50), True),
    (7, "road", (128, 64, 128), False),
    (8, "sidewalk", (244, 35, 232), False),
    (11, "building", (70, 70, 70), False),
    (12, "wall", (102, 102, 156), False),
    (13, "fence", (190, 153, 153), False),
    (17, "pole", (152, 152, 152), True),
    (19, "trafficlight", (250, 170, 30), True),
    (20, "trafficsign", (220, 220, 0), True),
    (21, "vegetation", (107, 142, 35), False),
    (22, "terrain", (152, 251, 152), False),
    (23, "sky", (70, 130, 180), False),
    (24, "person", (220, 20, 60), True),
    (25, "rider", (255, 0, 0), True),
    (26, "car", (0, 0, 142), True),
    (27, "truck", (0, 0, 70), True),
    (33, "bicycle", (119, 11, 32), True),
    (37, "streetlight", (210, 170, 100), True),
    (38, "roadmarking", (196, 176, 128), False),
    (52, "curb", (196, 196, 196), False),
    (56, "otherbarrier", (90, 120, 150), False),
    (70, "pedestrianarea", (96, 96, 96), False),
)
_THINGS = tuple(raw for raw, _, _, thing in _CATEGORIES if thing)
_VOID = 0


class WildDash(Layout):
    name = "wilddash"
    domain = "street"
    other = _VOID
    raw_of_world: ClassVar = {
        "ego-vehicle": 1,
        "road": 7,
        "sidewalk": 8,
        **dict.fromkeys(("facade", "window", "door"), 11),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 12),
        "fence": 13,
        "pole": 17,
        "traffic-light": 19,
        "traffic-sign": 20,
        **dict.fromkeys(("tree", "bush", "potted-plant"), 21),
        "grass": 22,
        "sky": 23,
        "person": 24,
        "rider": 25,
        "car": 26,
        "truck": 27,
        "bicycle": 33,
        "lamp": 37,
        "road-marking": 38,
        "kerb": 52,
        "bollard": 56,
        "paving": 70,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = _name(split, index)
        objects = number_objects(picture, _THINGS)
        # what is void is no segment
        panoptic_ids = np.where(picture.ids == _VOID, 0, 1000 * picture.ids + objects + 1)
        category_of = {segment: segment // 1000 for segment in np.unique(panoptic_ids).tolist()}
        save(root / f"images/{name}.jpg", picture.image)
        save(root / f"labels/{name}.png", picture.ids.astype(np.uint8))
        save(root / f"panoptic/{name}.png", unpack_colors(panoptic_ids))
        return panoptic_record(name, f"{name}.jpg", f"{name}.png", panoptic_ids, category_of)

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        # one file for both splits: the second that is written joins the first
        file = root / "panoptic.json"
        panoptic = json.loads(file.read_text()) if file.exists() else {"images": [], "annotations": []}
        panoptic["images"] += [record["image"] for record in records]
        panoptic["annotations"] += [record["annotation"] for record in records]
        panoptic["categories"] = [
            {"id": raw, "name": name, "color": list(color), "isthing": int(thing)}
            for raw, name, color, thing in _CATEGORIES
        ]
        file.write_text(json.dumps(panoptic))


def _name(split: str, index: int) -> str:
    """A name that the reader puts into the split: one of five goes to "val", by its checksum."""
    names = (f"{split[:2]}{index:04d}_{number:06d}" for number in count(100000))
    return next(name for name in names if (zlib.crc32(name.encode()) % 5 == 0) == (split == "val"))


LAYOUT = WildDash()
