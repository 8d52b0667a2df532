"""Pascal VOC 2012, and SBD's masks of its training pictures in `benchmark_RELEASE` within it."""

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
    palette_image,
    save,
    save_matlab,
)

THINGS = range(1, 21)
_BORDER = 255

#: Of the ids 0 to 20, then of the border.
_PALETTE = (
    *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
    *((128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128)),
    *((64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128)),
)
COLORS = {**dict(enumerate(_PALETTE)), _BORDER: (224, 224, 192)}

_YEARS = {"train": 2010, "val": 2011}
_LISTS = "ImageSets/Segmentation"
_SBD = "benchmark_RELEASE/dataset"


class VOC(Layout):
    name = "voc"
    domain = "square"
    other = 0
    raw_of_world: ClassVar = {
        "clutter": _BORDER,
        "bicycle": 2,
        "boat": 4,
        "car": 7,
        "chair": 9,
        "table": 11,
        **dict.fromkeys(("person", "rider"), 15),
        "potted-plant": 16,
        "sofa": 18,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        stem = f"{_YEARS[split]}_{index:06d}"
        objects = number_across_classes(picture, THINGS)
        save(root / f"JPEGImages/{stem}.jpg", picture.image)
        save(root / f"SegmentationClass/{stem}.png", palette_image(picture.ids, COLORS))
        save(root / f"SegmentationObject/{stem}.png", palette_image(objects, COLORS))
        if split == "train":
            write_sbd_mask(root / _SBD, stem, picture)
        return {"stem": stem}

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        stems = [record["stem"] for record in records]
        write_list(root / _LISTS / f"{split}.txt", stems)
        other = root / _LISTS / ("val.txt" if split == "train" else "train.txt")
        others = other.read_text().split() if other.is_file() else []
        write_list(root / _LISTS / "trainval.txt", sorted([*stems, *others]))
        if split == "train":
            write_list(root / _SBD / "train.txt", stems)
            write_list(root / _SBD / "val.txt", [])


def write_list(path: Path, stems: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def write_sbd_mask(folder: Path, stem: str, picture: Picture) -> None:
    """A MATLAB file as SBD has it: no border, and a list of the classes present."""
    ids = np.where(picture.ids == _BORDER, 0, picture.ids).astype(np.uint8)
    present = np.setdiff1d(ids, [0]).reshape(-1, 1)
    truth = {"Boundaries": np.zeros((20, 1), object), "Segmentation": ids, "CategoriesPresent": present}
    save_matlab(folder / f"cls/{stem}.mat", {"GTcls": truth})


LAYOUT = VOC()
