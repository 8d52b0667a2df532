"""ADE20K with the instance masks of the Places Challenge 2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from multiseg.synthetic.layouts.ade20k import ADE20K
from multiseg.synthetic.layouts.base import Picture, Record, number_across_classes, save

#: The scene parsing id of each instance class, which are numbered from 1.
THINGS = (
    *(8, 9, 11, 13, 15, 16, 19, 20, 21, 23, 24, 25, 28, 31, 32, 33, 34, 36, 37, 38, 39, 40, 42, 43, 44, 45, 46, 48, 50),
    *(51, 54, 56, 57, 58, 59, 63, 65, 66, 67, 68, 70, 71, 72, 73, 74, 75, 76, 77, 79, 81, 82, 83, 84, 86, 87, 88, 89),
    *(90, 91, 93, 94, 96, 98, 99, 103, 104, 105, 108, 109, 111, 112, 113, 116, 117, 119, 120, 121, 122, 124, 125, 126),
    *(127, 128, 130, 131, 133, 134, 135, 136, 137, 138, 139, 140, 143, 144, 145, 147, 148, 149, 150),
)


class ADE20KPanoptic(ADE20K):
    name = "ade20k_panoptic"

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        record = super().write_picture(root, split, index, picture)
        red = np.zeros(256, np.uint8)
        red[list(THINGS)] = 1 + np.arange(len(THINGS))
        objects = number_across_classes(picture, THINGS)
        instances = np.stack([red[picture.ids], objects, np.zeros_like(objects)], -1).astype(np.uint8)
        save(root / f"annotations_instance/{record['name']}.png", instances)
        return record


LAYOUT = ADE20KPanoptic()
