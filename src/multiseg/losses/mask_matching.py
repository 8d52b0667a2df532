"""Which query answers for which segment: the assignment of least cost (LMSeg, Eqs. 4 and 5; DETR, MaskFormer)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from multiseg.losses.base import MaskTargets, focal_terms


@torch.no_grad()
def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    targets: MaskTargets,
    class_weight: float = 1.0,
    focal_weight: float = 20.0,
    dice_weight: float = 1.0,
) -> Tensor:
    """What it costs to take each query for each segment (Eq. 5),

        -w_c p(c) + w_f · focal + w_d · dice,

    the last two as in `mask_losses`, over labelled pixels only.

    Args:
        class_logits: (B, N, K), of any float type; entries of -inf are classes that an image's dataset has not.
        mask_logits: (B, N, h, w), of any float type.
        targets: of the B images.
        class_weight: w_c.
        focal_weight: w_f.
        dice_weight: w_d.

    Returns:
        (B, N, T) float32; without meaning beyond an image's last segment.
    """
    labelled = targets.labelled.flatten(1).float()
    truth = targets.masks().float().transpose(1, 2)
    terms = focal_terms(mask_logits.flatten(2).float())
    pixels = labelled.sum(1).clamp(min=1)[:, None, None]
    # Σ_i t_i pos_i + (1 - t_i) neg_i, one product for all pairs; t is 0 where nothing is labelled
    nowhere = torch.bmm(terms.negative, labelled[..., None])
    focal = (torch.bmm(terms.positive.sub_(terms.negative), truth) + nowhere) / pixels
    covered = torch.bmm(terms.probability, labelled[..., None])
    dice = 1 - (2 * torch.bmm(terms.probability, truth) + 1) / (covered + truth.sum(1)[:, None] + 1)
    classes = targets.classes.clamp(min=0)[:, None].expand(-1, class_logits.shape[1], -1)
    sure = class_logits.float().softmax(-1).gather(2, classes)
    return focal_weight * focal + dice_weight * dice - class_weight * sure


def assign_queries(costs: Tensor, targets: MaskTargets) -> Tensor:
    """A query for each segment, no query twice, at least total cost; exact (Jonker and Volgenant, by scipy).

    All costs go to the host at once.

    Args:
        costs: (L, B, N, T) of L layers; not finite after an overflow of half precision, which any assignment will do
            for: the loss is not finite either, and gradient scaling skips the step.
        targets: N at most in an image.

    Returns:
        (L, B, T) int64; 0 beyond an image's last segment.
    """
    on_host = costs.nan_to_num(1e6, 1e6, -1e6).cpu().numpy()
    counts = targets.present.sum(1).tolist()
    queries = torch.zeros(costs.shape[0], costs.shape[1], costs.shape[3], dtype=torch.long)
    for layer, images in zip(queries, on_host, strict=True):
        for row, cost, count in zip(layer, images, counts, strict=True):
            chosen, segments = linear_sum_assignment(cost[:, :count])
            row[segments] = torch.from_numpy(chosen)
    return queries.to(costs.device)
