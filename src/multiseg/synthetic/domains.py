"""Four synthetic datasets: how each looks, and by which taxonomy it names the one world they all show.

>>> from multiseg.synthetic import DOMAINS
>>> sorted(DOMAINS["square"].meaning["person"]), sorted(DOMAINS["street"].meaning["person"])
(['person', 'rider'], ['person'])
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace, pack_colors
from multiseg.synthetic.canvas import Camera, Canvas, Color
from multiseg.synthetic.places import harbour, room, square, street
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.textures import Floats, TextureBank
from multiseg.synthetic.world import WORLD_CLASSES, WORLD_IDS, Scene

#: Smaller pictures show nothing that could be learnt.
MIN_SIZE = 32


@dataclass(frozen=True)
class Look:
    """Light and optics of a domain.

    Args:
        light: colour of the light.
        exposure: range of the overall brightness.
        haze: colour of the fog.
        haze_per_metre: how fast it thickens, as a range.
        saturation: 0 is grey, 1 leaves colours as they are.
        brighten: bend of the tone curve; above 0 lifts the shadows.
        noise: standard deviation of the sensor's noise, 1 is white.
        blur: share of light that goes to the neighbours.
        texture: factor on the contrast of textures.
    """

    light: Color
    exposure: tuple[float, float]
    haze: Color
    haze_per_metre: tuple[float, float]
    saturation: float
    brighten: float
    noise: float
    blur: float
    texture: float


@dataclass(frozen=True)
class DomainClass:
    """One class of a domain's taxonomy, and the world classes it stands for.

    Args:
        name: as the dataset spells it.
        raw_id: in its masks; None where masks hold colours.
        color: RGB 0..255.
        thing: countable or not.
        world: names of world classes.
    """

    name: str
    raw_id: int | None
    color: tuple[int, int, int]
    thing: bool
    world: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """One synthetic dataset: what it shows, how it looks, what it calls things.

    Args:
        name: of the dataset and of its folder.
        size: height and width of its pictures.
        look: light and optics.
        camera: makes a camera from height, width and a source of chance.
        compose: builds a scene.
        classes: its taxonomy, in the order of contiguous ids.
        ignored: raw id (or packed colour) of every world class it has no class for; `WORLD_CLASSES` not named
            anywhere do not occur in it.
        masks: what its mask files hold: Cityscapes files, grey ids, palette indices, or colours.
    """

    name: str
    size: tuple[int, int]
    look: Look
    camera: Callable[[int, int, Callable[[float, float], float]], Camera]
    compose: Callable[[Stage], None]
    classes: tuple[DomainClass, ...]
    ignored: dict[str, int]
    masks: Literal["cityscapes", "grey", "palette", "colors"]

    @cached_property
    def label_space(self) -> LabelSpace:
        """The taxonomy as a reader of the written dataset would see it."""
        entries = tuple(LabelClass(c.name, (_raw(c),), c.color, c.thing) for c in self.classes)
        return LabelSpace(self.name, entries, tuple(sorted(set(self.ignored.values()))))

    @cached_property
    def meaning(self) -> dict[str, frozenset[str]]:
        """The world classes each class stands for: the truth against which found relations can be judged."""
        return {entry.name: frozenset(entry.world) for entry in self.classes}

    @cached_property
    def raw_of_world(self) -> NDArray[np.int32]:
        """Raw id, or packed colour, of each world class. Shape: (world classes,)."""
        table = np.full(len(WORLD_CLASSES), min(self.ignored.values()), np.int32)
        for name, raw in self.ignored.items():
            table[WORLD_IDS[name]] = raw
        for entry in self.classes:
            table[[WORLD_IDS[name] for name in entry.world]] = _raw(entry)
        return table


def render(domain: Domain, seed: int, index: int, size: tuple[int, int] | None = None, split: str = "train") -> Scene:
    """One picture with its truth, the same for the same arguments in every process.

    Args:
        domain: one of `DOMAINS`.
        seed: of the whole dataset, not negative.
        index: of the picture in its split.
        size: height and width, by default the domain's.
        split: pictures of different splits are unrelated.

    Raises:
        MultisegError: the size is below 32 or the seed is negative.
    """
    height, width = size or domain.size
    if min(height, width) < MIN_SIZE:
        raise MultisegError(
            f"synthetic pictures of {width}×{height} are too small; the least is {MIN_SIZE}×{MIN_SIZE}."
        )
    if seed < 0:
        raise MultisegError(f"seed {seed} is negative; valid: 0 and above.")
    rng = random.Random(f"{seed}/{domain.name}/{split}/{index}")
    textures = _texture_bank(domain.name, domain.look.texture, seed)
    camera = domain.camera(height, width, rng.uniform)
    stage = Stage((height, width), rng, textures, camera)
    domain.compose(stage)
    image = _develop(stage.canvas, domain.look, stage)
    return Scene(image, stage.canvas.classes, stage.canvas.instances)


@lru_cache(maxsize=8)
def _texture_bank(domain: str, contrast: float, seed: int) -> TextureBank:
    return TextureBank(np.random.default_rng([seed, zlib.crc32(domain.encode())]), contrast)


def _develop(canvas: Canvas, look: Look, stage: Stage) -> NDArray[np.uint8]:
    """Light, haze, tone curve, lens and sensor. Shape: returns (H, W, 3) uint8."""
    height, width = canvas.size
    between = stage.between
    image = canvas.image
    fall_off = 1 + stage.light_x * between(0.05, 0.25) * np.linspace(-1, 1, width, dtype=np.float32)
    image *= fall_off * (np.array(look.light, np.float32) * np.float32(between(*look.exposure)))[:, None, None]
    veil = 1 - np.exp(canvas.depth.clip(0, 120) * -between(*look.haze_per_metre))
    image += veil * (np.array(look.haze, np.float32)[:, None, None] - image)
    image += np.float32(1 - look.saturation) * (image.mean(0) - image)
    np.clip(image, 0, 1, out=image)
    image += np.float32(look.brighten) * image * (1 - image)
    if look.blur:
        _blur(image, look.blur)
    image += look.noise * stage.textures.grain(height, width, stage.offset())
    image *= 255
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _blur(image: Floats, share: float) -> None:
    """A three-tap blur along both axes, in place."""
    for view in (image, image.transpose(0, 2, 1)):
        neighbours = view[:, 2:] + view[:, :-2]
        view[:, 1:-1] *= 1 - share
        view[:, 1:-1] += share / 2 * neighbours


def _raw(entry: DomainClass) -> int:
    return int(pack_colors(np.array(entry.color, np.uint8))) if entry.raw_id is None else entry.raw_id


_WALLS = ("wall-brick", "wall-concrete", "wall-panel")
_MASTS = ("pole", "bollard", "lamp", "traffic-light", "traffic-sign")
_BUILDING = ("facade", "window", "door")

_STREET = (
    DomainClass("road", 7, (128, 64, 128), False, ("road", "road-marking")),
    DomainClass("sidewalk", 8, (244, 35, 232), False, ("kerb", "sidewalk", "paving")),
    DomainClass("building", 11, (70, 70, 70), False, _BUILDING),
    DomainClass("wall", 12, (102, 102, 156), False, _WALLS),
    DomainClass("fence", 13, (190, 153, 153), False, ("fence",)),
    DomainClass("pole", 17, (153, 153, 153), False, ("pole", "bollard", "lamp")),
    DomainClass("traffic light", 19, (250, 170, 30), False, ("traffic-light",)),
    DomainClass("traffic sign", 20, (220, 220, 0), False, ("traffic-sign",)),
    DomainClass("vegetation", 21, (107, 142, 35), False, ("tree", "bush", "potted-plant")),
    DomainClass("terrain", 22, (152, 251, 152), False, ("grass",)),
    DomainClass("sky", 23, (70, 130, 180), False, ("sky",)),
    DomainClass("person", 24, (220, 20, 60), True, ("person",)),
    DomainClass("rider", 25, (255, 0, 0), True, ("rider",)),
    DomainClass("car", 26, (0, 0, 142), True, ("car",)),
    DomainClass("truck", 27, (0, 0, 70), True, ("truck",)),
    DomainClass("bicycle", 33, (119, 11, 32), True, ("bicycle",)),
)

_SQUARE = (
    DomainClass("person", 1, (214, 39, 40), True, ("person", "rider")),
    DomainClass("car", 2, (31, 72, 190), True, ("car", "truck")),
    DomainClass("bicycle", 3, (148, 60, 130), True, ("bicycle",)),
    DomainClass("furniture", 4, (180, 120, 50), True, ("bench", "chair", "table", "sofa", "shelf")),
    DomainClass("wall-brick", 10, (170, 80, 60), False, ("wall-brick",)),
    DomainClass("wall-concrete", 11, (150, 150, 170), False, ("wall-concrete",)),
    DomainClass("wall-panel", 12, (90, 130, 150), False, ("wall-panel",)),
    DomainClass("building", 13, (90, 80, 80), False, _BUILDING),
    DomainClass("road", 20, (110, 70, 130), False, ("road", "road-marking")),
    DomainClass("pavement", 21, (220, 190, 220), False, ("paving", "sidewalk", "kerb")),
    DomainClass("tree", 30, (60, 120, 40), False, ("tree",)),
    DomainClass("plant", 31, (130, 180, 60), False, ("bush", "potted-plant", "grass")),
    DomainClass("sky", 40, (110, 160, 220), False, ("sky",)),
    DomainClass("pole", 41, (235, 200, 60), False, _MASTS),
)

_ROOM = (
    DomainClass("wall", 1, (120, 120, 160), False, _WALLS),
    DomainClass("floor", 2, (160, 120, 80), False, ("floor",)),
    DomainClass("ceiling", 3, (220, 220, 200), False, ("ceiling",)),
    DomainClass("rug", 4, (200, 90, 140), False, ("rug",)),
    DomainClass("window", 5, (100, 180, 230), False, ("window",)),
    DomainClass("door", 6, (140, 90, 40), False, ("door",)),
    DomainClass("picture", 7, (240, 150, 60), False, ("picture",)),
    DomainClass("person", 8, (214, 39, 40), True, ("person",)),
    DomainClass("chair", 9, (230, 200, 40), True, ("chair",)),
    DomainClass("table", 10, (170, 110, 200), True, ("table",)),
    DomainClass("sofa", 11, (40, 120, 120), True, ("sofa",)),
    DomainClass("shelf", 12, (90, 60, 120), True, ("shelf",)),
    DomainClass("lamp", 13, (255, 240, 120), True, ("lamp",)),
    DomainClass("plant", 14, (60, 150, 60), True, ("potted-plant",)),
)

_HARBOUR = (
    DomainClass("background", None, (60, 60, 60), False, ("sky", *_BUILDING, "tree", "bush", "grass", "crane")),
    DomainClass("ground", None, (170, 150, 130), False, ("paving", "sidewalk", "kerb", "road", "road-marking")),
    DomainClass("water", None, (40, 120, 200), False, ("water",)),
    DomainClass("wall", None, (130, 110, 160), False, _WALLS),
    DomainClass("fence", None, (200, 160, 110), False, ("fence",)),
    DomainClass("pole", None, (240, 220, 90), False, _MASTS),
    DomainClass("person", None, (220, 20, 60), True, ("person", "rider")),
    DomainClass("vehicle", None, (20, 40, 140), True, ("car", "truck", "bicycle")),
    DomainClass("boat", None, (240, 120, 30), True, ("boat",)),
    DomainClass("container", None, (30, 140, 110), True, ("container",)),
)

#: The four synthetic datasets by name.
DOMAINS = {
    domain.name: domain
    for domain in (
        Domain(
            "street",
            (120, 160),
            Look((1.05, 1.0, 0.93), (0.9, 1.15), (0.78, 0.84, 0.90), (0.002, 0.008), 1.0, 0.2, 0.02, 0.15, 1.0),
            street.camera,
            street.compose,
            _STREET,
            {"clutter": 0, "ego-vehicle": 1},
            "cityscapes",
        ),
        Domain(
            "square",
            (128, 176),
            Look((0.98, 0.80, 0.84), (0.8, 1.15), (0.72, 0.55, 0.52), (0.004, 0.012), 1.0, -0.15, 0.03, 0.25, 0.85),
            square.camera,
            square.compose,
            _SQUARE,
            {"clutter": 0},
            "grey",
        ),
        Domain(
            "room",
            (144, 144),
            Look((1.10, 0.99, 0.86), (0.75, 1.05), (0.5, 0.5, 0.5), (0.0, 0.01), 0.85, 0.15, 0.025, 0.2, 1.05),
            room.camera,
            room.compose,
            _ROOM,
            {"clutter": 255},
            "palette",
        ),
        Domain(
            "harbour",
            (112, 160),
            Look((0.86, 0.92, 0.95), (0.8, 1.0), (0.70, 0.73, 0.75), (0.008, 0.03), 0.7, 0.1, 0.035, 0.35, 0.8),
            harbour.camera,
            harbour.compose,
            _HARBOUR,
            {"clutter": int(pack_colors(np.array((224, 224, 192), np.uint8)))},
            "colors",
        ),
    )
}
