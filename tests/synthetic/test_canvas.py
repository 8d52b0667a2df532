"""Shapes against naive loops over pixels."""

import math

import numpy as np
import pytest

from multiseg.synthetic.canvas import Camera, Canvas
from multiseg.synthetic.textures import TextureBank
from multiseg.synthetic.world import WORLD_IDS

SIZE = (24, 32)


@pytest.fixture
def canvas():
    canvas = Canvas(SIZE, Camera(20.0, 1.5, 10.0, 16.0), (0.5, -0.7))
    canvas.use("car", 7.0, canvas.new_instance())
    return canvas


def naive(inside):
    return np.array([[inside(x + 0.5, y + 0.5) for x in range(SIZE[1])] for y in range(SIZE[0])])


def check(canvas, inside):
    expected = naive(inside)
    assert expected.any()
    np.testing.assert_array_equal(canvas.classes == WORLD_IDS["car"], expected)
    np.testing.assert_array_equal(canvas.instances == 1, expected)
    np.testing.assert_array_equal(canvas.depth == 7.0, expected)


@pytest.mark.parametrize("clockwise", [True, False])
def test_polygon(canvas, clockwise):
    corners = [(3.2, 4.1), (20.3, 2.2), (40.0, 15.3), (6.1, 19.7)]  # one corner lies outside the picture

    def inside(x, y):
        turns = []
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            turns.append((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0)
        return all(turns)

    canvas.polygon(corners if clockwise else corners[::-1], (0.5, 0.5, 0.5))
    check(canvas, inside)


def test_ellipse(canvas):
    canvas.ellipse(5.0, 12.3, 8.2, 5.4, (0.5, 0.5, 0.5))
    check(canvas, lambda x, y: ((x - 5.0) / 8.2) ** 2 + ((y - 12.3) / 5.4) ** 2 < 1)


def test_box(canvas):
    canvas.box(2.8, 4.2, 9.6, 30.0, (0.5, 0.5, 0.5))
    check(canvas, lambda x, y: 2.8 < x < 9.6 and y > 4.2)


def test_ring_labels_its_hole_but_does_not_paint_it(canvas):
    canvas.ring(15.0, 12.0, 8.2, 8.2, 1.5, (0.9, 0.9, 0.9))
    check(canvas, lambda x, y: math.hypot(x - 15.0, y - 12.0) < 8.2)
    assert canvas.image[:, 12, 15].max() == 0
    assert canvas.image[:, 12, 22].max() > 0.3


def test_limb_tapers_and_is_never_thinner_than_a_pixel(canvas):
    start, end, r0, r1 = (4.0, 4.5), (25.0, 18.2), 3.3, 1.2

    def inside(x, y):
        dx, dy = end[0] - start[0], end[1] - start[1]
        t = min(max(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0), 1)
        return math.hypot(x - start[0] - t * dx, y - start[1] - t * dy) < r0 + t * (r1 - r0)

    canvas.limb(start, end, r0, r1, (0.5, 0.5, 0.5))
    check(canvas, inside)
    canvas.use("pole", 5.0)
    canvas.limb((28.3, 2.0), (28.3, 20.0), 0.01, 0.01, (0.5, 0.5, 0.5))
    assert (canvas.classes[3:19] == WORLD_IDS["pole"]).any(1).all()


def test_out_of_sight_leaves_the_canvas_alone(canvas):
    before = canvas.image.copy()
    canvas.polygon([(-9, -9), (-2, -9), (-2, -2)], (1, 1, 1))
    canvas.ellipse(60, 12, 5, 5, (1, 1, 1))
    canvas.limb((0, 40), (30, 40), 2, 2, (1, 1, 1))
    assert canvas.side_surface(-90.0, 1.0, 2.0, 0.0, 3.0) is None
    np.testing.assert_array_equal(canvas.image, before)
    assert not canvas.instances.any()


def test_surfaces_know_the_world_coordinates_of_their_pixels(canvas):
    camera = canvas.camera
    ground = canvas.flat_surface(0.0)
    front = canvas.front_surface(8.0, -2.0, 3.0, 0.0, 2.0)
    side = canvas.side_surface(-2.5, 4.0, 9.0, 0.0, 2.0)
    worlds = {
        "ground": (ground, lambda across, up: (across, 0.0, up)),
        "front": (front, lambda across, up: (across, up, 8.0)),
        "side": (side, lambda across, up: (-2.5, up, across)),
    }
    for name, (surface, world) in worlds.items():
        assert surface.inside.any(), name
        rows, columns = surface.window
        across = np.broadcast_to(surface.across, surface.inside.shape)
        up = np.broadcast_to(surface.up, surface.inside.shape)
        for row, column in np.argwhere(surface.inside):
            x, y, z = world(across[row, column], up[row, column])
            expected = (columns.start + column + 0.5, rows.start + row + 0.5)
            assert camera.point(x, y, z) == pytest.approx(expected, abs=1e-2), name


def test_textures_are_factors_around_one_and_depend_on_the_seed():
    bank, other = (TextureBank(np.random.default_rng(seed)) for seed in (0, 1))
    for name in ("brick", "concrete", "panel", "foliage", "asphalt", "water"):
        patch = bank.patch(name, 256, 256, 32.0, (0, 0))
        assert patch.dtype == np.float32 and patch.mean() == pytest.approx(1, abs=0.03)
        assert not np.array_equal(patch, other.patch(name, 256, 256, 32.0, (0, 0)))
        # farther away, hence smaller: averaged, not picked out
        assert bank.patch(name, 64, 64, 4.0, (0, 0)).std() < patch.std()
    assert bank.grain(300, 300, (7, 9)).std() == pytest.approx(1, abs=0.02)
