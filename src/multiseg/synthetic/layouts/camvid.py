"""CamVid as SegNet's authors prepared it: grey masks of twelve ids, and lists that name files by the authors' paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save


class CamVid(Layout):
    name = "camvid"
    domain = "street"
    other = 11
    raw_of_world: ClassVar = {
        "sky": 0,
        **dict.fromkeys(("facade", "window", "door", "wall-brick", "wall-concrete", "wall-panel"), 1),
        **dict.fromkeys(("pole", "bollard", "lamp"), 2),
        **dict.fromkeys(("road", "road-marking"), 3),
        **dict.fromkeys(("kerb", "sidewalk", "paving"), 4),
        **dict.fromkeys(("tree", "bush", "potted-plant", "grass"), 5),
        **dict.fromkeys(("traffic-light", "traffic-sign"), 6),
        "fence": 7,
        **dict.fromkeys(("car", "truck"), 8),
        "person": 9,
        **dict.fromkeys(("rider", "bicycle"), 10),
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"0001TP_{index:06d}.png"
        save(root / split / name, picture.image)
        save(root / f"{split}annot" / name, picture.ids.astype(np.uint8))
        return {"name": name}

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        lines = [f"/SegNet/CamVid/{split}/{r['name']} /SegNet/CamVid/{split}annot/{r['name']}\n" for r in records]
        (root / f"{split}.txt").write_text("".join(lines))


LAYOUT = CamVid()
