"""What several places have in common: rows of houses far off, and a table with chairs."""

from __future__ import annotations

from multiseg.synthetic import furniture, outdoors, people, surfaces
from multiseg.synthetic.stage import Stage


def skyline(stage: Stage, z: float, lit: float, tallest: float = 14.0, gaps: float = 0.3) -> None:
    """Houses and trees at distance `z` across the whole picture.

    Args:
        stage: where they stand.
        z: farther away than everything drawn later.
        lit: share of windows with the light on.
        tallest: height of the tallest house.
        gaps: share of places with a tree instead of a house.
    """
    half = 0.5 * stage.canvas.size[1] * 1.3 / stage.camera.scale(z)
    x = -half - stage.between(0, 0.4 * half)
    while x < half:
        width, height = half * stage.between(0.35, 0.7), tallest * stage.between(0.4, 1.0)
        if stage.chance(gaps):
            outdoors.tree(stage, x + width / 2, z, height=0.7 * height)
        else:
            surfaces.facade(stage, stage.canvas.front_surface(z, x, x + width, 0, height), height, lit)
        x += width


def table_with_chairs(stage: Stage, x: float, z: float, half: float) -> None:
    """A table `2 half` wide with two or three chairs, some of them taken."""
    between = stage.between
    stage.put(furniture.table, x, z, half=half)
    for side in (-1, 1):
        chair_x, chair_z = x + side * (half + between(0.25, 0.4)), z + between(-0.1, 0.5)
        stage.put(furniture.chair, chair_x, chair_z)
        if stage.chance(0.3):
            stage.put(people.person, chair_x, chair_z - 0.01, seated=0.48)
    if stage.chance(0.5):
        stage.put(furniture.chair, x + between(-0.1, 0.1), z - 0.75)
