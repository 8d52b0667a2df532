"""From queries to segments: MaskFormer's rule (Cheng et al., NeurIPS 2021, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@dataclass(frozen=True)
class PanopticThresholds:
    """
    Args:
        confidence: queries whose best class is less probable are dropped.
        overlap: and so are those that keep, after others took theirs, a smaller share of the pixels of their mask.
    """

    confidence: float = 0.8
    overlap: float = 0.8

    def __post_init__(self) -> None:
        for key in ("confidence", "overlap"):
            if not 0 <= getattr(self, key) <= 1:
                raise MultisegError(f"panoptic threshold {key} must lie in 0..1, not {getattr(self, key)}.")


def segments_from_queries(
    probabilities: Tensor,
    mask_logits: Tensor,
    size: tuple[int, int],
    things: NDArray[np.bool_],
    thresholds: PanopticThresholds = PanopticThresholds(),
    covered: tuple[float, float] = (1.0, 1.0),
) -> Segments:
    """The segments of one image.

    A query stands for its most probable class. Each pixel goes to the query with the largest product of class and mask
    probability. What a query won is a segment; of a stuff class all together are one.

    Args:
        probabilities: (N, K + 1) of classes, "no object" last.
        mask_logits: (N, h, w).
        size: (H, W) of the result.
        things: (K,) which classes are countable.
        thresholds: see there.
        covered: which share of the mask's height and width the image takes; the rest is the network's padding.
    """
    sure, classes = probabilities.float().max(1)
    kept = (classes < probabilities.shape[1] - 1) & (sure > thresholds.confidence)
    sure, classes = sure[kept], classes[kept]
    ids = torch.full(size, IGNORE, dtype=torch.int16)
    if not len(sure):
        return Segments(tv_tensors.Mask(ids), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    masks = masks_at(mask_logits[kept], size, covered)
    own = (masks >= 0.5).flatten(1).sum(1)
    owner = (sure[:, None, None] * masks).argmax(0)
    won = torch.bincount(owner.flatten(), minlength=len(sure))
    stays = (own > 0) & (won > 0) & (won >= thresholds.overlap * own)
    # things keep a number each, a stuff class has one
    is_thing = torch.from_numpy(things).to(classes.device)[classes]
    place = torch.arange(len(sure), device=classes.device)
    key = torch.where(is_thing, len(things) + place, classes).masked_fill(~stays, -1)
    keys = torch.unique(key[stays])
    numbers = torch.where(stays, torch.searchsorted(keys, key), IGNORE)
    found = torch.zeros(len(keys), dtype=torch.long, device=classes.device)
    found[numbers[stays]] = classes[stays]
    ids = numbers[owner].to(torch.int16).cpu()
    return Segments(tv_tensors.Mask(ids), found.cpu(), torch.zeros(len(keys), dtype=torch.bool))


def masks_at(mask_logits: Tensor, size: tuple[int, int], covered: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Probabilities of masks at the size of an image, without the network's padding.

    Args:
        mask_logits: (N, h, w).
        size: (H, W) of the result.
        covered: which share of the mask's height and width the image takes.

    Returns:
        (N, H, W) float32.
    """
    full = [max(length, round(length / share)) for length, share in zip(size, covered, strict=True)]
    masks = F.interpolate(mask_logits[None].float(), full, mode="bilinear", align_corners=False)[0]
    return masks[:, : size[0], : size[1]].sigmoid()
