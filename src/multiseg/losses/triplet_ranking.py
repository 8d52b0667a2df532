"""Triplet ranking with a perceptual distance.

Zhan et al.: "Mix-and-Match Tuning for Self-Supervised Semantic Segmentation" (M&M), "The Tuning Loss".
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from multiseg.losses.base import Triplets


class Ranking(NamedTuple):
    """
    Args:
        loss: (); zero, still on the graph, where there is no triplet.
        ordered: (), the share of triplets whose positive is nearer than their negative; no gradient.
        apart: (), the mean of D(a, n) - D(a, p), the margin that holds on average; no gradient.
    """

    loss: Tensor
    ordered: Tensor
    apart: Tensor


def triplet_ranking(features: Tensor, triplets: Triplets, margin: float) -> Ranking:
    """L = 1/N Σ max(D(a, p) - D(a, n) + α, 0) with D(i, j) = ‖ x_i/‖x_i‖ - x_j/‖x_j‖ ‖² (Eqs. 1 and 2).

    D lies between 0 and 4, and between 0 and 2 where features are not negative, as after a ReLU. With the paper's α of
    2.1 the maximum is then never zero: the loss is linear, and pulls and pushes every triplet as hard, however well
    apart. A smaller α lets go of triplets that are apart by it.

    Args:
        features: (N, C), any float type; computed in float32.
        triplets: among the N.
        margin: α.
    """
    x = F.normalize(features.float(), dim=1)
    anchors = x[triplets.anchors]
    # ‖a - p‖² = 2 - 2 a·p for vectors of unit length
    positive = 2 - 2 * (anchors * x[triplets.positives]).sum(1)
    negative = 2 - 2 * (anchors * x[triplets.negatives]).sum(1)
    count = max(len(anchors), 1)
    loss = (positive - negative + margin).clamp(min=0).sum() / count
    apart = (negative - positive).detach()
    return Ranking(loss + 0 * x.sum(), (apart > 0).sum() / count, apart.sum() / count)
