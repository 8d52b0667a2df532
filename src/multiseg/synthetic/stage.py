"""What a scene is built on: camera, canvas, chance and textures, and the list of things waiting to be drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from multiseg.synthetic.canvas import Camera, Canvas, Color, Point
from multiseg.synthetic.textures import Floats, TextureBank


class Stage:
    """A scene in the making.

    Args:
        size: height and width of the picture.
        rng: all chance of the scene; the standard library's, as it draws single numbers ten times faster than numpy.
        textures: of the domain.
        camera: through which the scene is seen.
    """

    def __init__(self, size: tuple[int, int], rng: random.Random, textures: TextureBank, camera: Camera) -> None:
        self.rng = rng
        self.textures = textures
        self.camera = camera
        #: x of the light on screen; it comes from above.
        self.light_x = rng.choice((-1, 1)) * rng.uniform(0.3, 0.9)
        self.canvas = Canvas(size, camera, (self.light_x, -0.7))
        self._waiting: list[tuple[float, Callable[[], None]]] = []
        self._screens: dict[tuple[str, int], Floats] = {}

    def add(self, z: float, draw: Callable[[], None]) -> None:
        """Draws something at distance `z` in its turn, once all is known."""
        self._waiting.append((z, draw))

    def put(self, thing: Callable[..., None], x: float, z: float, **details: Any) -> None:
        """Draws one of the objects at (x, z) in its turn; `details` are passed on to it."""
        self.add(z, partial(thing, self, x, z, **details))

    def draw_all(self) -> None:
        """Draws what waits, the farthest first: nearer things hide what is behind them."""
        for _, draw in sorted(self._waiting, key=lambda item: -item[0]):
            draw()
        self._waiting.clear()

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def times(self, least: int, most: int) -> range:
        """To repeat something a random number of times."""
        return range(self.rng.randint(least, most))

    def color(self, *choices: Color, spread: float = 0.06) -> Color:
        """One of the colours, a little off."""
        red, green, blue = self.rng.choice(choices)
        light = self.between(-spread, spread)
        shift = self.between(-spread, spread) / 2
        return (max(red + light + shift, 0.02), max(green + light, 0.02), max(blue + light - shift, 0.02))

    def offset(self) -> tuple[int, int]:
        return self.rng.randrange(1 << 12), self.rng.randrange(1 << 12)

    def screen(self, texture: str, pixels_per_metre: float) -> Floats:
        """A texture as large as the canvas at about this resolution, made once per scene. Shape: (H, W)."""
        octave = round(math.log2(max(pixels_per_metre, 1.0)))
        key = (texture, octave)
        if key not in self._screens:
            self._screens[key] = self.textures.patch(texture, *self.canvas.size, 2.0**octave, self.offset())
        return self._screens[key]

    def foot(self, x: float, z: float) -> Point:
        """Where something standing at (x, z) touches the ground on screen."""
        return self.camera.point(x, 0.0, z)
