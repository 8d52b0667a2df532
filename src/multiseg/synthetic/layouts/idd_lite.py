"""IDD-Lite: small JPEG images in folders by sequence, grey masks with the seven classes of IDD's first level."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save


class IDDLite(Layout):
    name = "idd_lite"
    domain = "street"
    other = 255
    raw_of_world: ClassVar = {
        **dict.fromkeys(("road", "road-marking"), 0),
        **dict.fromkeys(("kerb", "sidewalk", "paving", "grass"), 1),
        **dict.fromkeys(("person", "rider"), 2),
        **dict.fromkeys(("car", "truck", "bicycle"), 3),
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel", "fence", "pole", "bollard", "lamp"), 4),
        **dict.fromkeys(("traffic-light", "traffic-sign"), 4),
        **dict.fromkeys(("facade", "window", "door", "tree", "bush", "potted-plant"), 5),
        "sky": 6,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        stem = f"{split}/{index // 10}/{index:06d}"
        save(root / f"leftImg8bit/{stem}_image.jpg", picture.image)
        save(root / f"gtFine/{stem}_label.png", picture.ids.astype(np.uint8))
        (root / f"gtFine/{stem}_inst_label.json").write_text("{}")
        return {}


LAYOUT = IDDLite()
