"""LabelMeFacade: JPEG images, masks in colours, and two lists of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save, unpack_colors


def _packed(red: int, green: int, blue: int) -> int:
    return red + 256 * green + 65536 * blue


class LabelMeFacade(Layout):
    name = "labelmefacade"
    domain = "street"
    splits: ClassVar = {"train": "train", "val": "test"}
    other = _packed(0, 0, 0)
    raw_of_world: ClassVar = {
        **dict.fromkeys(("facade", "wall-brick", "wall-concrete", "wall-panel"), _packed(128, 0, 0)),
        **dict.fromkeys(("car", "truck"), _packed(128, 0, 128)),
        "door": _packed(128, 128, 0),
        **dict.fromkeys(("kerb", "sidewalk", "paving"), _packed(128, 128, 128)),
        **dict.fromkeys(("road", "road-marking"), _packed(128, 64, 0)),
        "sky": _packed(0, 128, 128),
        **dict.fromkeys(("tree", "bush", "potted-plant", "grass"), _packed(0, 128, 0)),
        "window": _packed(0, 0, 128),
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"boston_{split}__p{index:07d}"
        save(root / f"images/{name}.jpg", picture.image)
        save(root / f"labels/{name}.png", unpack_colors(picture.ids))
        return {"name": name}

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        lines = "".join(f"images/{record['name']}.jpg\n" for record in records)
        (root / f"{self.splits[split]}.txt").write_text(lines)


LAYOUT = LabelMeFacade()
