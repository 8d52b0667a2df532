"""A paved square at dusk, crossed by a road: walls of all materials, cafe tables, people, some traffic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from multiseg.synthetic import furniture, outdoors, palettes, people, surfaces, vehicles
from multiseg.synthetic.canvas import Camera
from multiseg.synthetic.places.backdrop import skyline, table_with_chairs
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.world import WALL_MATERIALS


def camera(height: int, width: int, between: Callable[[float, float], float]) -> Camera:
    return Camera(1.05 * height, between(1.7, 3.4), between(0.28, 0.4) * height, between(0.4, 0.6) * width)


def compose(stage: Stage) -> None:
    between = stage.between
    surfaces.sky(stage, (0.34, 0.38, 0.60), (1.0, 0.74, 0.58), clouds=between(0.1, 0.3))
    far, near = between(20, 30), between(8.5, 13)
    road_end = near + between(3.5, 5)
    skyline(stage, far, lit=0.35, tallest=12.0, gaps=0.2)
    _lay_ground(stage, near, road_end)
    _raise_walls(stage, road_end, far)
    _plant(stage, road_end, far)
    _people_square(stage, road_end)
    for _ in stage.times(0, 3):
        z = between(near, road_end - 1.9)
        thing = stage.rng.choice((vehicles.car, vehicles.car, vehicles.truck))
        stage.put(thing, between(-0.7, 0.7) * z, z, across=True)
    stage.draw_all()


def _lay_ground(stage: Stage, near: float, road_end: float) -> None:
    between, cover = stage.between, stage.canvas.cover
    ground = surfaces.ground(stage, "paving", stage.color(*palettes.STONE, *palettes.MASONRY[:3]), "paving")
    lane = ground.up + between(-0.12, 0.12) * ground.across
    cover(ground, "kerb", (0.6, 0.58, 0.55), (lane > near - 0.25) & (lane < road_end + 0.25))
    surfaces.lay(stage, ground, "road", stage.color(*palettes.STONE), "asphalt", (lane > near) & (lane < road_end))
    stripe = (abs(lane - (near + road_end) / 2) < 0.1) & (ground.across % 3 < 1.8)
    cover(ground, "road-marking", (0.75, 0.74, 0.7), stripe)
    if stage.chance(0.6):
        bed = ((ground.across - between(-5, 5)) / between(2, 4)) ** 2 + ((ground.up - between(5.5, 8)) / 1.6) ** 2 < 1
        surfaces.lay(stage, ground, "grass", stage.color(*palettes.GRASS), "grass", bed)


def _raise_walls(stage: Stage, near: float, far: float) -> None:
    """Two or three pieces of different materials behind the road, and often one along the square's side."""
    between, canvas = stage.between, stage.canvas
    materials = stage.rng.sample(WALL_MATERIALS, 3)
    x = between(-0.8, -0.3) * near
    for material in materials[: stage.rng.randint(2, 3)]:
        z, height = between(near + 0.5, min(near + 4, far - 1)), between(1.6, 3.4)
        surface = canvas.front_surface(z, x, x + between(4, 8), 0, height)
        stage.add(z, partial(surfaces.wall, stage, surface, material, stage.color(*palettes.MASONRY), height))
        x += between(4, 10)
    if stage.chance(0.6):
        side, height = stage.rng.choice((-1, 1)), between(1.8, 3.4)
        surface = canvas.side_surface(side * between(4.5, 7), 2.0, near - 5, 0, height)
        stage.add(near, partial(surfaces.wall, stage, surface, materials[-1], stage.color(*palettes.MASONRY), height))


def _plant(stage: Stage, road_end: float, far: float) -> None:
    between = stage.between
    for _ in stage.times(1, 3):
        z = between(road_end + 0.5, far - 2)
        stage.put(outdoors.tree, between(-0.6, 0.6) * z, z, height=between(4.5, 8))
    for _ in stage.times(0, 3):
        z = between(6, 16)
        stage.put(outdoors.bush, between(-0.65, 0.65) * z, z, size=between(0.5, 1.3))
    for _ in stage.times(0, 2):
        z = between(5, 11)
        stage.put(outdoors.potted_plant, between(-0.6, 0.6) * z, z, size=between(0.5, 0.9))


def _people_square(stage: Stage, road_end: float) -> None:
    """Everything scattered over the pavement."""
    between = stage.between
    for thing, least, most, far in (
        (people.person, 2, 5, 11.0),
        (people.cyclist, 0, 2, road_end),
        (people.bicycle, 0, 2, 9.0),
        (furniture.bench, 0, 2, 9.0),
        (outdoors.pole, 1, 2, 15.0),
        (outdoors.traffic_sign, 0, 1, 12.0),
        (outdoors.clutter, 0, 2, 12.0),
    ):
        for _ in stage.times(least, most):
            z = between(4.5, far)
            stage.put(thing, between(-0.65, 0.65) * z, z)
    for _ in stage.times(0, 2):
        z = between(4, 8)
        table_with_chairs(stage, between(-0.5, 0.5) * z, z, half=between(0.4, 0.7))
