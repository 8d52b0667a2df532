"""Cityscapes: label ids, instance ids, and the panoptic files that the official script makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from multiseg.synthetic.layouts.base import (
    Layout,
    Picture,
    Record,
    number_objects,
    panoptic_record,
    save,
    unpack_colors,
    write_panoptic_json,
)

#: The evaluated classes as the official `labels.py` has them: id, name, colour, whether they have instances.
CLASSES = (
    (7, "road", (128, 64, 128), False),
    (8, "sidewalk", (244, 35, 232), False),
    (11, "building", (70, 70, 70), False),
    (12, "wall", (102, 102, 156), False),
    (13, "fence", (190, 153, 153), False),
    (17, "pole", (153, 153, 153), False),
    (19, "traffic light", (250, 170, 30), False),
    (20, "traffic sign", (220, 220, 0), False),
    (21, "vegetation", (107, 142, 35), False),
    (22, "terrain", (152, 251, 152), False),
    (23, "sky", (70, 130, 180), False),
    (24, "person", (220, 20, 60), True),
    (25, "rider", (255, 0, 0), True),
    (26, "car", (0, 0, 142), True),
    (27, "truck", (0, 0, 70), True),
    (28, "bus", (0, 60, 100), True),
    (31, "train", (0, 80, 100), True),
    (32, "motorcycle", (0, 0, 230), True),
    (33, "bicycle", (119, 11, 32), True),
)
THINGS = tuple(raw for raw, _, _, thing in CLASSES if thing)
_EVALUATED = np.array([raw for raw, *_ in CLASSES])

#: Files are named after the city they come from; the splits share no city.
_CITIES = {"train": "ardenburg", "val": "brookstadt"}


class Cityscapes(Layout):
    name = "cityscapes"
    domain = "street"
    other = 0
    raw_of_world: ClassVar = {
        "ego-vehicle": 1,
        **dict.fromkeys(("road", "road-marking"), 7),
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 8),
        **dict.fromkeys(("facade", "window", "door"), 11),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 12),
        "fence": 13,
        **dict.fromkeys(("pole", "bollard", "lamp"), 17),
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
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        city = _CITIES[split]
        name = f"{city}_{index:06d}_000019"
        instance_ids = instance_ids_of(picture)
        truth = root / f"gtFine/{split}/{city}"
        save(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", picture.image)
        save(truth / f"{name}_gtFine_labelIds.png", picture.ids.astype(np.uint8))
        save(truth / f"{name}_gtFine_instanceIds.png", instance_ids.astype(np.uint16))
        panoptic_ids = np.where(np.isin(picture.ids, _EVALUATED), instance_ids, 0)
        panoptic_name = f"{name}_gtFine_panoptic.png"
        save(root / f"gtFine/cityscapes_panoptic_{split}" / panoptic_name, unpack_colors(panoptic_ids))
        category_of = {raw: raw // 1000 if raw >= 1000 else raw for raw in np.unique(panoptic_ids).tolist()}
        # the official file names the image after the mask, "_gtFine_leftImg8bit.png", a name no image has
        image_name = f"{name}_gtFine_leftImg8bit.png"
        return panoptic_record(name, image_name, panoptic_name, panoptic_ids, category_of)

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        categories = [
            {
                "id": raw,
                "name": name,
                "supercategory": "thing" if thing else "stuff",
                "color": list(color),
                "isthing": int(thing),
            }
            for raw, name, color, thing in CLASSES
        ]
        write_panoptic_json(root / f"gtFine/cityscapes_panoptic_{split}.json", records, categories)


def instance_ids_of(picture: Picture) -> NDArray[np.int32]:
    """Cityscapes' instance ids: `1000 * label id + number` for things, counted from 0 in each class; else the label id.

    Shape: (H, W).
    """
    numbers = number_objects(picture, THINGS)
    return np.where(numbers >= 0, 1000 * picture.ids + numbers, picture.ids)


LAYOUT = Cityscapes()
