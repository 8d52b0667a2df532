"""Cars, trucks and boats."""

from __future__ import annotations

from multiseg.synthetic import palettes
from multiseg.synthetic.blocks import Frustum, ground_shadow, ordered, place_at
from multiseg.synthetic.stage import Stage

#: Below this many pixels a metre, details are left out.
_SMALL = 6.0


def car(stage: Stage, x: float, z: float, across: bool) -> None:
    """A car seen from the side (`across`) or from its front or rear, its near side at distance `z`."""
    color = stage.color(*palettes.PAINT)
    height, deck = stage.between(1.35, 1.75), stage.between(0.78, 0.95)
    canvas = stage.canvas
    if across:
        length, width = stage.between(3.7, 4.7), 1.75
        back, front = stage.between(0.12, 0.9), stage.between(1.1, 1.5)
    else:
        length, width = stage.between(1.65, 1.85), stage.between(3.7, 4.6)
        back = front = 0.12
    left, right = x - length / 2, x + length / 2
    if across and stage.chance(0.5):
        back, front = front, back
    ground_shadow(stage, left, right, z, width)
    canvas.use("car", z, canvas.new_instance())
    _tires(stage, left, right, z, z + width, across)
    body = Frustum(stage, (left, right), (z, z + width), (0.28, deck), (0.0, 0.0), 0.0)
    cabin = Frustum(
        stage, (left, right), (z, z + width), (deck, height), (back, front), 0.12 if across else stage.between(0.5, 1.2)
    )
    for part in (body, cabin):
        part.paint(color)
    glass = stage.color(*palettes.GLASS)
    cabin.pane(glass, cabin.front, 0.12, 0.46 if across else 0.9, 0.18, 0.88)
    if across:
        cabin.pane(glass, cabin.front, 0.53, 0.88, 0.18, 0.88)
        for wheel_x in (left + 0.8, right - 0.8):
            _wheel(stage, wheel_x, z, 0.33)
        ends = ((0.0, 0.05), (0.95, 1.0))
    else:
        cabin.pane(glass, cabin.side, 0.1, 0.9, 0.2, 0.85)
        ends = ((0.04, 0.24), (0.76, 0.96))
    if stage.camera.scale(z) < _SMALL:
        return
    if not across:
        body.pane((0.8, 0.8, 0.75), body.front, 0.38, 0.62, 0.22, 0.42)
    lamp = stage.rng.choice(((0.75, 0.12, 0.10), (0.9, 0.88, 0.78)))
    for u0, u1 in ends:
        body.pane(lamp, body.front, u0, u1, 0.55, 0.85)


def truck(stage: Stage, x: float, z: float, across: bool) -> None:
    """A truck with a box body; seen from behind or from the side."""
    canvas = stage.canvas
    cargo, cab = stage.color(*palettes.PAINT), stage.color(*palettes.PAINT)
    height = stage.between(2.6, 3.4)
    if not across:
        left, right, far = x - 1.2, x + 1.2, z + 6.0
        ground_shadow(stage, left, right, z, 6.0)
        canvas.use("truck", z, canvas.new_instance())
        _tires(stage, left, right, z, far, across)
        Frustum(stage, (left, right), (z, far), (0.5, 0.9), (0.0, 0.0), 0.0).paint(palettes.DARK)
        box = Frustum(stage, (left, right), (z, far), (0.75, height), (0.0, 0.0), 0.0)
        box.paint(cargo)
        box.pane(palettes.DARK, box.front, 0.49, 0.51, 0.03, 0.97)
        return
    length = stage.between(5.5, 7.0)
    left, right = x - length / 2, x + length / 2
    to_left = stage.chance(0.5)
    split = left + 1.9 if to_left else right - 1.9
    cab_span, box_span = ((left, split), (split, right)) if to_left else ((split, right), (left, split))
    ground_shadow(stage, left, right, z, 2.3)
    canvas.use("truck", z, canvas.new_instance())
    _tires(stage, left, right, z, z + 2.3, across)
    Frustum(stage, (left, right), (z, z + 2.3), (0.5, 1.0), (0.0, 0.0), 0.0).paint(palettes.DARK)
    box = Frustum(stage, box_span, (z, z + 2.3), (0.8, height), (0.0, 0.0), 0.0)
    box.paint(cargo, "panel" if stage.chance(0.4) else None)
    cabin = Frustum(stage, cab_span, (z, z + 2.3), (0.55, 2.4), (0.3, 0.0) if to_left else (0.0, 0.3), 0.1)
    cabin.paint(cab)
    cabin.pane(stage.color(*palettes.GLASS), cabin.front, 0.2, 0.8, 0.52, 0.9)
    for wheel_x in (left + 0.9, right - 2.1, right - 1.0):
        _wheel(stage, wheel_x, z, 0.48)


