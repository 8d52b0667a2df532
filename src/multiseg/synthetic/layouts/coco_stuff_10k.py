"""COCO-Stuff 10k, version 1.1: MATLAB files that hold the official ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save, save_matlab
from multiseg.synthetic.layouts.coco_stuff import IDS


class COCOStuff10k(Layout):
    name = "coco_stuff_10k"
    domain = "square"
    splits: ClassVar = {"train": "train", "val": "test"}
    other = 0
    raw_of_world: ClassVar = IDS

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        stem = f"COCO_train2014_{1 + index + 500_000 * (split == 'val'):012d}"
        save(root / f"images/{stem}.jpg", picture.image)
        truth = {
            "S": picture.ids.astype(np.uint8),
            "captions": np.array([["A synthetic scene."]], object),
            "regionMapStuff": picture.instances.astype(np.uint16),
            "regionLabelsStuff": np.zeros((1, 1), np.uint16),
        }
        save_matlab(root / f"annotations/{stem}.mat", truth)
        return {"stem": stem}

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        lists = root / "imageLists"
        lists.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{record['stem']}\n" for record in records)
        (lists / f"{self.splits[split]}.txt").write_text(lines)
        with (lists / "all.txt").open("a") as everything:
            everything.write(lines)


LAYOUT = COCOStuff10k()
