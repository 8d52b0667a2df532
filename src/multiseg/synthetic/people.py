"""People on foot and on bicycles.

All domains share these figures; only light, surroundings and optics differ. That is what lets a model trained on
several of the datasets learn more about a person than each dataset alone could teach it.
"""

from __future__ import annotations

from multiseg.synthetic import palettes
from multiseg.synthetic.blocks import Place, place_at
from multiseg.synthetic.canvas import Color, Point
from multiseg.synthetic.stage import Stage


def person(stage: Stage, x: float, z: float, seated: float = 0.0) -> None:
    """Someone walking or standing, or, with `seated` > 0, sitting at that height on something."""
    canvas, between = stage.canvas, stage.between
    place, unit = place_at(stage, x, z, between(0.88, 1.1))
    top, trousers, skin = stage.color(*palettes.CLOTHES), stage.color(*palettes.TROUSERS), stage.color(*palettes.SKIN)
    texture = stage.screen(stage.rng.choice(("fabric", "fabric", "stripes")), stage.camera.scale(z))
    if not seated:
        foot_x, foot_y = place(0, 0)
        canvas.shadow(foot_x - 0.25 * stage.light_x * unit, foot_y, 0.45 * unit, 0.10 * unit, 0.5)
    canvas.use("person", z, canvas.new_instance())
    stride, build = between(-0.28, 0.28), between(0.85, 1.2)
    hip = seated or 0.88
    _leg(stage, place, (-0.08, hip), -stride, trousers, build * unit)
    _leg(stage, place, (0.09, hip), stride, trousers, build * unit)
    hem = hip - between(0.0, 0.35) if not seated else hip
    shoulder, head = hip + 0.50, hip + 0.72
    lean = between(-0.05, 0.05)
    arm = between(-0.12, 0.30)
    skirt_or_coat = stage.chance(0.3) and not seated
    if skirt_or_coat:
        corners = ((-0.24 * build, hem), (0.24 * build, hem), (0.17, shoulder), (-0.17, shoulder))
        canvas.polygon([place(*corner) for corner in corners], top, texture)
    canvas.limb(
        place(-0.19 * build, shoulder - 0.03), place(-0.25 * build + lean, hip + 0.02), 0.065 * unit, 0.05 * unit, top
    )
    canvas.limb(
        place(0, hip + 0.02), place(lean, shoulder - 0.05), 0.15 * build * unit, 0.165 * build * unit, top, texture
    )
    elbow = place(0.20 * build + arm, shoulder - 0.26)
    canvas.limb(place(0.19 * build, shoulder - 0.03), elbow, 0.065 * unit, 0.05 * unit, top)
    if unit > 14:
        canvas.limb(elbow, place(0.22 * build + 1.1 * arm, hip + 0.05), 0.045 * unit, 0.045 * unit, skin)
    _head(stage, place(lean, head), unit, skin)
    if stage.chance(0.25) and not seated:
        bag = stage.color(*palettes.CLOTHES)
        canvas.limb(place(0.27 * build, hip), place(0.27 * build, hip - 0.2), 0.12 * unit, 0.13 * unit, bag)


