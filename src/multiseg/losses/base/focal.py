"""The focal loss of a binary decision (Lin et al., ICCV 2017, Eq. 5)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

#: The paper's, as in MaskFormer: of positives, and the exponent.
ALPHA, GAMMA = 0.25, 2.0


class FocalTerms(NamedTuple):
    """Of logits x, each in the shape of x.

    Args:
        probability: p = σ(x).
        positive: the loss where the truth is 1, -α (1 - p)^γ log p.
        negative: where it is 0, -(1 - α) p^γ log(1 - p).
    """

    probability: Tensor
    positive: Tensor
    negative: Tensor


def focal_terms(logits: Tensor) -> FocalTerms:
    """
    Args:
        logits: float32, any shape.
    """
    probability = logits.sigmoid()
    cost_of_zero = F.softplus(logits)  # -log(1 - p); -log p is that less x
    positive = (cost_of_zero - logits).mul_((1 - probability).square_()).mul_(ALPHA)
    negative = cost_of_zero.mul_(probability.square()).mul_(1 - ALPHA)
    return FocalTerms(probability, positive, negative)
