"""From histograms of hue and chroma to a coloured picture (Larsson et al., ECCV 2016, section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Below this length of the mean hue, as a vector, the hue is taken for unknown, and the colour fades.
_FADING = 0.03


def colors_from_histograms(lightness: Tensor, hue: Tensor, chroma: Tensor) -> Tensor:
    """The hue is the direction of the histogram's mean on the circle, the chroma its median, less where the mean is so
    short that no direction is meant.

    Args:
        lightness: (B, H, W) in 0..1, the mean of R, G and B.
        hue: (B, bins, H, W) probabilities.
        chroma: likewise.

    Returns:
        (B, 3, H, W) in 0..1.
    """
    angles = (torch.arange(hue.shape[1], device=hue.device, dtype=hue.dtype) + 0.5) * (2 * math.pi / hue.shape[1])
    x, y = (torch.einsum("bkhw,k->bhw", hue, axis) for axis in (angles.cos(), angles.sin()))
    angle = torch.atan2(y, x) / (2 * math.pi) % 1.0
    # the median lies in the first bin up to which half of all is, at the share of it that is still needed
    bins, cumulative = chroma.shape[1], chroma.cumsum(1)
    place = (cumulative < 0.5).sum(1, keepdim=True).clamp(max=bins - 1)
    reached, own = cumulative.gather(1, place), chroma.gather(1, place)
    median = (place + 1 - ((reached - 0.5) / own.clamp(min=1e-6)).clamp(0, 1))[:, 0] / bins
    fading = (torch.hypot(x, y) / _FADING).clamp(max=1)
    return from_hue_and_chroma(angle, median * fading, lightness)


def from_hue_and_chroma(hue: Tensor, chroma: Tensor, lightness: Tensor) -> Tensor:
    """The colour with a hue (share of the turn), a chroma (max - min) and a lightness (mean), as near as there is one.

    Shape: (B, H, W) each to (B, 3, H, W) in 0..1.
    """
    shifts = torch.tensor([0.0, 4.0, 2.0], device=hue.device, dtype=hue.dtype)[:, None, None]
    # each channel rises and falls once a turn, flat in between, a third of a turn after the one before
    channels = ((hue[:, None] * 6 + shifts) % 6 - 3).abs().sub(1).clamp(0, 1) * chroma[:, None]
    return (channels + (lightness - channels.mean(1))[:, None]).clamp(0, 1)