def cyclist(stage: Stage, x: float, z: float) -> None:
    """A rider (class rider) on a bicycle (class bicycle), seen from the side or from the front."""
    canvas = stage.canvas
    side = stage.chance(0.65)
    place, unit = place_at(stage, x, z, 1.0, mirror=stage.chance(0.5))
    foot_x, foot_y = place(0, 0)
    canvas.shadow(foot_x, foot_y, (0.8 if side else 0.4) * unit, 0.1 * unit, 0.5)
    top, trousers, skin = stage.color(*palettes.CLOTHES), stage.color(*palettes.TROUSERS), stage.color(*palettes.SKIN)
    texture = stage.screen("fabric", stage.camera.scale(z))
    canvas.use("bicycle", z, canvas.new_instance())
    if side:
        _bicycle_side(stage, place, unit)
    else:
        canvas.limb(place(0, 0.05), place(0, 0.66), 0.05 * unit, 0.05 * unit, palettes.DARK)
        canvas.limb(place(-0.28, 1.02), place(0.28, 1.02), 0.03 * unit, 0.03 * unit, palettes.DARK)
    canvas.use("rider", z, canvas.new_instance())
    if side:
        knee = (stage.between(0.08, 0.22), stage.between(0.58, 0.75))
        hip, shoulder, head, hand = (-0.18, 0.98), (0.12, 1.42), (0.22, 1.64), (0.42, 1.02)
        canvas.limb(place(*hip), place(*knee), 0.09 * unit, 0.075 * unit, trousers)
        canvas.limb(place(*knee), place(0.02, 0.25), 0.075 * unit, 0.06 * unit, trousers)
        canvas.limb(place(*hip), place(*shoulder), 0.15 * unit, 0.16 * unit, top, texture)
        canvas.limb(place(*shoulder), place(*hand), 0.06 * unit, 0.05 * unit, top)
    else:
        head = (0.0, 1.66)
        for sign in (-1, 1):
            knee = (sign * 0.16, stage.between(0.5, 0.75))
            canvas.limb(place(sign * 0.1, 0.98), place(*knee), 0.09 * unit, 0.075 * unit, trousers)
            canvas.limb(place(*knee), place(sign * 0.13, 0.25), 0.075 * unit, 0.06 * unit, trousers)
            canvas.limb(place(sign * 0.2, 1.42), place(sign * 0.27, 1.04), 0.06 * unit, 0.05 * unit, top)
        canvas.limb(place(0, 1.0), place(0, 1.4), 0.16 * unit, 0.19 * unit, top, texture)
    _head(stage, place(*head), unit, skin, helmet=stage.chance(0.5))


def bicycle(stage: Stage, x: float, z: float) -> None:
    """A parked bicycle."""
    place, unit = place_at(stage, x, z, 1.0, mirror=stage.chance(0.5))
    foot_x, foot_y = place(0, 0)
    stage.canvas.shadow(foot_x, foot_y, 0.8 * unit, 0.08 * unit, 0.4)
    stage.canvas.use("bicycle", z, stage.canvas.new_instance())
    _bicycle_side(stage, place, unit)


def _head(stage: Stage, middle: Point, unit: float, skin: Color, helmet: bool = False) -> None:
    x, y = middle
    hair = stage.color(*palettes.CLOTHES) if helmet else stage.color(*palettes.HAIR)
    stage.canvas.ellipse(x, y - 0.035 * unit, 0.115 * unit, 0.135 * unit, hair)
    stage.canvas.ellipse(x, y + 0.03 * unit, 0.09 * unit, 0.10 * unit, skin)


def _leg(stage: Stage, place: Place, hip: Point, stride: float, color: Color, unit: float) -> None:
    x, y = hip
    stage.canvas.limb(place(x, y), place(x + stride * y, 0.06), 0.10 * unit, 0.065 * unit, color)


def _bicycle_side(stage: Stage, place: Place, unit: float) -> None:
    canvas = stage.canvas
    color = stage.color(*palettes.PAINT)
    wheels = (-0.52, 0.52)
    for wheel in wheels:
        middle_x, middle_y = place(wheel, 0.34)
        canvas.ring(middle_x, middle_y, 0.34 * unit, 0.34 * unit, max(0.055 * unit, 1.0), palettes.DARK)
    tube = 0.028 * unit
    crank, saddle, head, bar = (-0.04, 0.32), (-0.18, 0.92), (0.36, 0.84), (0.40, 1.04)
    frame = (((-0.52, 0.34), crank), (crank, saddle), (crank, head), ((-0.14, 0.78), head), ((0.52, 0.34), bar))
    for start, end in frame:
        canvas.limb(place(*start), place(*end), tube, tube, color)
    canvas.limb(place(-0.28, 0.94), place(-0.08, 0.94), 0.04 * unit, 0.03 * unit, palettes.DARK)
