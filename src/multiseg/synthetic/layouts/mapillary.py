"""Mapillary Vistas v1.2 as it was first released: palette masks, masks of instances, and COCO's panoptic files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import (
    Layout,
    Picture,
    Record,
    number_objects,
    palette_image,
    panoptic_record,
    save,
    unpack_colors,
    write_panoptic_json,
)

#: Of a class: readable name, name, colour, whether it has instances.
Named = tuple[str, str, tuple[int, int, int], bool]

_FOLDERS = {"train": "training", "val": "validation"}


class Vistas(Layout):
    """What the versions of Mapillary Vistas share."""

    domain = "street"
    #: The classes that occur, by id.
    classes: ClassVar[Mapping[int, Named]]
    #: The id of what is unlabeled.
    unlabeled: ClassVar[int]
    #: Where the truth of a split lies below the split; ends in a slash unless it is empty.
    truth: ClassVar[str]
    #: The name of the panoptic JSON.
    index: ClassVar[str]
    #: What the reader calls id 0: panoptic categories count from 1.
    first: ClassVar[int] = 0

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        folder = root / _FOLDERS[split]
        name = f"{split}{index:018d}"
        ids = picture.ids - self.first
        colors = {raw: color for raw, (_, _, color, _) in self.classes.items()}
        objects = number_objects(picture, [raw + self.first for raw, entry in self.classes.items() if entry[3]])
        save(folder / f"images/{name}.jpg", picture.image)
        save(folder / f"{self.truth}labels/{name}.png", palette_image(ids, colors))
        save(folder / f"{self.truth}instances/{name}.png", (256 * ids + (objects + 1) % 256).astype(np.uint16))
        # what is unlabeled is no segment
        panoptic_ids = np.where(ids == self.unlabeled, 0, 1000 * (ids + 1) + objects + 1)
        save(folder / f"{self.truth}panoptic/{name}.png", unpack_colors(panoptic_ids))
        category_of = {segment: segment // 1000 for segment in np.unique(panoptic_ids).tolist()}
        return panoptic_record(name, f"{name}.jpg", f"{name}.png", panoptic_ids, category_of)

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        categories = [
            {"id": raw + 1, "name": readable, "supercategory": name, "color": list(color), "isthing": int(thing)}
            for raw, (readable, name, color, thing) in self.classes.items()
        ]
        write_panoptic_json(root / _FOLDERS[split] / f"{self.truth}panoptic/{self.index}", records, categories)


class Mapillary(Vistas):
    name = "mapillary"
    other = unlabeled = 65
    truth = ""
    index = "panoptic_2018.json"
    # ids, names, colours and instances as the official `config.json` has them
    classes: ClassVar = {
        2: ("Curb", "construction--barrier--curb", (196, 196, 196), False),
        3: ("Fence", "construction--barrier--fence", (190, 153, 153), False),
        5: ("Barrier", "construction--barrier--other-barrier", (90, 120, 150), False),
        6: ("Wall", "construction--barrier--wall", (102, 102, 156), False),
        11: ("Pedestrian Area", "construction--flat--pedestrian-area", (96, 96, 96), False),
        13: ("Road", "construction--flat--road", (128, 64, 128), False),
        15: ("Sidewalk", "construction--flat--sidewalk", (244, 35, 232), False),
        17: ("Building", "construction--structure--building", (70, 70, 70), False),
        19: ("Person", "human--person", (220, 20, 60), True),
        20: ("Bicyclist", "human--rider--bicyclist", (255, 0, 0), True),
        24: ("Lane Marking - General", "marking--general", (255, 255, 255), False),
        27: ("Sky", "nature--sky", (70, 130, 180), False),
        29: ("Terrain", "nature--terrain", (152, 251, 152), False),
        30: ("Vegetation", "nature--vegetation", (107, 142, 35), False),
        44: ("Street Light", "object--street-light", (210, 170, 100), True),
        45: ("Pole", "object--support--pole", (153, 153, 153), True),
        48: ("Traffic Light", "object--traffic-light", (250, 170, 30), True),
        50: ("Traffic Sign (Front)", "object--traffic-sign--front", (220, 220, 0), True),
        52: ("Bicycle", "object--vehicle--bicycle", (119, 11, 32), True),
        55: ("Car", "object--vehicle--car", (0, 0, 142), True),
        61: ("Truck", "object--vehicle--truck", (0, 0, 70), True),
        64: ("Ego Vehicle", "void--ego-vehicle", (120, 10, 10), False),
    }
    raw_of_world: ClassVar = {
        "ego-vehicle": 64,
        "sky": 27,
        "road": 13,
        "road-marking": 24,
        "kerb": 2,
        "sidewalk": 15,
        "paving": 11,
        "grass": 29,
        **dict.fromkeys(("facade", "window", "door"), 17),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 6),
        "fence": 3,
        "bollard": 5,
        "pole": 45,
        "lamp": 44,
        "traffic-light": 48,
        "traffic-sign": 50,
        **dict.fromkeys(("tree", "bush", "potted-plant"), 30),
        "person": 19,
        "rider": 20,
        "bicycle": 52,
        "car": 55,
        "truck": 61,
    }


LAYOUT = Mapillary()
