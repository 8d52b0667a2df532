"""What the synthetic world is made of: its fine-grained classes, before any dataset's taxonomy groups them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Every kind of surface a scene can show. A place in this tuple is a *world class id*.
WORLD_CLASSES = (
    "clutter",
    "ego-vehicle",
    "sky",
    "road",
    "road-marking",
    "kerb",
    "sidewalk",
    "paving",
    "grass",
    "water",
    "facade",
    "window",
    "door",
    "wall-brick",
    "wall-concrete",
    "wall-panel",
    "fence",
    "pole",
    "bollard",
    "lamp",
    "traffic-light",
    "traffic-sign",
    "tree",
    "bush",
    "potted-plant",
    "person",
    "rider",
    "bicycle",
    "car",
    "truck",
    "boat",
    "container",
    "crane",
    "bench",
    "chair",
    "table",
    "sofa",
    "shelf",
    "picture",
    "floor",
    "rug",
    "ceiling",
)

#: World class ids by name.
WORLD_IDS = {name: place for place, name in enumerate(WORLD_CLASSES)}

#: The three materials a free-standing wall can be made of.
WALL_MATERIALS = ("brick", "concrete", "panel")


@dataclass(frozen=True)
class Scene:
    """One rendered picture with its full truth.

    Args:
        image: (H, W, 3) uint8.
        classes: (H, W) uint8, world class ids.
        instances: (H, W) uint16, 0 where nothing is countable, else one number an object.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    instances: NDArray[np.uint16]
