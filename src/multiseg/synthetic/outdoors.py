"""What grows or stands outdoors: plants, posts, signs, containers, cranes, and what nobody has a class for."""

from __future__ import annotations

from multiseg.synthetic import palettes
from multiseg.synthetic.blocks import Frustum, ground_shadow, place_at
from multiseg.synthetic.stage import Stage


def tree(stage: Stage, x: float, z: float, height: float) -> None:
    canvas = stage.canvas
    foot_x, foot_y = stage.foot(x, z)
    unit = stage.camera.scale(z)
    canvas.shadow(foot_x - 0.8 * stage.light_x * unit, foot_y, 0.3 * height * unit, 0.05 * height * unit, 0.4)
    canvas.use("tree", z)
    bark = stage.color(*palettes.BARK)
    crown_y = foot_y - 0.66 * height * unit
    bend = stage.between(-0.05, 0.05) * height * unit
    canvas.limb((foot_x, foot_y), (foot_x + bend, crown_y), 0.024 * height * unit, 0.014 * height * unit, bark)
    edge, leaves = stage.screen("leaves", unit * 2), stage.screen("foliage", unit)
    color = stage.color(*palettes.LEAVES)
    spread = stage.between(0.8, 1.2)
    for _ in range(3 if unit > 4 else 2):
        dx, dy = stage.between(-0.16, 0.16) * height, stage.between(-0.17, 0.13) * height
        radius = stage.between(0.16, 0.25) * height * unit
        leaf = stage.color(color, spread=0.05)
        canvas.blob(
            foot_x + bend + dx * unit * spread,
            crown_y + dy * unit,
            radius * spread,
            radius,
            leaf,
            edge,
            leaves,
        )


def bush(stage: Stage, x: float, z: float, size: float, world_class: str = "bush", base: float = 0.0) -> None:
    """A shrub of `size` metres; `base` lifts it onto a pot."""
    canvas = stage.canvas
    unit = stage.camera.scale(z)
    foot_x, foot_y = stage.camera.point(x, base, z)
    if not base:
        canvas.shadow(foot_x, foot_y, 0.7 * size * unit, 0.12 * size * unit, 0.4)
        canvas.use(world_class, z)
    edge, leaves = stage.screen("leaves", unit * 3), stage.screen("foliage", unit * 2)
    color = stage.color(*palettes.LEAVES)
    for shift in (-0.25, 0.25):
        width, height = stage.between(0.3, 0.5) * size * unit, stage.between(0.35, 0.5) * size * unit
        canvas.blob(foot_x + shift * size * unit, foot_y - 0.8 * height, width, height, color, edge, leaves)


def potted_plant(stage: Stage, x: float, z: float, size: float) -> None:
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0)
    canvas.shadow(*place(0, 0), 0.4 * unit, 0.1 * unit, 0.5)
    canvas.use("potted-plant", z, canvas.new_instance())
    pot = [place(-0.15, 0), place(0.15, 0), place(0.21, 0.35), place(-0.21, 0.35)]
    canvas.polygon(pot, stage.color(*palettes.MASONRY))
    bush(stage, x, z, size, base=0.4)


def pole(stage: Stage, x: float, z: float) -> None:
    """A lamp post or a bare mast."""
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0)
    canvas.shadow(*place(0, 0), 0.3 * unit, 0.06 * unit, 0.4)
    canvas.use("pole", z)
    metal, height = stage.color(*palettes.METAL), stage.between(3.2, 6.5)
    canvas.limb(place(0, 0), place(0, height), 0.11 * unit, 0.08 * unit, metal)
    if stage.chance(0.6):
        arm = 1.1 if x < 0 else -1.1
        canvas.limb(place(0, height), place(arm, height + 0.1), 0.045 * unit, 0.04 * unit, metal)
        canvas.limb(place(arm * 0.8, height + 0.08), place(arm * 1.2, height + 0.08), 0.1 * unit, 0.08 * unit, metal)


def bollard(stage: Stage, x: float, z: float) -> None:
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0)
    canvas.shadow(*place(0, 0), 0.4 * unit, 0.08 * unit, 0.5)
    canvas.use("bollard", z)
    metal = stage.color(*palettes.METAL)
    canvas.limb(place(0, 0.05), place(0, 0.6), 0.17 * unit, 0.13 * unit, metal)
    canvas.limb(place(-0.2, 0.62), place(0.2, 0.62), 0.09 * unit, 0.09 * unit, metal)


