"""Two images in one (MDP, section 3.4), also of different datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Beta

from multiseg.batch import MixedSample, Sample
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@dataclass(frozen=True)
class Mixing:
    """How an image is mixed with another.

    Args:
        kind: "region", a box of the other one (CutMix); "pixel", their weighted mean (MixUp); "both", either, for each
            image by a fair coin. So "both" costs no more than one of them.
        concentration: λ, the first image's share, is drawn from Beta(concentration, concentration); 1 is uniform.
    """

    kind: Literal["region", "pixel", "both"] = "both"
    concentration: float = 1.0

    def __post_init__(self) -> None:
        if self.concentration <= 0:
            raise MultisegError(f"mixing: the concentration must be positive, not {self.concentration}.")

    def __call__(self, first: Sample, second: Sample) -> MixedSample:
        """Mixes two crops of one size, by torch's random numbers."""
        concentration = torch.tensor(self.concentration)
        share = float(Beta(concentration, concentration).sample())
        if self.kind == "region" or (self.kind == "both" and torch.rand(()) < 0.5):
            height, width = first.image.shape[-2:]
            return mix_regions(first, second, draw_box(height, width, share))
        return mix_pixels(first, second, share)


def draw_box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """The second image's box (top, bottom, left, right) in CutMix (Yun et al. 2019, section 3.2): its sides are those
    of the image times sqrt(1 - λ), its centre is uniform, and what lies outside the image is cut off.
    """
    rows, columns = (round(side * (1 - share) ** 0.5) for side in (height, width))
    y, x = (int(torch.randint(side, ())) for side in (height, width))
    top, left = y - rows // 2, x - columns // 2
    return max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width)


def mix_regions(first: Sample, second: Sample, box: tuple[int, int, int, int]) -> MixedSample:
    """x̃ = M ⊙ x_i + (1 - M) ⊙ x_j, and labels alike (Eq. 5); M is 0 in the box."""
    top, bottom, left, right = box
    outside = torch.ones(first.image.shape[-2:], dtype=torch.bool)
    outside[top:bottom, left:right] = False
    image = torch.where(outside, _plain(first.image), _plain(second.image))
    labels = [_plain(first.labels).where(outside, IGNORE), _plain(second.labels).where(~outside, IGNORE)]
    return MixedSample(image, torch.stack(labels), torch.ones(2), (first.space, second.space))


def mix_pixels(first: Sample, second: Sample, share: float) -> MixedSample:
    """x̃ = λ x_i + (1 - λ) x_j, which keeps both labels (Eq. 6)."""
    image = (share * _plain(first.image).float() + (1 - share) * _plain(second.image).float()).round().to(torch.uint8)
    labels = torch.stack([_plain(first.labels), _plain(second.labels)])
    return MixedSample(image, labels, torch.tensor([share, 1 - share]), (first.space, second.space))


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)
