"""A pinhole camera and a canvas whose shapes leave colour, world class, instance and depth behind in one go.

Everything is painted from far to near. A shape touches only its bounding box; its edge is anti-aliased in the image and
falls at half coverage in the class map. Unless said otherwise lengths in the world are metres and on the canvas pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multiseg.synthetic.textures import Floats
from multiseg.synthetic.world import WORLD_IDS

Point = tuple[float, float]
Color = tuple[float, float, float]
Window = tuple[slice, slice]

#: Nothing is nearer to the camera than this.
NEAR = 0.4


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera at x = 0; x points right, y up from the ground, z forward.

    Args:
        focal: in pixels.
        height: above the ground in metres.
        horizon: its row.
        center: column of the straight-ahead direction.
    """

    focal: float
    height: float
    horizon: float
    center: float

    def point(self, x: float, y: float, z: float) -> Point:
        """Column and row at which a point of the world appears."""
        scale = self.focal / max(z, NEAR)
        return self.center + x * scale, self.horizon - (y - self.height) * scale

    def scale(self, z: float) -> float:
        """Pixels a metre at a distance."""
        return self.focal / max(z, NEAR)


@dataclass(frozen=True)
class Surface:
    """The visible part of a plane, with the world coordinates of its pixels.

    Args:
        window: rows and columns of its bounding box.
        across: horizontal coordinate in the plane, (1, w) or (h, w).
        up: vertical coordinate (depth, for the ground), (h, 1) or (h, w).
        depth: distance, (h, 1) or (1, w).
        inside: (h, w), which pixels of the box belong to it.
        pixels_per_metre: at its middle.
    """

    window: Window
    across: Floats
    up: Floats
    depth: Floats
    inside: NDArray[np.bool_]
    pixels_per_metre: float


