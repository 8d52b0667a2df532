"""IDD as it is downloaded: images of the first part as PNG and of the second as JPEG, truth as polygons only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multiseg.synthetic.layouts.base import Layout, Picture, Record, save

#: A label for each level-3 id, as the official `anue_labels.py` has them.
_LABELS = (
    *("road", "drivable fallback", "sidewalk", "non-drivable fallback", "person", "rider", "motorcycle", "bicycle"),
    *("autorickshaw", "car", "truck", "bus", "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard"),
    *("traffic sign", "traffic light", "pole", "obs-str-bar-fallback", "building", "bridge", "vegetation", "sky"),
)
_VOID = 255


class IDD(Layout):
    name = "idd"
    domain = "street"
    other = _VOID
    raw_of_world: ClassVar = {
        **dict.fromkeys(("road", "road-marking"), 0),
        "paving": 1,
        "sidewalk": 2,
        "grass": 3,
        "person": 4,
        "rider": 5,
        "bicycle": 7,
        "car": 9,
        "truck": 10,
        "kerb": 13,
        **dict.fromkeys(("wall-brick", "wall-concrete", "wall-panel"), 14),
        "fence": 15,
        "traffic-sign": 18,
        "traffic-light": 19,
        **dict.fromkeys(("pole", "lamp"), 20),
        "bollard": 21,
        **dict.fromkeys(("facade", "window", "door"), 22),
        **dict.fromkeys(("tree", "bush", "potted-plant"), 24),
        "sky": 25,
    }

    def write_picture(self, root: Path, split: str, index: int, picture: Picture) -> Record:
        sequence, ending = ("0", "png") if index % 2 == 0 else ("201", "jpg")
        stem = f"{split}/{sequence}/{index:06d}"
        height, width = picture.ids.shape
        annotation = {"imgHeight": height, "imgWidth": width, "objects": list(_objects(picture.ids))}
        save(root / f"leftImg8bit/{stem}_leftImg8bit.{ending}", picture.image)
        polygons = root / f"gtFine/{stem}_gtFine_polygons.json"
        polygons.parent.mkdir(parents=True, exist_ok=True)
        polygons.write_text(json.dumps(annotation))
        return {}


def _objects(ids: NDArray[np.int32]) -> Iterator[dict[str, Any]]:
    """Rectangles that together show a map of ids: runs of a row, grown downwards while the rows below repeat them."""
    growing: dict[tuple[int, int, int], int] = {}
    for row, line in enumerate(ids):
        starts = np.flatnonzero(np.diff(line, prepend=-1)).tolist()
        runs = {(x, end - 1, int(line[x])) for x, end in zip(starts, [*starts[1:], len(line)], strict=True)}
        for run in growing.keys() - runs:
            yield _rectangle(run, growing.pop(run), row - 1)
        for run in runs:
            growing.setdefault(run, row)
    for run, top in growing.items():
        yield _rectangle(run, top, len(ids) - 1)


def _rectangle(run: tuple[int, int, int], top: int, bottom: int) -> dict[str, Any]:
    """One object of the annotation; corners are pixels of it."""
    left, right, raw = run
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    label = "out of roi" if raw == _VOID else _LABELS[raw]
    return {"label": label, "polygon": corners, "deleted": 0, "verified": 1}


LAYOUT = IDD()
