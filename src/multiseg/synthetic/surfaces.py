"""What stands or lies around the objects: facades, walls, fences, ground, water, sky.

Every function paints one plane of the world, in perspective, from the metres of its pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multiseg.synthetic import palettes
from multiseg.synthetic.canvas import Color, Surface
from multiseg.synthetic.stage import Stage
from multiseg.synthetic.textures import Floats
from multiseg.synthetic.world import WALL_MATERIALS, WORLD_IDS

Mask = NDArray[np.bool_]

_EVERYWHERE = np.ones((1, 1), np.bool_)

#: Neighbouring windows differ in tone.
_PANE_TONES = np.linspace(0.8, 1.2, 16, dtype=np.float32)

#: Facades share the materials of free-standing walls, so that a wall is not known by its texture alone.
_FACADES = (*WALL_MATERIALS, "plaster")


def textured(
    stage: Stage, surface: Surface, color: Color, texture: str, shade: float = 1.0, fade: float = 14.0
) -> Floats:
    """A colour under a texture that loses contrast beyond `fade` metres. Shape: returns (3, h, w)."""
    shift = stage.offset()
    factor = stage.textures.sample(
        texture, surface.across + np.float32(shift[0]), surface.up + np.float32(shift[1]), surface.pixels_per_metre
    )
    strength = np.minimum(1, fade / np.maximum(surface.depth, 0.1)).astype(np.float32)
    factor = ((factor - 1) * strength + 1) * np.float32(shade)
    return factor * _planes(color)


def sky(stage: Stage, zenith: Color, horizon: Color, clouds: float) -> None:
    """A gradient with clouds drawn out towards the horizon; also the backdrop of everything."""
    canvas = stage.canvas
    height, width = canvas.size
    rise = np.linspace(1, 0, height, dtype=np.float32)[:, None] ** 0.8
    mix = stage.textures.patch("cloud", height, width, height / 10, stage.offset())
    canvas.image[:] = _planes(horizon) + rise * (_planes(zenith) - _planes(horizon)) + (mix - 1) * clouds * (0.3 + rise)
    canvas.classes[:] = WORLD_IDS["sky"]


def wall(stage: Stage, surface: Surface | None, material: str, color: Color, top: float, shade: float = 1.0) -> None:
    """A free-standing or inner wall of brick, concrete or panels, with a coping just below `top`."""
    if surface is None:
        return
    paint = textured(stage, surface, color, material, shade)
    paint *= np.where(surface.up > top - 0.12, np.float32(1.22), np.float32(1))
    paint *= 0.75 + 0.25 * (surface.up * 2).clip(0, 1)  # darker where it meets the ground
    stage.canvas.cover(surface, f"wall-{material}", paint, _EVERYWHERE)


def facade(stage: Stage, surface: Surface | None, height: float, lit: float, shade: float = 1.0) -> None:
    """The front of a building: windows in a grid, doors and shop windows on the ground floor.

    Args:
        stage: where it stands.
        surface: its plane.
        height: of the building.
        lit: share of windows with the light on.
        shade: how bright this side is.
    """
    if surface is None:
        return
    canvas = stage.canvas
    color, trim = stage.color(*palettes.MASONRY, spread=0.09), stage.between(0.75, 1.3)
    paint = textured(stage, surface, color, stage.rng.choice(_FACADES), shade)
    bay, storey = stage.between(1.9, 3.2), stage.between(2.7, 3.4)
    column, row = surface.across / np.float32(bay) + 500, surface.up / np.float32(storey)
    column_id, row_id = np.floor(column).astype(np.int32), np.floor(row).astype(np.int32)
    u, v = abs(column - column_id - 0.5), row - row_id
    half, low, high = stage.between(0.2, 0.34), stage.between(0.2, 0.38), stage.between(0.75, 0.88)
    below_roof = surface.up < height - 0.5
    upper = (row_id >= 1) & below_roof
    window = upper & (u < half) & (v > low) & (v < high)
    frame = upper & (u < half + 0.05) & (v > low - 0.05) & (v < high + 0.05) & ~window
    paint *= np.where(frame | (surface.up > height - 0.4) | (abs(surface.up - storey) < 0.12), trim, 1.0)
    ground = (row_id == 0) & (surface.up > 0)
    doorway = ground & (column_id % 3 == stage.rng.randrange(3)) & (u < 0.22) & (v < 0.72)
    if stage.chance(0.6):
        window = window | (ground & ~doorway & (u < 0.4) & (v > 0.22) & (v < 0.78))
    canvas.cover(surface, "facade", paint.astype(np.float32), _EVERYWHERE)
    canvas.cover(surface, "window", _panes(stage, column_id, row_id, v, lit, shade), window)
    canvas.cover(
        surface, "door", textured(stage, surface, stage.color(*palettes.PAINT, *palettes.WOOD), "planks"), doorway
    )


def opening(stage: Stage, surface: Surface | None, world_class: str) -> None:
    """One window, door or picture, with its frame, filling a piece of wall."""
    if surface is None:
        return
    canvas = stage.canvas
    across = (surface.across - surface.across.min()) / max(float(np.ptp(surface.across)), 1e-3)
    up = (surface.up - surface.up.min()) / max(float(np.ptp(surface.up)), 1e-3)
    edge = np.minimum(np.minimum(across, 1 - across), np.minimum(up, 1 - up))
    frame = stage.color(*palettes.WOOD, (0.82, 0.81, 0.78))
    canvas.cover(surface, world_class, frame, _EVERYWHERE)
    inner = edge > 0.07
    if world_class == "window":
        view = stage.color((0.62, 0.70, 0.78), (0.75, 0.76, 0.74), (0.45, 0.55, 0.42))
        glass = _planes(view) * (0.8 + 0.4 * up)
        canvas.cover(surface, world_class, glass, inner & (abs(across - 0.5) > 0.035) & (abs(up - 0.6) > 0.025))
    elif world_class == "door":
        panel = textured(stage, surface, stage.color(*palettes.WOOD, *palettes.PAINT), "planks")
        canvas.cover(surface, world_class, panel, inner)
        canvas.cover(surface, world_class, (0.7, 0.65, 0.45), (abs(across - 0.85) < 0.05) & (abs(up - 0.48) < 0.02))
    else:
        motif = textured(stage, surface, stage.color(*palettes.CLOTHES, *palettes.LEAVES), "foliage")
        canvas.cover(surface, world_class, motif, inner)
        second = stage.color(*palettes.CLOTHES, *palettes.GLASS)
        disc = (across - stage.between(0.3, 0.7)) ** 2 + (up - stage.between(0.3, 0.7)) ** 2 < 0.05
        canvas.cover(surface, world_class, second, inner & (disc | (up < 0.3)))


def fence(stage: Stage, surface: Surface | None, height: float) -> None:
    """Posts, rails and bars; what lies behind shows through, but the whole is labelled fence."""
    if surface is None:
        return
    canvas = stage.canvas
    color = stage.color(*palettes.METAL, *palettes.WOOD, (0.78, 0.77, 0.74))
    pitch, bar = (stage.between(0.16, 0.3), 0.3) if stage.chance(0.6) else (0.22, 0.7)
    thin = max(0.06, 0.7 / surface.pixels_per_metre)
    bars = (surface.across % np.float32(pitch) < bar * pitch) & (surface.up < 0.95 * height)
    posts = surface.across % np.float32(2.0) < 0.12
    rails = (abs(surface.up - 0.18) < thin) | (abs(surface.up - 0.85 * height) < thin)
    canvas.cover(surface, "fence", color, bars | posts | rails)
    canvas.label(surface, "fence", _EVERYWHERE)
    np.copyto(canvas.instances[surface.window], 0, where=surface.inside)


def ground(stage: Stage, world_class: str, color: Color, texture: str) -> Surface:
    """Covers everything below the horizon; returns the plane for what lies on it."""
    surface = stage.canvas.flat_surface(0.0)
    assert surface is not None  # the horizon is always inside the picture
    stage.canvas.cover(surface, world_class, textured(stage, surface, color, texture, fade=9), _EVERYWHERE)
    return surface


def lay(stage: Stage, surface: Surface, world_class: str, color: Color, texture: str, where: Mask) -> None:
    """Covers a part of the ground with something else."""
    stage.canvas.cover(surface, world_class, textured(stage, surface, color, texture, fade=9), where)


def water(stage: Stage, surface: Surface, color: Color, where: Mask) -> None:
    """Waves that flatten with distance and mirror the sky."""
    waves = textured(stage, surface, color, "water", fade=25)
    mirror = (surface.depth / 60).clip(0, 0.6)
    sky_color = stage.canvas.image[:, :1].mean(2, keepdims=True)
    stage.canvas.cover(surface, "water", waves + mirror * (sky_color - waves), where)


def _panes(
    stage: Stage, column: NDArray[np.int32], row: NDArray[np.int32], v: Floats, lit: float, shade: float
) -> Floats:
    """Glass: a tone for each window, brighter towards the top, some with the light on. Shape: (3, h, w)."""
    dark = stage.color(*palettes.GLASS, spread=0.08)
    tones = [stage.color((1.0, 0.78, 0.42), (0.95, 0.86, 0.62)) if stage.chance(lit) else dark for _ in range(16)]
    table = np.array(tones, np.float32).T * (_PANE_TONES * np.float32(shade))
    glass: Floats = table.take((column * 7 + row * 3) & 15, 1) * (0.7 + 0.6 * v)
    return glass


def _planes(color: Color) -> Floats:
    """A colour that broadcasts against (h, w). Shape: (3, 1, 1)."""
    return np.array(color, np.float32)[:, None, None]
