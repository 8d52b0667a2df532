"""COCO 2017 panoptic: a PNG of segment ids an image, and a JSON a split that says what each segment is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import (
    Layout,
    Picture,
    Record,
    number_across_classes,
    panoptic_record,
    save,
    unpack_colors,
    write_panoptic_json,
)

#: Categories up to this one are things.
_LAST_THING = 90

#: Those that scenes can show: id, name, colour.
_CATEGORIES = (
    (1, "person", (220, 20, 60)),
    (2, "bicycle", (119, 11, 32)),
    (3, "car", (0, 0, 142)),
    (8, "truck", (0, 0, 70)),
    (9, "boat", (0, 0, 192)),
    (10, "traffic light", (250, 170, 30)),
    (13, "stop sign", (220, 220, 0)),
    (15, "bench", (250, 0, 30)),
    (62, "chair", (153, 69, 1)),
    (63, "couch", (3, 95, 161)),
    (64, "potted plant", (163, 255, 0)),
    (67, "dining table", (0, 182, 199)),
    (112, "door-stuff", (92, 136, 89)),
    (118, "floor-wood", (218, 88, 184)),
    (130, "light", (255, 228, 255)),
    (149, "road", (128, 64, 128)),
    (155, "sea", (73, 77, 174)),
    (156, "shelf", (255, 160, 98)),
    (171, "wall-brick", (137, 54, 74)),
    (181, "window-other", (255, 73, 97)),
    (184, "tree-merged", (107, 142, 35)),
    (185, "fence-merged", (190, 153, 153)),
    (186, "ceiling-merged", (146, 139, 141)),
    (187, "sky-other-merged", (70, 130, 180)),
    (191, "pavement-merged", (96, 96, 96)),
    (193, "grass-merged", (152, 251, 152)),
    (197, "building-other-merged", (116, 112, 0)),
    (199, "wall-other-merged", (102, 102, 156)),
    (200, "rug-merged", (250, 141, 255)),
)


class COCOPanoptic(Layout):
    name = "coco_panoptic"
    domain = "square"
    other = 0
    raw_of_world: ClassVar = {
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
        "door": 112,
        "floor": 118,
        "lamp": 130,
        **dict.fromkeys(("road", "road-marking"), 149),
        "water": 155,
        "shelf": 156,
        "wall-brick": 171,
        "window": 181,
        **dict.fromkeys(("tree", "bush"), 184),
        "fence": 185,
        "ceiling": 186,
        "sky": 187,
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 191),
        "grass": 193,
        "facade": 197,
        **dict.fromkeys(("wall-concrete", "wall-panel"), 199),
        "rug": 200,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        number = 1 + index + 500_000 * (split == "val")
        image, mask = f"{number:012d}.jpg", f"{number:012d}.png"
        save(root / f"{split}2017/{image}", picture.image)
        folder = root / f"annotations/panoptic_{split}2017"
        return write_segments(folder / mask, image, number, picture, range(1, _LAST_THING + 1))

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        categories = [
            {
                "id": raw,
                "name": name,
                "supercategory": name,
                "color": list(color),
                "isthing": int(raw <= _LAST_THING),
            }
            for raw, name, color in _CATEGORIES
        ]
        write_panoptic_json(root / f"annotations/panoptic_{split}2017.json", records, categories)


def write_segments(mask: Path, image: str, image_id: int, picture: Picture, things: Sequence[int]) -> Record:
    """Writes the PNG of one picture, whose raw ids are categories; 0 is void.

    Args:
        mask: the PNG.
        image: the name of the image's file in the JSON.
        image_id: its id there.
        picture: the picture.
        things: categories whose objects are segments of their own.

    Returns:
        The `image` and the `annotation` of the JSON.
    """
    keys = picture.ids.astype(np.int64) << 16 | number_across_classes(picture, things)
    found, place = np.unique(keys, return_inverse=True)
    categories = found >> 16
    # numbers that need all three channels
    segments = np.where(categories == 0, 0, (1 + np.arange(len(found))) * 70_001 % 2**24)
    panoptic_ids = segments[place].reshape(keys.shape)
    save(mask, unpack_colors(panoptic_ids))
    category_of = dict(zip(segments.tolist(), categories.tolist(), strict=True))
    return panoptic_record(image_id, image, mask.name, panoptic_ids, category_of)


LAYOUT = COCOPanoptic()