def boat(stage: Stage, x: float, z: float) -> None:
    """A boat afloat: hull, cabin and, often, a mast; with its reflection."""
    canvas = stage.canvas
    size = stage.between(0.8, 1.7)
    place, unit = place_at(stage, x, z, size, mirror=stage.chance(0.5))
    canvas.shadow(*place(0, -0.35), 2.6 * unit, 0.5 * unit, 0.45)
    canvas.use("boat", z, canvas.new_instance())
    hull = stage.color(*palettes.PAINT)
    if stage.chance(0.6):
        metal = stage.color(*palettes.METAL)
        canvas.limb(place(0.3, 0.6), place(0.3, 5.5), 0.07 * unit, 0.045 * unit, metal)
        if stage.chance(0.5):
            sail = stage.color((0.85, 0.84, 0.80), *palettes.PAINT)
            canvas.polygon([place(0.15, 1.5), place(-1.9, 1.5), place(0.2, 5.2)], sail)
    canvas.box(*ordered(place(-1.2, 1.5), place(0.5, 0.6)), stage.color((0.8, 0.8, 0.78), *palettes.PAINT))
    for left in (-1.0, -0.4):
        canvas.box(*ordered(place(left, 1.3), place(left + 0.4, 0.95)), stage.color(*palettes.GLASS))
    canvas.polygon([place(-2.2, 0.65), place(2.7, 0.8), place(1.9, -0.15), place(-1.9, -0.15)], hull)
    canvas.polygon([place(-2.2, 0.65), place(2.7, 0.8), place(2.5, 0.6), place(-2.15, 0.48)], (0.8, 0.8, 0.78))


def _wheel(stage: Stage, x: float, z: float, radius: float) -> None:
    middle_x, middle_y = stage.camera.point(x, radius, z)
    pixels = radius * stage.camera.scale(z)
    stage.canvas.ellipse(middle_x, middle_y, pixels, pixels, palettes.DARK)
    stage.canvas.ellipse(middle_x, middle_y, 0.55 * pixels, 0.55 * pixels, (0.45, 0.45, 0.46))


def _tires(stage: Stage, left: float, right: float, z0: float, z1: float, across: bool) -> None:
    """The dark underside and, from the front or rear, the wheels."""
    point = stage.camera.point
    shade = [
        point(left + 0.15, 0.1, z0),
        point(right - 0.15, 0.1, z0),
        point(right - 0.15, 0.4, z0),
        point(left + 0.15, 0.4, z0),
    ]
    stage.canvas.polygon(shade, (0.05, 0.05, 0.055))
    if not across:
        for z in (z1 - 0.9, z0 + 0.1) if stage.camera.scale(z0) > _SMALL else (z0 + 0.1,):
            for x in (left + 0.05, right - 0.27):
                (x0, y0), (x1, y1) = point(x, 0.55, z), point(x + 0.22, 0.0, z)
                stage.canvas.box(x0, y0, x1, y1, palettes.DARK)
