"""A street from behind the windscreen: houses, walls, fences and green on both sides, traffic between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from multiseg.synthetic import outdoors, palettes, people, surfaces, vehicles
from multiseg.synthetic.canvas import Camera
from multiseg.synthetic.places.backdrop import skyline
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.world import WALL_MATERIALS


def camera(height: int, width: int, between: Callable[[float, float], float]) -> Camera:
    return Camera(0.95 * height, between(1.3, 1.9), between(0.38, 0.48) * height, between(0.38, 0.62) * width)


def compose(stage: Stage) -> None:
    between = stage.between
    surfaces.sky(stage, (0.38, 0.56, 0.82), (0.80, 0.86, 0.92), clouds=between(0.05, 0.3))
    skyline(stage, 52.0, lit=0.03)
    middle, half, walk = between(-2.2, 1.0), between(3.2, 4.6), between(1.6, 2.8)
    bend = between(-0.004, 0.004)
    _lay_road(stage, middle, half, walk, bend)

    def beside(side: int, offset: float, z: float) -> float:
        """The x of what stands `offset` metres from the kerb, outwards."""
        return middle + bend * z * z + side * (half + offset)

    for side in (-1, 1):
        _line_with_houses(stage, side, middle + side * (half + walk))
        _furnish_pavement(stage, partial(beside, side), walk)
    _fill_road(stage, lambda z: beside(stage.rng.choice((-1, 1)), -half * between(0.4, 0.62), z))
    stage.draw_all()
    _own_bonnet(stage)


def _lay_road(stage: Stage, middle: float, half: float, walk: float, bend: float) -> None:
    rng = stage.rng
    ground = surfaces.ground(stage, "grass", stage.color(*palettes.GRASS), "grass")
    x = ground.across - middle - bend * ground.up**2
    red, green, blue = stage.color(*palettes.STONE)
    pattern = rng.choice(("paving", "concrete"))
    surfaces.lay(stage, ground, "sidewalk", stage.color(*palettes.STONE), pattern, abs(x) < half + walk)
    stage.canvas.cover(ground, "kerb", (1.2 * red, 1.2 * green, 1.2 * blue), abs(x) < half + 0.18)
    surfaces.lay(stage, ground, "road", stage.color(*palettes.STONE), "asphalt", abs(x) < half)
    marks = ((abs(x) < 0.08) & (ground.up % 5 < 2.6)) | (abs(abs(x) - half + 0.3) < 0.06)
    stage.canvas.cover(ground, "road-marking", (0.78, 0.77, 0.74), marks)


def _line_with_houses(stage: Stage, side: int, x: float) -> None:
    """One side of the street from far to near: houses, walls and fences with green behind them, or just green."""
    between, canvas = stage.between, stage.canvas
    shade = 1 - 0.25 * stage.light_x * side
    z = 48.0
    while z > 3:
        start = max(z - between(8, 17), 1.0)
        kind = stage.rng.choices(("house", "wall", "fence", "green"), (4, 2.6, 2.2, 2))[0]
        if kind == "house":
            height = between(5, 14)
            surfaces.facade(stage, canvas.side_surface(x, start, z, 0, height), height, 0.05, shade)
            _gable(stage, side, x, start, height)
        else:
            _green(stage, x + side * between(1.5, 4), start, z)
        if kind == "wall":
            height, material, color = (
                between(1.2, 2.6),
                stage.rng.choice(WALL_MATERIALS),
                stage.color(*palettes.MASONRY),
            )
            surfaces.wall(stage, canvas.side_surface(x, start, z, 0, height), material, color, height, shade)
        elif kind == "fence":
            height = between(1.0, 1.7)
            surfaces.fence(stage, canvas.side_surface(x, start, z, 0, height), height)
        z = start


def _gable(stage: Stage, side: int, x: float, z: float, height: float) -> None:
    """The end of a house that faces the camera; the next house may hide it."""
    if z > 3:
        x0, x1 = sorted((x, x + side * 9.0))
        surfaces.facade(stage, stage.canvas.front_surface(z, x0, x1, 0, height), height, 0.05)


def _green(stage: Stage, x: float, z0: float, z1: float) -> None:
    if stage.chance(0.8):
        outdoors.tree(stage, x, max(stage.between(z0, z1), 4.0), height=stage.between(4, 8))
    if stage.chance(0.5):
        outdoors.bush(stage, x, max(z0, 4.0), size=stage.between(0.8, 1.8))


def _furnish_pavement(stage: Stage, x_at: Callable[[float, float], float], walk: float) -> None:
    """Posts, lights, signs, parked cars and bicycles, people; `x_at` turns metres from the kerb and z into x."""
    between = stage.between
    z = between(5, 9)
    while z < 32:
        thing = stage.rng.choice((outdoors.traffic_sign, outdoors.traffic_light, outdoors.pole, outdoors.tree))
        details = {"height": between(3.5, 5)} if thing is outdoors.tree else {}
        stage.put(thing, x_at(0.5, z), z, **details)
        z += between(6, 14)
    if stage.chance(0.6):
        z = between(6, 20)
        for _ in stage.times(1, 3):
            stage.put(vehicles.car, x_at(-1.1, z), z, across=False)
            z += between(6, 9)
    for thing, least, most, far in (
        (people.person, 1, 4, 14.0),
        (people.bicycle, 0, 1, 9.0),
        (outdoors.clutter, 0, 1, 14.0),
    ):
        for _ in stage.times(least, most):
            z = between(4.0, far)
            stage.put(thing, x_at(between(0.5, walk), z), z)


def _fill_road(stage: Stage, lane_at: Callable[[float], float]) -> None:
    between = stage.between
    for _ in stage.times(0, 2):
        z = between(8, 30)
        stage.put(vehicles.car, lane_at(z), z, across=False)
    if stage.chance(0.5):
        z = between(9, 18)
        stage.put(vehicles.truck, lane_at(z), z, across=False)
    for _ in stage.times(0, 2):
        z = between(4.0, 9)
        stage.put(people.cyclist, lane_at(z), z)
    if stage.chance(0.25):
        z = between(6, 12)
        stage.put(people.person, lane_at(z), z)


def _own_bonnet(stage: Stage) -> None:
    """The car that carries the camera shows in most driving footage, and is ignored."""
    height, width = stage.canvas.size
    if stage.chance(0.8):
        stage.canvas.use("ego-vehicle", 1.0)
        color, y = stage.color(*palettes.PAINT[2:5]), stage.between(1.16, 1.22) * height
        stage.canvas.ellipse(stage.camera.center, y, 0.6 * width, 0.24 * height, color, relief=0.5)
