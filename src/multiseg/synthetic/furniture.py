"""What people sit at, sit on and read by."""

from __future__ import annotations

from multiseg.synthetic import palettes
from multiseg.synthetic.blocks import Frustum, ground_shadow, legs, place_at
from multiseg.synthetic.stage import Stage


def bench(stage: Stage, x: float, z: float) -> None:
    canvas = stage.canvas
    color = stage.color(*palettes.WOOD)
    half = stage.between(0.7, 1.1)
    ground_shadow(stage, x - half, x + half, z, 0.5)
    canvas.use("bench", z, canvas.new_instance())
    legs(stage, (x - half * 0.85, x + half * 0.85), (z, z + 0.45), 0.42, stage.color(*palettes.METAL))
    Frustum(stage, (x - half, x + half), (z + 0.4, z + 0.45), (0.55, 0.85), (0.0, 0.0), 0.0).paint(color, "planks")
    Frustum(stage, (x - half, x + half), (z, z + 0.45), (0.38, 0.45), (0.0, 0.0), 0.0).paint(color, "planks")


def chair(stage: Stage, x: float, z: float) -> None:
    canvas = stage.canvas
    color = stage.color(*palettes.WOOD, *palettes.CLOTHES[:4])
    metal = stage.color(*palettes.METAL, *palettes.WOOD)
    ground_shadow(stage, x - 0.25, x + 0.25, z, 0.45)
    canvas.use("chair", z, canvas.new_instance())
    away = stage.chance(0.5)
    back_z = z if away else z + 0.4
    span = (x - 0.23, x + 0.23)
    seat = Frustum(stage, span, (z, z + 0.42), (0.42, 0.48), (0.0, 0.0), 0.0)
    back = Frustum(stage, span, (back_z, back_z + 0.04), (0.62, 0.98), (0.02, 0.02), 0.0)
    legs(stage, span, (z + 0.03, z + 0.4), 0.44, metal)
    for part in (seat, back) if away else (back, seat):
        part.paint(color)
    for post_x in span:
        low, high = stage.camera.point(post_x, 0.45, back_z), stage.camera.point(post_x, 0.98, back_z)
        canvas.limb(low, high, 0.025 * stage.camera.scale(z), 0.025 * stage.camera.scale(z), metal)


def table(stage: Stage, x: float, z: float, half: float) -> None:
    canvas = stage.canvas
    color = stage.color(*palettes.WOOD, (0.75, 0.74, 0.72))
    ground_shadow(stage, x - half, x + half, z, 1.4 * half)
    canvas.use("table", z, canvas.new_instance())
    depth = 1.3 * half
    if stage.chance(0.35):
        legs(stage, (x - 0.06, x + 0.06), (z + depth / 2, z + depth / 2 + 0.1), 0.7, stage.color(*palettes.METAL), 0.05)
    else:
        legs(stage, (x - 0.9 * half, x + 0.9 * half), (z + 0.05, z + depth - 0.05), 0.7, color)
    Frustum(stage, (x - half, x + half), (z, z + depth), (0.68, 0.75), (0.0, 0.0), 0.0).paint(color, "planks")


def sofa(stage: Stage, x: float, z: float) -> None:
    canvas = stage.canvas
    color = stage.color(*palettes.CLOTHES)
    half = stage.between(0.7, 1.0)
    ground_shadow(stage, x - half, x + half, z, 0.9)
    canvas.use("sofa", z, canvas.new_instance())
    dark = (color[0] * 0.85, color[1] * 0.85, color[2] * 0.85)
    Frustum(stage, (x - half, x + half), (z + 0.6, z + 0.85), (0.1, 0.85), (0.04, 0.04), 0.0).paint(color, "fabric")
    Frustum(stage, (x - half, x + half), (z, z + 0.65), (0.08, 0.42), (0.0, 0.0), 0.02).paint(color, "fabric")
    for side in (-1, 1):
        middle = x + side * (half - 0.08)
        Frustum(stage, (middle - 0.1, middle + 0.1), (z, z + 0.8), (0.08, 0.6), (0.0, 0.0), 0.0).paint(dark, "fabric")


def shelf(stage: Stage, x: float, z: float) -> None:
    """An open bookcase with books."""
    canvas = stage.canvas
    color = stage.color(*palettes.WOOD)
    half, height = stage.between(0.35, 0.65), stage.between(1.3, 2.1)
    ground_shadow(stage, x - half, x + half, z, 0.35)
    canvas.use("shelf", z, canvas.new_instance())
    case = Frustum(stage, (x - half, x + half), (z, z + 0.35), (0.0, height), (0.0, 0.0), 0.0)
    case.paint(color, "planks")
    rows = 4 if height < 1.7 else 5
    for row in range(rows):
        low, high = (row + 0.12) / rows, (row + 0.92) / rows
        case.pane((color[0] * 0.35, color[1] * 0.35, color[2] * 0.35), case.front, 0.06, 0.94, low, high)
        start = 0.08
        while start < stage.between(0.5, 0.95):
            end = min(start + stage.between(0.08, 0.24), 0.92)
            top = low + (high - low) * stage.between(0.6, 0.95)
            case.pane(stage.color(*palettes.CLOTHES), case.front, start, end, low, top)
            start = end


def lamp(stage: Stage, x: float, z: float) -> None:
    """A floor lamp."""
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, stage.between(0.85, 1.1))
    canvas.shadow(*place(0, 0), 0.3 * unit, 0.06 * unit, 0.4)
    canvas.use("lamp", z, canvas.new_instance())
    canvas.limb(place(0, 0), place(0, 1.5), 0.025 * unit, 0.025 * unit, stage.color(*palettes.METAL))
    canvas.limb(place(-0.13, 0.02), place(0.13, 0.02), 0.03 * unit, 0.03 * unit, stage.color(*palettes.METAL))
    shade = [place(-0.25, 1.35), place(0.25, 1.35), place(0.15, 1.7), place(-0.15, 1.7)]
    canvas.polygon(shade, stage.color((0.95, 0.86, 0.62), (0.85, 0.80, 0.72), (0.60, 0.35, 0.25)), shade=1.1)
