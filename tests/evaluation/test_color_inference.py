"""Colours from hue, chroma and lightness and back, and from histograms."""

from __future__ import annotations

import colorsys

import pytest
import torch

from multiseg.evaluation.color_inference import colors_from_histograms, from_hue_and_chroma


@pytest.mark.parametrize("rgb", [(0.9, 0.2, 0.1), (0.3, 0.6, 0.5), (0.2, 0.2, 0.8), (0.5, 0.5, 0.5), (0.7, 0.7, 0.1)])
def test_a_colour_comes_back(rgb: tuple[float, float, float]) -> None:
    hue, _, _ = colorsys.rgb_to_hsv(*rgb)
    values = [torch.full((1, 1, 1), value) for value in (hue, max(rgb) - min(rgb), sum(rgb) / 3)]
    torch.testing.assert_close(from_hue_and_chroma(*values).flatten(), torch.tensor(rgb))


def test_what_is_no_colour_is_cut_off() -> None:
    made = from_hue_and_chroma(torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]]), torch.tensor([[[0.9]]]))
    assert made.min() >= 0 and made.max() <= 1


def histogram(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def test_the_hue_is_a_mean_on_the_circle_and_the_chroma_a_median() -> None:
    lightness = torch.full((1, 1, 1), 0.5)
    # half in the first bin, half in the last: red lies between them, not the opposite
    red = colors_from_histograms(lightness, histogram(0.5, 0, 0, 0, 0, 0.5), histogram(0, 1.0, 0, 0))
    high, middle, low = red.flatten().tolist()
    assert high > middle == pytest.approx(low, abs=1e-5)
    # the median of all mass in the second of four bins is its middle: 0.375
    assert high - low == pytest.approx(0.375, abs=1e-5)
    shifted = colors_from_histograms(lightness, histogram(0.5, 0, 0, 0, 0, 0.5), histogram(0.5, 0.5, 0, 0))
    assert float(shifted.amax() - shifted.amin()) == pytest.approx(0.25, abs=1e-5)


def test_without_a_direction_there_is_no_colour() -> None:
    lightness = torch.rand(1, 1, 1)
    made = colors_from_histograms(lightness, torch.full((1, 8, 1, 1), 1 / 8), histogram(0, 0, 0, 1.0))
    torch.testing.assert_close(made.flatten(), lightness.expand(1, 3, 1).flatten(), atol=1e-4, rtol=0)
