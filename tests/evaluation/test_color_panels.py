"""Rows of pictures: which, in which order, and the lightness against a loop."""

import re

import numpy as np

from multiseg.evaluation.color_panels import ColorPanel, RunColors, colors_section, lightness_of
from multiseg.evaluation.run_summary import RunSummary


def image(seed, size=(8, 12)):
    return np.random.default_rng(seed).integers(0, 256, (3, *size), dtype=np.uint8)


def test_lightness_is_the_mean_of_the_channels():
    given = image(0)
    light = lightness_of(given)
    assert light.shape == given.shape and light.dtype == np.uint8
    for y in range(8):
        for x in range(12):
            mean = sum(int(value) for value in given[:, y, x]) / 3
            assert all(abs(int(value) - mean) <= 0.5 for value in light[:, y, x])


def test_each_image_is_a_row_with_the_colours_of_every_run():
    def panels(seed, *keys):
        return [ColorPanel("town", key, image(1), image(seed, (4, 6))) for key in keys]

    runs = [RunSummary(name, f"runs/{name}", "a: 1\n", ("town",)) for name in ("<a>", "b")]
    section = colors_section(runs, [RunColors("<a>", panels(2, "0", "1")), RunColors("b", panels(3, "1"))])
    assert re.findall(r' alt="(.*?)"', section) == [
        *("town 0: image", "town 0: lightness", "town 0: colours of &lt;a&gt;"),
        *("town 1: image", "town 1: lightness", "town 1: colours of &lt;a&gt;", "town 1: colours of b"),
    ]
    assert re.findall("<code>(.*?)</code>", section) == ["0", "1"] and "<a>" not in section


def test_nothing_without_panels():
    assert colors_section([], []) == ""