def traffic_sign(stage: Stage, x: float, z: float) -> None:
    """A post with a round, triangular or rectangular sign."""
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0)
    canvas.use("pole", z)
    height = stage.between(2.0, 2.6)
    canvas.limb(place(0, 0), place(0, height), 0.05 * unit, 0.05 * unit, stage.color(*palettes.METAL))
    canvas.use("traffic-sign", z)
    rim, face = stage.rng.choice((((0.65, 0.1, 0.1), (0.85, 0.85, 0.82)), ((0.85, 0.85, 0.82), (0.12, 0.25, 0.55))))
    shape = stage.rng.randrange(3)
    for radius, color in ((0.52, rim), (0.38, face)):
        middle_x, middle_y = place(0, height)
        if shape == 0:
            canvas.ellipse(middle_x, middle_y, radius * unit, radius * unit, color, relief=0.1)
        elif shape == 1:
            corners = ((-1.1 * radius, -0.8 * radius), (1.1 * radius, -0.8 * radius), (0.0, 1.1 * radius))
            canvas.polygon([place(dx, height + dy) for dx, dy in corners], color)
        else:
            r = radius * unit
            canvas.box(middle_x - r, middle_y - 0.8 * r, middle_x + r, middle_y + 0.8 * r, color)


def traffic_light(stage: Stage, x: float, z: float) -> None:
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0)
    canvas.use("pole", z)
    canvas.limb(place(0, 0), place(0, 3.2), 0.07 * unit, 0.06 * unit, stage.color(*palettes.METAL))
    canvas.use("traffic-light", z)
    (left, top), (right, bottom) = place(-0.36, 3.7), place(0.36, 2.25)
    canvas.box(left, top, right, bottom, stage.color((0.10, 0.11, 0.10), (0.16, 0.16, 0.16), spread=0.03))
    lit = stage.rng.randrange(3)
    for lamp, color in enumerate(((0.95, 0.15, 0.1), (0.95, 0.7, 0.1), (0.15, 0.85, 0.4))):
        dim = 1.0 if lamp == lit else 0.3
        middle_x, middle_y = place(0, 3.45 - 0.47 * lamp)
        glow = (color[0] * dim, color[1] * dim, color[2] * dim)
        canvas.ellipse(middle_x, middle_y, 0.18 * unit, 0.18 * unit, glow, relief=0)


def container(stage: Stage, x: float, z: float, storeys: int) -> None:
    """A stack of shipping containers, each an object of its own."""
    canvas = stage.canvas
    ground_shadow(stage, x - 3, x + 3, z, 2.4)
    for storey in range(storeys):
        canvas.use("container", z, canvas.new_instance())
        shift = x + stage.between(-0.2, 0.2)
        block = Frustum(
            stage, (shift - 3, shift + 3), (z, z + 2.4), (2.6 * storey, 2.6 * storey + 2.55), (0.0, 0.0), 0.0
        )
        block.paint(stage.color(*palettes.PAINT), "panel")


def crane(stage: Stage, x: float, z: float) -> None:
    """A harbour crane on the far side."""
    canvas = stage.canvas
    place, unit = place_at(stage, x, z, 1.0, mirror=stage.chance(0.5))
    canvas.use("crane", z)
    metal = stage.color(*palettes.PAINT)
    top, reach = stage.between(12, 20), stage.between(8, 14)
    for foot in (-2.5, 2.5):
        canvas.limb(place(foot, 0), place(0.2 * foot, top), 0.4 * unit, 0.3 * unit, metal)
    canvas.limb(place(-5, top), place(reach, top * 1.12), 0.4 * unit, 0.25 * unit, metal)
    canvas.limb(place(reach * 0.8, top * 1.1), place(reach * 0.8, top * 0.5), 0.1 * unit, 0.1 * unit, metal)


def clutter(stage: Stage, x: float, z: float) -> None:
    """A crate, a bin or a heap of bags: what no dataset here has a class for."""
    canvas = stage.canvas
    ground_shadow(stage, x - 0.3, x + 0.3, z, 0.5)
    canvas.use("clutter", z)
    if stage.chance(0.6):
        size, height = stage.between(0.2, 0.4), stage.between(0.35, 1.0)
        crate = Frustum(stage, (x - size, x + size), (z, z + size), (0.0, height), (0.0, 0.0), 0.0)
        crate.paint(stage.color(*palettes.PAINT, *palettes.WOOD), stage.rng.choice(("planks", None)))
        return
    place, unit = place_at(stage, x, z, 1.0)
    for _ in range(3):
        middle_x, middle_y = place(stage.between(-0.25, 0.25), stage.between(0.12, 0.25))
        canvas.ellipse(middle_x, middle_y, 0.24 * unit, 0.2 * unit, stage.color(*palettes.CLOTHES))
