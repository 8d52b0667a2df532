"""A furnished room between three walls, with people in it."""

from __future__ import annotations

from collections.abc import Callable

from multiseg.synthetic import furniture, outdoors, palettes, people, surfaces
from multiseg.synthetic.canvas import Camera
from multiseg.synthetic.places.backdrop import table_with_chairs
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.world import WALL_MATERIALS

#: For each kind of opening: how wide, how high above the floor, how tall, as ranges.
_OPENINGS = {
    "window": ((0.8, 1.2), (0.8, 1.0), (1.0, 1.3)),
    "door": ((0.8, 0.95), (0.0, 0.0), (2.0, 2.1)),
    "picture": ((0.4, 1.0), (1.2, 1.5), (0.4, 0.7)),
}


def camera(height: int, width: int, between: Callable[[float, float], float]) -> Camera:
    return Camera(0.72 * height, between(1.2, 1.75), between(0.36, 0.46) * height, between(0.35, 0.65) * width)


def compose(stage: Stage) -> None:
    between = stage.between
    depth, left, right, top = between(3.6, 6.0), -between(1.8, 3.2), between(1.8, 3.2), between(2.5, 3.1)
    _build(stage, depth, left, right, top)
    _hang(stage, depth, left, right)
    for _ in stage.times(0, 2):
        stage.put(furniture.shelf, between(left + 0.7, right - 0.7), depth - 0.4)
    if stage.chance(0.6):
        x, z = between(left + 0.9, right - 0.9), between(2.5, depth - 0.9)
        stage.put(furniture.sofa, x, z)
        if stage.chance(0.4):
            stage.put(people.person, x, z - 0.02, seated=0.45)
    if stage.chance(0.75):
        half = between(0.4, 0.75)
        table_with_chairs(stage, between(left + 1, right - 1), between(2.2, max(depth - 1, 2.4)), half)
    for thing, least, most in (
        (furniture.lamp, 0, 2),
        (furniture.chair, 0, 2),
        (people.person, 0, 3),
        (outdoors.clutter, 0, 1),
    ):
        for _ in stage.times(least, most):
            stage.put(thing, between(left + 0.4, right - 0.4), between(2.1, depth - 0.3))
    for _ in stage.times(0, 2):
        size = between(0.4, 0.7)
        stage.put(outdoors.potted_plant, between(left + 0.5, right - 0.5), between(2.4, depth - 0.4), size=size)
    stage.draw_all()


def _build(stage: Stage, depth: float, left: float, right: float, top: float) -> None:
    canvas, rng = stage.canvas, stage.rng
    boards = rng.choice(("planks", "planks", "paving", "concrete"))
    floor = surfaces.ground(stage, "floor", stage.color(*palettes.WOOD, *palettes.STONE), boards)
    ceiling = canvas.flat_surface(top)
    if ceiling is not None:
        paint = surfaces.textured(stage, ceiling, stage.color((0.80, 0.79, 0.76), *palettes.MASONRY[1:3]), "plaster")
        canvas.cover(ceiling, "ceiling", paint, ceiling.inside)
    back, side = rng.choice(WALL_MATERIALS), rng.choice(WALL_MATERIALS)
    color = stage.color(*palettes.MASONRY)
    surfaces.wall(stage, canvas.front_surface(depth, left, right, 0, top), back, color, top)
    for x in (left, right):
        shade = 1 + 0.22 * stage.light_x * (1 if x < 0 else -1)
        surfaces.wall(stage, canvas.side_surface(x, 0.4, depth, 0, top), side, color, top, shade)
    if stage.chance(0.6):
        across = abs(floor.across - stage.between(left / 2, right / 2)) < stage.between(0.7, 1.3)
        where = across & (abs(floor.up - stage.between(1.8, depth - 1)) < stage.between(0.4, 0.8))
        surfaces.lay(stage, floor, "rug", stage.color(*palettes.CLOTHES), rng.choice(("fabric", "stripes")), where)


def _hang(stage: Stage, depth: float, left: float, right: float) -> None:
    """Windows, doors and pictures: up to three on the back wall, up to one on each side wall."""
    canvas, rng = stage.canvas, stage.rng
    for kind, share in zip(rng.choices((*_OPENINGS, None), (3, 2, 3, 1), k=3), (0.06, 0.38, 0.7), strict=True):
        if kind is not None:
            width, low, tall = (stage.between(*span) for span in _OPENINGS[kind])
            x = left + share * (right - left)
            surfaces.opening(stage, canvas.front_surface(depth, x, min(x + width, right), low, low + tall), kind)
    for x in (left, right):
        kind = rng.choices((*_OPENINGS, None), (3, 2, 1, 1))[0]
        if kind is not None:
            width, low, tall = (stage.between(*span) for span in _OPENINGS[kind])
            z = stage.between(1.4, depth - width)
            surfaces.opening(stage, canvas.side_surface(x, z, z + width, low, low + tall), kind)
