"""Contrast of pixels and class prototypes.

Shi et al.: "Multi-dataset Pretraining: A Unified Model for Semantic Segmentation" (MDP), sections 3.3 and 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.losses.base import LossSum, Prototypes, coded_contrast, contrast, log_partition, pixel_list


@dataclass(frozen=True)
class SparseCoding:
    """How a pixel is coded by more than its own class (Eq. 8).

    Args:
        alpha: α, the weight of the true class.
        count: K, how many of the most similar other classes share the rest.
        neighbours: similar to the pixel's own embedding, or to the prototype of its class.
    """

    alpha: float = 0.5
    count: int = 5
    neighbours: Literal["pixel", "class"] = "pixel"

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1 or self.count < 1:
            raise ValueError(f"sparse coding: alpha must lie in (0, 1] and count be positive, not {self}.")


def prototype_contrast(
    embeddings: Tensor,
    labels: Tensor,
    prototypes: Prototypes,
    temperature: float,
    ignore: int,
    coding: SparseCoding | None = None,
    shares: Tensor | None = None,
) -> LossSum:
    """Sum over pixels i of Eq. 4, the cross-entropy of a pixel's class among all classes that have a prototype,

        L_i = -log( exp(f_i · P_{y_i} / τ) / Σ_k exp(f_i · P_k / τ) ),

    or with `coding` of Eq. 8, the same towards a code over several classes,

        L_i = -α log p_{y_i} - (1 - α)/|T_i| Σ_{t ∈ T_i} log p_t,    p = softmax(f_i · P / τ),

    T_i the K classes other than y_i, of those that have a prototype, that are most similar; fewer where there are
    fewer. Both are `log Σ_k exp(f_i · P_k / τ) - f_i · c_i / τ` with c_i the code's mean of prototypes. The
    denominators are streamed, so that 10,000 classes need no N × K matrix.

    Where `prototypes.entries` are single embeddings, P_k in the denominators is each of them, and every one of class y
    is a positive, weighted by one over their number (the "region" bank of section 3.3).

    Ignored pixels, and those whose class has no prototype, take no part.

    Args:
        embeddings: (B, D, h, w) of unit length, any float type; computed in float32.
        labels: (B, h, w) int64 in 0..K-1, or `ignore`.
        prototypes: constants: no gradient reaches them.
        temperature: τ.
        ignore: label of the pixels that take no part.
        coding: None for Eq. 4.
        shares: (B,) weight of each image's pixels, λ and 1 - λ in Eq. 7; None for 1.
    """
    f = pixel_list(embeddings).flatten(0, 1)
    y = labels.flatten()
    takes_part = (y != ignore) & prototypes.known[y.clamp(min=0)]
    y = y.where(takes_part, 0)
    codes = _Codes(f.detach(), y, prototypes, coding)
    if prototypes.entries is prototypes.classes:
        losses = coded_contrast(f, codes, prototypes.classes, prototypes.valid, temperature)
    else:
        losses = contrast(f, codes.means, prototypes.entries, prototypes.valid, temperature)
    weights = takes_part.to(losses.dtype)
    if shares is not None:
        weights = weights * shares.to(losses.dtype).repeat_interleave(labels[0].numel())
    return LossSum((losses.where(takes_part, 0) * weights).sum(), weights.sum())


@torch.no_grad()
def confident_classes(embeddings: Tensor, prototypes: Prototypes, temperature: float, threshold: float) -> Tensor:
    """The class of the nearest prototype where its softmax over all known prototypes reaches a threshold, else -1.

    Shape: (B, D, h, w) to (B, h, w) int64.
    """
    f = pixel_list(embeddings).flatten(0, 1)
    best, nearest = _highest(f, prototypes, 1, None)
    of_prototypes = log_partition(f, prototypes.classes, prototypes.known, temperature)
    confident = (best[:, 0] / temperature - of_prototypes).exp() >= threshold
    chosen = nearest[:, 0].where(confident & prototypes.known.any(), -1)
    return chosen.view(len(embeddings), *embeddings.shape[2:])


class _Codes:
    """The class of each pixel, or the classes of its code, with their weights; some pixels at a time.

    Args:
        f: (N, D).
        y: (N,) classes.
        prototypes, coding: see `prototype_contrast`.
    """

    def __init__(self, f: Tensor, y: Tensor, prototypes: Prototypes, coding: SparseCoding | None) -> None:
        self.f, self.y, self.prototypes, self.coding = f, y, prototypes, coding
        self.count = 0 if coding is None else min(coding.count, len(prototypes.known) - 1)
        self.of_class: Tensor | None = None
        if coding is not None and coding.neighbours == "class" and self.count > 0:
            present, self.place = torch.unique(y, return_inverse=True)
            self.of_class = _highest(prototypes.classes[present], prototypes, self.count, present)[1]

    def __call__(self, rows: slice, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (n, M) to (n, C) classes and (n, C) weights."""
        y, (classes, known, entries, _) = self.y[rows], self.prototypes
        own_class = y[:, None]
        if self.coding is None or self.count < 1:
            return own_class, classes.new_ones(own_class.shape)
        if self.of_class is not None:
            others = self.of_class[self.place[rows]]
        elif entries is classes:
            kept = logits.gather(1, own_class)
            others = logits.scatter_(1, own_class, -torch.inf).topk(self.count, 1).indices
            logits.scatter_(1, own_class, kept)
        else:
            others = _highest(self.f[rows], self.prototypes, self.count, y)[1]
        found = known[others] & (others != own_class)  # not so many where few are known
        number = found.sum(1, keepdim=True)
        weights = found * ((1 - self.coding.alpha) / number.clamp(min=1))
        own = torch.where(number > 0, self.coding.alpha, 1.0)
        return torch.cat([own_class, others], 1), torch.cat([own, weights], 1).to(classes.dtype)

    def means(self, rows: slice, logits: Tensor) -> Tensor:
        """The code's mean of prototypes. Shape: (n, M) to (n, D)."""
        index, weights = self(rows, logits)
        return F.embedding_bag(index, self.prototypes.classes, per_sample_weights=weights, mode="sum")


def _highest(f: Tensor, prototypes: Prototypes, count: int, other_than: Tensor | None) -> tuple[Tensor, Tensor]:
    """Similarities and classes of the most similar known prototypes; -inf where there are not so many.

    Shape: (N, D), other_than (N,) to (N, count) each.
    """
    known, rows = prototypes.known, max(1, 2**22 // len(prototypes.known))
    found = []
    with torch.autocast(f.device.type, enabled=False):
        for start in range(0, len(f), rows):
            similarity = f[start : start + rows].to(prototypes.classes.dtype) @ prototypes.classes.mT
            similarity.masked_fill_(~known, -torch.inf)
            if other_than is not None:
                similarity.scatter_(1, other_than[start : start + rows, None], -torch.inf)
            found.append(similarity.topk(count, 1))
    if not found:
        return f.new_empty((0, count)), torch.empty((0, count), dtype=torch.int64, device=f.device)
    return torch.cat([entry.values for entry in found]), torch.cat([entry.indices for entry in found])
