"""Cross-entropy of labels that stand for sets of classes.

Bevandić, Oršić, Grubišić, Šarić, Šegvić: "Multi-domain semantic segmentation with overlapping labels", WACV 2022, the
loss NLL+.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def partial_label_sum(logits: Tensor, labels: Tensor, members: Tensor, ignore: int) -> Tensor:
    """Sum over labelled pixels of `-log Σ_{u ∈ S(label)} softmax(logits)_u`.

    Where every label stands for one class this is the cross-entropy. The conditional softmax within a set gives each
    of its classes j the probability p_j / Σ_S p, so the loss of a pixel is a difference of two cross-entropies, over
    all classes and within the set, both of the class j. For j the likeliest of the set is taken: then the second is at
    most log |S|, and nothing is lost to rounding. This uses torch's fused kernels in both directions, and pixels whose
    label is a single class need the first only.

    Args:
        logits: (B, U, H, W), any float type; the softmax is taken in float32.
        labels: (B, H, W) int64 in 0..K-1, or `ignore`.
        members: (K, U) bool, the set S of each label; none may be empty.
        ignore: label of the pixels that take no part.

    Returns:
        () float32; zero, still on the graph, where nothing is labelled.
    """
    # a list of pixels: for images torch has no deterministic CUDA kernel
    pixels = logits.float().movedim(1, -1).flatten(0, -2)
    labels = labels.flatten()
    valid = labels != ignore
    known = labels.where(valid, 0)
    single = members.sum(1) == 1
    targets = members.int().argmax(1)[known].where(valid, ignore)
    rows = (valid & ~single[known]).nonzero()[:, 0]
    if not len(rows):
        return F.cross_entropy(pixels, targets, ignore_index=ignore, reduction="sum")
    outside = torch.zeros(members.shape, device=members.device).masked_fill(~members, -torch.inf)
    inside = pixels.index_select(0, rows) + outside.index_select(0, labels[rows])
    likeliest = inside.detach().argmax(-1)
    targets = targets.index_copy(0, rows, likeliest)
    within = F.cross_entropy(inside, likeliest, reduction="sum")
    return F.cross_entropy(pixels, targets, ignore_index=ignore, reduction="sum") - within
