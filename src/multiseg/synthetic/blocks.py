"""Upright blocks in perspective, of which vehicles and furniture are made, and the flat frame figures are drawn in."""

from __future__ import annotations

from collections.abc import Callable

from multiseg.synthetic.canvas import Color, Point
from multiseg.synthetic.stage import Stage

Place = Callable[[float, float], Point]
Quad = tuple[Point, Point, Point, Point]


class Frustum:
    """An upright block, axis-aligned, whose top may be smaller than its base; its visible faces as corners on screen.

    Faces are quads (bottom left, bottom right, top right, top left).

    Args:
        stage: where it stands.
        xs: left and right end of the base.
        zs: near and far end of the base.
        ys: lower and upper end.
        inset: by how much the top is shorter at the left and at the right.
        inset_z: by how much the top is shorter at the near and at the far end.
    """

    def __init__(self, stage: Stage, xs: Point, zs: Point, ys: Point, inset: Point, inset_z: float) -> None:
        self._stage = stage
        point = stage.camera.point
        (x0, x1), (z0, z1), (y0, y1) = xs, zs, ys
        top_x0, top_x1, top_z0, top_z1 = x0 + inset[0], x1 - inset[1], z0 + inset_z, z1 - inset_z
        self.front: Quad = (point(x0, y0, z0), point(x1, y0, z0), point(top_x1, y1, top_z0), point(top_x0, y1, top_z0))
        #: Which side is turned to the camera: 1 the right one, -1 the left one, 0 none.
        self.turned = -1 if x0 > 0 else 1 if x1 < 0 else 0
        if self.turned == -1:
            self.side: Quad = (
                point(x0, y0, z1),
                point(x0, y0, z0),
                point(top_x0, y1, top_z0),
                point(top_x0, y1, top_z1),
            )
        else:
            self.side = (point(x1, y0, z0), point(x1, y0, z1), point(top_x1, y1, top_z1), point(top_x1, y1, top_z0))
        self._top: Quad | None = None
        if y1 < stage.camera.height:
            self._top = (*self.front[:1:-1], point(top_x1, y1, top_z1), point(top_x0, y1, top_z1))

    def paint(self, color: Color, texture: str | None = None) -> None:
        stage, canvas = self._stage, self._stage.canvas
        pattern = None if texture is None else stage.screen(texture, canvas.camera.focal / 4)
        if self._top is not None:
            canvas.polygon(self._top, color, pattern, shade=1.15)
        if self.turned:
            canvas.polygon(self.side, color, pattern, shade=1 + 0.3 * self.turned * stage.light_x)
        canvas.polygon(self.front, color, pattern)

    def pane(self, color: Color, face: Quad, u0: float, u1: float, v0: float, v1: float) -> None:
        """Paints a part of the front or of the side; u goes right and v up, both 0..1."""
        if face is self.front or self.turned:
            corners = [_inside(face, u0, v0), _inside(face, u1, v0), _inside(face, u1, v1), _inside(face, u0, v1)]
            self._stage.canvas.polygon(corners, color)


def _inside(quad: Quad, u: float, v: float) -> Point:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    low_x, low_y = ax + u * (bx - ax), ay + u * (by - ay)
    high_x, high_y = dx + u * (cx - dx), dy + u * (cy - dy)
    return low_x + v * (high_x - low_x), low_y + v * (high_y - low_y)


def place_at(stage: Stage, x: float, z: float, size: float, mirror: bool = False) -> tuple[Place, float]:
    """A flat frame standing at (x, z): its metres to the canvas, and its pixels a metre."""
    foot_x, foot_y = stage.foot(x, z)
    unit = stage.camera.scale(z) * size
    sign = -1 if mirror else 1
    return lambda dx, dy: (foot_x + sign * dx * unit, foot_y - dy * unit), unit


def ordered(first: Point, second: Point) -> tuple[float, float, float, float]:
    return min(first[0], second[0]), first[1], max(first[0], second[0]), second[1]


def legs(stage: Stage, xs: Point, zs: Point, height: float, color: Color, radius: float = 0.025) -> None:
    """The four legs of a piece of furniture."""
    for z in reversed(zs):
        for x in xs:
            unit = stage.camera.scale(z) * radius
            stage.canvas.limb(stage.camera.point(x, height, z), stage.camera.point(x, 0, z), unit, unit, color)


def ground_shadow(stage: Stage, left: float, right: float, z: float, depth: float) -> None:
    """Under a block, drawn out away from the light."""
    x, y = stage.foot((left + right) / 2 - 0.3 * stage.light_x, z + depth / 4)
    unit = stage.camera.scale(z)
    _, y_far = stage.foot(0, z + depth)
    _, y_near = stage.foot(0, z)
    stage.canvas.shadow(x, y, 0.62 * (right - left) * unit, max(0.6 * (y_near - y_far), 0.12 * unit), 0.6)
