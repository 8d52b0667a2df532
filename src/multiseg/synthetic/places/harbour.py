"""A quay in the mist: the water behind it, boats, containers, people and vehicles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from multiseg.synthetic import outdoors, palettes, people, surfaces, vehicles
from multiseg.synthetic.canvas import Camera
from multiseg.synthetic.places.backdrop import skyline
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.world import WALL_MATERIALS


def camera(height: int, width: int, between: Callable[[float, float], float]) -> Camera:
    return Camera(1.1 * height, between(2.0, 4.2), between(0.26, 0.38) * height, between(0.35, 0.65) * width)


def compose(stage: Stage) -> None:
    between = stage.between
    surfaces.sky(stage, (0.66, 0.70, 0.74), (0.78, 0.80, 0.81), clouds=0.15)
    skyline(stage, 75.0, lit=0.1, tallest=12.0, gaps=0.5)
    for _ in stage.times(0, 2):
        outdoors.crane(stage, between(-35, 35), 74)
    edge = between(11, 18)
    _lay_quay(stage, edge)
    for _ in stage.times(2, 4):
        z = between(edge * 1.35, 45)
        stage.put(vehicles.boat, between(-0.6, 0.6) * z, z)
    inland = 0.8 * edge
    for _ in stage.times(0, 2):
        z = between(8, inland)
        x = stage.rng.choice((-1, 1)) * between(0.3, 0.75) * z
        stage.put(outdoors.container, x, z, storeys=stage.rng.randint(1, 2))
    _fence_off(stage, inland)
    for thing, least, most in (
        (people.person, 2, 5),
        (people.cyclist, 0, 1),
        (outdoors.bollard, 1, 4),
        (outdoors.pole, 1, 2),
        (outdoors.clutter, 0, 2),
    ):
        for _ in stage.times(least, most):
            z = between(5, inland)
            stage.put(thing, between(-0.6, 0.6) * z, z)
    for _ in stage.times(1, 3):
        z = between(7, inland)
        vehicle = stage.rng.choice((vehicles.car, vehicles.car, vehicles.truck))
        stage.put(vehicle, between(-0.6, 0.6) * z, z, across=stage.chance(0.6))
    stage.draw_all()


def _lay_quay(stage: Stage, edge: float) -> None:
    between = stage.between
    pattern = stage.rng.choice(("concrete", "asphalt", "paving"))
    ground = surfaces.ground(stage, "paving", stage.color(*palettes.STONE), pattern)
    shore = ground.up + between(-0.25, 0.25) * ground.across
    surfaces.water(stage, ground, stage.color((0.26, 0.36, 0.38), (0.30, 0.34, 0.34)), shore > edge)
    stage.canvas.cover(ground, "kerb", (0.55, 0.53, 0.5), (shore > edge - 0.4) & (shore <= edge))
    track = abs(ground.across - between(-4, 4)) < 1.6
    surfaces.lay(stage, ground, "road", stage.color(*palettes.STONE), "asphalt", track & (shore < edge - 0.4))


def _fence_off(stage: Stage, far: float) -> None:
    """Up to one fence and up to two low walls across the quay."""
    between, canvas = stage.between, stage.canvas
    if stage.chance(0.6):
        z, x, height = between(6, far), between(-6, 2), between(1.0, 1.8)
        stage.add(z, partial(surfaces.fence, stage, canvas.front_surface(z, x, x + between(4, 8), 0, height), height))
    for _ in stage.times(0, 2):
        z, x, height = between(7, far), between(-8, 3), between(0.9, 2.4)
        surface = canvas.front_surface(z, x, x + between(3, 7), 0, height)
        material, color = stage.rng.choice(WALL_MATERIALS), stage.color(*palettes.MASONRY)
        stage.add(z, partial(surfaces.wall, stage, surface, material, color, height))
