"""Contrast of the pixels of two views of an image.

Shi et al.: "Multi-dataset Pretraining: A Unified Model for Semantic Segmentation" (MDP), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multiseg.losses.base import LossSum, class_means, contrast, pixel_list


def pixel_contrast(
    queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor, temperature: float, ignore: int
) -> LossSum:
    """Sum over the pixels i of one view, image by image, of Eq. 2:

        L_i = -1/N_{y_i} Σ_{j: y_j = y_i} log( exp(f_i · k_j / τ) / Σ_l exp(f_i · k_l / τ) )
            = log Σ_l exp(f_i · k_l / τ) - f_i · m_{y_i} / τ,    m_y the mean of the N_y keys of class y,

    with j and l the labelled pixels of the other view. Written the second way the positives need class means only, and
    the denominators are streamed: nothing as large as the N × N similarities of an image is ever held.

    A pixel whose class is absent from the other view takes no part.

    Args:
        queries: (B, D, h, w) of unit length, any float type; computed in float32.
        query_labels: (B, h, w) int64, or `ignore`.
        keys: (B, D, h', w') of the other view; constants: no gradient reaches them.
        key_labels: (B, h', w').
        temperature: τ.
        ignore: label of the pixels that take no part.
    """
    means = class_means(keys, key_labels, ignore)
    labels = query_labels.flatten(1)
    many = int(torch.maximum(query_labels.max(), key_labels.max())) + 1
    pairs = torch.arange(len(labels), device=labels.device)[:, None] * many + labels
    known = means.images * many + means.classes  # ascending
    place = torch.searchsorted(known, pairs).clamp(max=max(len(known) - 1, 0))
    f = pixel_list(queries)
    if not len(known):
        return LossSum(f.float().sum() * 0, f.new_zeros((), dtype=torch.float32))
    takes_part = (labels != ignore) & (known[place] == pairs)
    valid = (key_labels != ignore).flatten(1)
    losses = contrast(f, lambda rows, _: means.means[place[:, rows]], pixel_list(keys), valid, temperature)
    losses = torch.where(takes_part, losses, 0)
    return LossSum(losses.sum(), takes_part.sum().to(losses.dtype))
