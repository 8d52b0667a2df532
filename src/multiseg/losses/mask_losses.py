"""Focal and dice loss of predicted masks against the segments they were matched to (LMSeg, section 3.6; MaskFormer)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multiseg.losses.base import ALPHA, GAMMA, MaskTargets, focal_terms


def mask_losses(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    """The focal and the dice loss of every mask, over the labelled pixels of its image:

        focal = mean_i [ -α t_i (1 - p_i)^γ log p_i - (1 - α) (1 - t_i) p_i^γ log(1 - p_i) ],
        dice = 1 - (2 Σ_i p_i t_i + 1) / (Σ_i p_i + Σ_i t_i + 1),    p = σ(logits),

    with α = 0.25 and γ = 2. The 1 is MaskFormer's, and keeps dice finite where nothing is labelled. Gradients are
    computed from the logits anew, so that nothing else of their size is kept.

    Args:
        logits: (L, B, T, h, w) of any float type: in each of L layers the mask matched to each target.
        targets: T segments at most in an image.

    Returns:
        (L, B, T) float32 each; zero where an image has no such target.
    """
    focal, dice = _MaskLosses.apply(logits, targets.ids, targets.classes)
    return focal, dice


class _MaskLosses(torch.autograd.Function):
    """Layer by layer, in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        targets = MaskTargets(ids, classes)
        truth, labelled, pixels = _flat(targets)
        areas = truth.sum(2)
        focal = logits.new_zeros(logits.shape[:3], dtype=torch.float32)
        dice, covered, common = (torch.zeros_like(focal) for _ in range(3))
        for layer, scores in enumerate(logits):
            terms = focal_terms(scores.flatten(2).float())
            each = torch.where(truth, terms.positive, terms.negative).mul_(labelled)
            focal[layer] = each.sum(2) / pixels
            sure = terms.probability.mul_(labelled)
            covered[layer] = sure.sum(2)
            common[layer] = sure.mul_(truth).sum(2)
            dice[layer] = 1 - (2 * common[layer] + 1) / (covered[layer] + areas + 1)
        ctx.save_for_backward(logits, ids, classes, covered, common)
        return focal.mul_(targets.present), dice.mul_(targets.present)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits, ids, classes, covered, common = ctx.saved_tensors
        of_focal, of_dice = gradients
        targets = MaskTargets(ids, classes)
        truth, labelled, pixels = _flat(targets)
        areas = truth.sum(2)
        result = torch.empty_like(logits)
        for layer, scores in enumerate(logits):
            x = scores.flatten(2).float()
            terms = focal_terms(x)
            p, q = terms.probability, 1 - terms.probability
            # d positive/dx = -γ p · positive - α q^(γ+1);  d negative/dx = γ q · negative + (1 - α) p^(γ+1)
            slope = torch.where(
                truth, -GAMMA * p * terms.positive - ALPHA * q ** (GAMMA + 1), GAMMA * q * terms.negative
            )
            slope += torch.where(truth, 0.0, (1 - ALPHA) * p ** (GAMMA + 1))
            slope *= (of_focal[layer] * targets.present / pixels)[..., None]
            size = (covered[layer] + areas + 1)[..., None]
            of_probability = (2 * common[layer] + 1)[..., None] / size**2 - 2 * truth / size
            slope += of_probability.mul_(p).mul_(q) * (of_dice[layer] * targets.present)[..., None]
            result[layer] = slope.mul_(labelled).view(scores.shape)
        return result, None, None


def _flat(targets: MaskTargets) -> tuple[Tensor, Tensor, Tensor]:
    """Truth (B, T, h·w) and labelled pixels (B, 1, h·w), bool, and the number of these, (B, 1), at least 1."""
    labelled = targets.labelled.flatten(1)[:, None]
    return targets.masks(), labelled, labelled.sum(2).clamp(min=1)
