"""Folders of images and masks beside a `dataset.yaml`: the layout of one's own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from multiseg.label_space import LabelSpace
from multiseg.synthetic.layouts.base import Layout, Picture, Record, palette_image, save, unpack_colors


class FolderLayout(Layout):
    """Made for a label space, and therefore none of `all_layouts`.

    Args:
        space: the classes.
        masks: what mask files hold: "grey" ids, "palette" indices, or "colors".
    """

    def __init__(self, space: LabelSpace, masks: str) -> None:
        self.space = space
        self.masks = masks

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        name = f"{self.space.name}_{index:05d}"
        save(root / f"images/{split}/{name}.jpg", picture.image)
        save(root / f"masks/{split}/{name}.png", self._mask(picture))
        return {}

    def write_index(self, root: Path, split: str, records: Sequence[Record]) -> None:
        (root / "dataset.yaml").write_text(self.description())

    def _mask(self, picture: Picture) -> Image.Image:
        if self.masks == "colors":
            return Image.fromarray(unpack_colors(picture.ids))
        if self.masks == "palette":
            return palette_image(picture.ids, {c.raw_ids[0]: c.color for c in self.space.classes})
        return Image.fromarray(picture.ids.astype(np.uint8))

    def description(self) -> str:
        """The text of `dataset.yaml`."""
        colors = self.masks == "colors"
        classes = []
        for entry in self.space.classes:
            described = {"name": entry.name, "color": list(entry.color), "thing": entry.thing}
            classes.append(described if colors else {"id": entry.raw_ids[0], **described})
        ignored = np.array(self.space.ignore_ids, np.int32)
        description = {
            "name": self.space.name,
            "classes": classes,
            "ignore": (unpack_colors(ignored) if colors else ignored).tolist(),
            "encoding": "colors" if colors else "ids",
            "splits": {split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in ("train", "val")},
            "license": "CC0-1.0",
        }
        return yaml.safe_dump(description, sort_keys=False, default_flow_style=None, width=120)