class Canvas:
    """Image, world classes, instances and depth of a scene in the making.

    Args:
        size: height and width.
        camera: through which surfaces are seen.
        light: direction towards the light on screen, x right and y down, each in -1..1.

    Shape:
        image: (3, H, W) float32, 1 is white; classes, instances, depth: (H, W).
    """

    def __init__(self, size: tuple[int, int], camera: Camera, light: Point) -> None:
        self.size = size
        self.camera = camera
        self.light = light
        self.image = np.zeros((3, *size), np.float32)
        self.classes = np.zeros(size, np.uint8)
        self.instances = np.zeros(size, np.uint16)
        self.depth = np.full(size, 1e4, np.float32)
        self._rows = np.arange(size[0], dtype=np.float32)[:, None] + 0.5
        self._columns = np.arange(size[1], dtype=np.float32)[None] + 0.5
        self._count = 0
        self._brush = (0, 0, 0.0)

    def use(self, world_class: str, z: float, instance: int = 0) -> None:
        """What the next shapes are: their class, their distance and, for things, their instance."""
        self._brush = (WORLD_IDS[world_class], instance, z)

    def new_instance(self) -> int:
        self._count += 1
        return self._count

    def polygon(self, points: Sequence[Point], color: Color, texture: Floats | None = None, shade: float = 1.0) -> None:
        """A convex polygon, its corners in either turning direction."""
        xs, ys = zip(*points, strict=True)
        window = self._window(min(xs), min(ys), max(xs), max(ys))
        if window is None:
            return
        edges = [
            (bx - ax, by - ay, ax, ay) for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True)
        ]
        turn = 1 if sum(ax * dy - ay * dx for dx, dy, ax, ay in edges) > 0 else -1
        scales = [turn / max(math.hypot(dx, dy), 1e-3) for dx, dy, _, _ in edges]
        # one half-plane an edge, n·p - c > 0 outside; the polygon's distance is the largest of them
        lines = [
            ((dy * s,), (-dx * s,), ((dy * ax - dx * ay) * s,))
            for (dx, dy, ax, ay), s in zip(edges, scales, strict=True)
        ]
        normals = np.array(lines, np.float32)[..., None]
        distance = (
            normals[:, 0] * self._columns[:, window[1]] + (normals[:, 1] * self._rows[window[0]] - normals[:, 2])
        ).max(0)
        self._fill(window, 0.5 - distance, color, texture, shade=shade)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, shade: float = 1.0) -> None:
        """An upright rectangle."""
        window = self._window(x0, y0, x1, y1)
        if window is None:
            return
        columns, rows = self._columns[:, window[1]], self._rows[window[0]]
        margin = np.minimum(np.minimum(columns - x0, x1 - columns), np.minimum(rows - y0, y1 - rows))
        self._fill(window, margin + 0.5, color, shade=shade)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        color: Color,
        texture: Floats | None = None,
        relief: float = 0.25,
    ) -> None:
        rx, ry = max(rx, 0.5), max(ry, 0.5)
        window = self._window(x - rx, y - ry, x + rx, y + ry)
        if window is None:
            return
        radius = np.sqrt(self._radius2(window, x, y, rx, ry))
        self._fill(window, 0.5 + (1 - radius) * min(rx, ry), color, texture, relief)

    def ring(self, x: float, y: float, rx: float, ry: float, thickness: float, color: Color) -> None:
        """A wheel seen through: only the tyre is painted, but the whole disc is labelled, as annotators do."""
        window = self._window(x - rx, y - ry, x + rx, y + ry)
        if window is None:
            return
        distance = (np.sqrt(self._radius2(window, x, y, rx, ry)) - 1) * min(rx, ry)
        self._fill(window, 0.5 - abs(distance + thickness / 2) + thickness / 2, color, label=distance < 0)

    def limb(self, start: Point, end: Point, r0: float, r1: float, color: Color, texture: Floats | None = None) -> None:
        """A thick line with round ends whose radius goes from `r0` to `r1`; never thinner than a pixel."""
        (x0, y0), (x1, y1) = start, end
        r0, r1 = max(r0, 0.55), max(r1, 0.55)
        window = self._window(
            min(x0 - r0, x1 - r1), min(y0 - r0, y1 - r1), max(x0 + r0, x1 + r1), max(y0 + r0, y1 + r1)
        )
        if window is None:
            return
        dx, dy = x1 - x0, y1 - y0
        from_x, from_y = self._columns[:, window[1]] - x0, self._rows[window[0]] - y0
        place = ((from_x * dx + from_y * dy) / max(dx * dx + dy * dy, 1e-3)).clip(0, 1)
        distance = np.hypot(from_x - place * dx, from_y - place * dy)
        self._fill(window, 0.5 + r0 + place * (r1 - r0) - distance, color, texture)

    def blob(self, x: float, y: float, rx: float, ry: float, color: Color, edge: Floats, texture: Floats) -> None:
        """An ellipse with a ragged outline: foliage, smoke, gravel.

        Args:
            x: column of the middle.
            y: row of the middle.
            rx: radius along the columns.
            ry: radius along the rows.
            color: before texture and shading.
            edge: texture that moves the outline, at least as large as the canvas.
            texture: factor on the colour, at least as large as the canvas.
        """
        rx, ry = max(rx, 1.0), max(ry, 1.0)
        window = self._window(x - 1.3 * rx, y - 1.3 * ry, x + 1.3 * rx, y + 1.3 * ry)
        if window is None:
            return
        radius = np.sqrt(self._radius2(window, x, y, rx, ry)) + 0.55 * (edge[window] - 1)
        self._fill(window, 0.5 + (1 - radius) * min(rx, ry), color, texture[window], relief=0.45)

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """A soft shadow: darkens what is there and leaves the labels alone."""
        window = self._window(x - 1.7 * rx, y - 1.7 * ry, x + 1.7 * rx, y + 1.7 * ry)
        if window is not None:
            cover = np.exp(-1.6 * self._radius2(window, x, y, max(rx, 0.5), max(ry, 0.5)))
            self.image[:, window[0], window[1]] *= 1 - strength * cover

    def front_surface(self, z: float, x0: float, x1: float, y0: float, y1: float) -> Surface | None:
        """A wall facing the camera; None where it is out of sight."""
        left, top = self.camera.point(x0, y1, z)
        right, bottom = self.camera.point(x1, y0, z)
        window = self._window(left, top, right, bottom, margin=0)
        if window is None:
            return None
        step = np.float32(1 / self.camera.scale(z))
        across = (self._columns[:, window[1]] - self.camera.center) * step
        up = self.camera.height - (self._rows[window[0]] - self.camera.horizon) * step
        inside = np.ones((up.shape[0], across.shape[1]), np.bool_)
        return Surface(window, across, up, np.full((1, 1), z, np.float32), inside, self.camera.scale(z))

    def side_surface(self, x: float, z0: float, z1: float, y0: float, y1: float) -> Surface | None:
        """A wall along the line of sight, at `x` from `z0` to `z1`; None where it is out of sight."""
        camera = self.camera
        near, top = camera.point(x, y1, z0)
        far, top_far = camera.point(x, y1, z1)
        bottom, bottom_far = camera.point(x, y0, z0)[1], camera.point(x, y0, z1)[1]
        window = self._window(min(near, far), min(top, top_far), max(near, far), max(bottom, bottom_far), margin=0)
        if window is None:
            return None
        columns = self._columns[:, window[1]] - camera.center
        z = np.abs(camera.focal * x / np.where(np.abs(columns) < 0.5, 0.5, columns)).astype(np.float32)
        up = camera.height - (self._rows[window[0]] - camera.horizon) * (z / camera.focal)
        scale = camera.scale(math.sqrt(max(z0, 1.0) * z1))
        return Surface(window, z, up, z, (up >= y0) & (up < y1), scale)

    def flat_surface(self, y: float) -> Surface | None:
        """The whole horizontal plane at height `y`: the ground, or a ceiling above the camera.

        Its `up` coordinate is the distance ahead.
        """
        camera = self.camera
        drop = camera.height - y
        edge = camera.horizon + np.sign(drop)
        window = self._window(0, edge, self.size[1], self.size[0], margin=0) if drop > 0 else None
        if drop < 0:
            window = self._window(0, 0, self.size[1], edge, margin=0)
        if window is None:
            return None
        z = (camera.focal * drop / (self._rows[window[0]] - camera.horizon)).astype(np.float32)
        across = (self._columns[:, window[1]] - camera.center) * (z / camera.focal)
        return Surface(window, across, z, z, np.ones(across.shape, np.bool_), camera.scale(6.0))

    def cover(self, surface: Surface, world_class: str, color: Floats | Color, where: NDArray[np.bool_]) -> None:
        """Paints the part `where` of a surface.

        Shape:
            color: (3,) or (3, h, w); where: broadcasts to (h, w).
        """
        where = surface.inside & where
        paint = color if isinstance(color, np.ndarray) else np.array(color, np.float32)[:, None, None]
        np.copyto(self.image[:, surface.window[0], surface.window[1]], paint, where=where)
        self.label(surface, world_class, where)
        np.copyto(self.instances[surface.window], 0, where=where)
        np.copyto(self.depth[surface.window], surface.depth, where=where)

    def label(self, surface: Surface, world_class: str, where: NDArray[np.bool_]) -> None:
        """Names the part `where` of a surface without painting it."""
        np.copyto(self.classes[surface.window], WORLD_IDS[world_class], where=where & surface.inside)

    def _window(self, x0: float, y0: float, x1: float, y1: float, margin: float = 0.5) -> Window | None:
        """The pixels whose middle lies inside the box or at most `margin` outside of it."""
        margin -= 0.5
        left, top = max(math.ceil(x0 - margin - 1), 0), max(math.ceil(y0 - margin - 1), 0)
        right, bottom = min(math.ceil(x1 + margin), self.size[1]), min(math.ceil(y1 + margin), self.size[0])
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def _radius2(self, window: Window, x: float, y: float, rx: float, ry: float) -> Floats:
        u = (self._columns[:, window[1]] - x) * np.float32(1 / rx)
        v = (self._rows[window[0]] - y) * np.float32(1 / ry)
        radius2: Floats = u * u + v * v
        return radius2

    def _fill(
        self,
        window: Window,
        cover: Floats,
        color: Color,
        texture: Floats | None = None,
        relief: float = 0.25,
        shade: float = 1.0,
        label: NDArray[np.bool_] | None = None,
    ) -> None:
        """Blends a colour in, brighter towards the light, and writes class, instance and depth where it covers half."""
        height, width = cover.shape
        toward_x = relief * self.light[0] * 2 / width
        toward_y = relief * self.light[1] * 2 / height
        tone = (self._columns[:, :width] - width / 2) * toward_x + (
            (self._rows[:height] - height / 2) * toward_y + shade
        )
        if texture is not None:
            tone *= texture[:height, :width]
        region = self.image[:, window[0], window[1]]
        region += (tone * np.array(color, np.float32)[:, None, None] - region) * cover.clip(0, 1)
        where = cover > 0.5 if label is None else label
        np.copyto(self.classes[window], self._brush[0], where=where)
        np.copyto(self.instances[window], self._brush[1], where=where)
        np.copyto(self.depth[window], self._brush[2], where=where)
