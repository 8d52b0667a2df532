"""Colours as histograms of hue and of chroma, and the loss of predicting them from grey.

Larsson, Maire & Shakhnarovich: "Learning Representations for Automatic Colorization", ECCV 2016.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ColorHistograms(NamedTuple):
    """What colours there are around points.

    Args:
        hue: (B, P, bins), summing to 1, each pixel counting by its chroma: what is grey has no hue. Zero where all is
            grey.
        chroma: (B, P, bins), summing to 1.
        weight: (B, P), the mean chroma.
    """

    hue: Tensor
    chroma: Tensor
    weight: Tensor


def hue_and_chroma(images: Tensor) -> tuple[Tensor, Tensor]:
    """Of colours R, G, B in 0..1: chroma C = max - min, and the hue, the angle on the hexagon of colours, as a share of
    the turn. Shape: (B, 3, H, W) float to twice (B, H, W).
    """
    red, green, blue = images.unbind(1)
    chroma = images.amax(1) - images.amin(1)
    safe = chroma.clamp(min=1e-6)
    strongest = images.argmax(1)
    sixths = torch.where(
        strongest == 0,
        (green - blue) / safe,
        torch.where(strongest == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return (sixths / 6) % 1.0, chroma


def color_histograms(images: Tensor, points: Tensor, bins: int, window: int) -> ColorHistograms:
    """The histograms of the windows around points.

    Args:
        images: (B, 3, H, W) float in 0..1.
        points: (B, P, 2) int64, rows and columns; windows are moved into the image where they reach out of it.
        bins: of either histogram.
        window: height and width, odd, and no larger than the image.
    """
    height, width = images.shape[-2:]
    hue, chroma = (values.flatten(1) for values in hue_and_chroma(images))
    offsets = torch.arange(window, device=points.device)
    rows, columns = (
        (points[..., axis, None] - window // 2).clamp(min=0).clamp(max=max(length - window, 0)) + offsets
        for axis, length in ((0, height), (1, width))
    )
    rows, columns = rows.clamp(max=height - 1), columns.clamp(max=width - 1)
    places = (rows[..., :, None] * width + columns[..., None, :]).flatten(2)  # (B, P, window²)
    own_hue, own_chroma = (values.gather(1, places.flatten(1)).view_as(places) for values in (hue, chroma))
    of_hue, of_chroma = (
        torch.zeros(*places.shape[:2], bins, device=images.device).scatter_add_(
            2, (values * bins).long().clamp(0, bins - 1), weights
        )
        for values, weights in ((own_hue, own_chroma), (own_chroma, torch.ones_like(own_chroma)))
    )
    total = own_chroma.sum(2, keepdim=True)
    return ColorHistograms(of_hue / total.clamp(min=1e-6), of_chroma / window**2, total[..., 0] / window**2)


def histogram_loss(hue: Tensor, chroma: Tensor, target: ColorHistograms, hue_weight: float) -> Tensor:
    """Cross-entropy against histograms y, for each point:

        L = -Σ_b y_C(b) log p_C(b) - λ c Σ_b y_H(b) log p_H(b),    c the mean chroma there,

    which is the paper's sum of Kullback–Leibler divergences but for the entropies of the targets. The hue of what is
    nearly grey hardly counts.

    Args:
        hue: (B, P, bins) logits.
        chroma: likewise.
        target: of the same points.
        hue_weight: λ.

    Returns:
        (B, P).
    """
    of_hue = -(target.hue * hue.log_softmax(2)).sum(2)
    of_chroma = -(target.chroma * chroma.log_softmax(2)).sum(2)
    return of_chroma + hue_weight * target.weight * of_hue
