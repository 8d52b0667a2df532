"""Hue and chroma against the standard library, histograms and their loss against loops."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch

from multiseg.losses.color_histogram import ColorHistograms, color_histograms, histogram_loss, hue_and_chroma


def picture(height: int = 9, width: int = 11, images: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, 3, height, width), generator=generator).float() / 255


def test_hue_is_that_of_the_standard_library() -> None:
    image = picture()
    image[:, :, 0, :3] = 0.4  # grey
    image[:, :, 1, 0] = torch.tensor([1.0, 0.2, 0.2])
    hue, chroma = hue_and_chroma(image)
    for b in range(2):
        for y in range(9):
            for x in range(11):
                red, green, blue = image[b, :, y, x].tolist()
                expected, _, _ = colorsys.rgb_to_hsv(red, green, blue)
                assert chroma[b, y, x] == pytest.approx(max(red, green, blue) - min(red, green, blue))
                if chroma[b, y, x] > 0:
                    turned = abs(float(hue[b, y, x]) - expected)
                    assert min(turned, 1 - turned) < 1e-4
    assert hue.min() >= 0 and hue.max() <= 1


@pytest.mark.parametrize("window", [1, 3, 5])
def test_histograms_are_those_of_a_loop(window: int) -> None:
    image, bins, half = picture(), 6, window // 2
    points = torch.tensor([[[4, 5], [0, 0], [8, 10]], [[3, 3], [8, 0], [4, 10]]])
    made = color_histograms(image, points, bins, window)
    hue, chroma = hue_and_chroma(image)
    for b in range(2):
        for p, (row, column) in enumerate(points[b].tolist()):
            top, left = min(max(row - half, 0), 9 - window), min(max(column - half, 0), 11 - window)
            of_hue, of_chroma, total = torch.zeros(bins), torch.zeros(bins), 0.0
            for y in range(top, top + window):
                for x in range(left, left + window):
                    c = float(chroma[b, y, x])
                    of_chroma[min(int(c * bins), bins - 1)] += 1 / window**2
                    of_hue[min(int(float(hue[b, y, x]) * bins), bins - 1)] += c
                    total += c
            torch.testing.assert_close(made.hue[b, p], of_hue / total)
            torch.testing.assert_close(made.chroma[b, p], of_chroma)
            assert made.weight[b, p] == pytest.approx(total / window**2, rel=1e-5)


def test_grey_has_no_hue_and_small_images_are_no_trouble() -> None:
    grey = torch.full((1, 3, 2, 2), 0.5)
    made = color_histograms(grey, torch.tensor([[[0, 0], [1, 1]]]), 4, 7)
    assert (made.hue == 0).all() and (made.weight == 0).all()
    torch.testing.assert_close(made.chroma[..., 0], torch.ones(1, 2))


def test_loss_is_that_of_a_loop_and_least_at_the_target() -> None:
    generator = torch.Generator().manual_seed(1)
    hue, chroma, y_hue, y_chroma = torch.rand(4, 2, 3, 5, generator=generator)
    target = ColorHistograms(y_hue / y_hue.sum(2, keepdim=True), y_chroma / y_chroma.sum(2, keepdim=True), hue[..., 0])
    losses = histogram_loss(hue, chroma, target, 5.0)
    for b in range(2):
        for p in range(3):
            expected = 0.0
            for logits, y, weight in (
                (chroma, target.chroma, 1.0),
                (hue, target.hue, 5.0 * float(target.weight[b, p])),
            ):
                partition = sum(math.exp(v) for v in logits[b, p].tolist())
                for value, share in zip(logits[b, p].tolist(), y[b, p].tolist(), strict=True):
                    expected -= weight * share * math.log(math.exp(value) / partition)
            assert float(losses[b, p]) == pytest.approx(expected, rel=1e-5)
    best = histogram_loss(target.hue.log(), target.chroma.log(), target, 5.0)
    assert (best < losses).all()


def test_grey_points_teach_no_hue() -> None:
    hue = torch.zeros(1, 1, 4, requires_grad=True)
    target = color_histograms(torch.full((1, 3, 3, 3), 0.5), torch.tensor([[[1, 1]]]), 4, 3)
    histogram_loss(hue, torch.zeros(1, 1, 4), target, 5.0).sum().backward()
    assert (hue.grad == 0).all()
