"""Contrast of pixels and prototypes (MDP, Eqs. 4 and 8) with its gradient, against the whole matrix of logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.bench.base import Comparison
from multiseg.label_space import IGNORE
from multiseg.losses.base import Prototypes
from multiseg.losses.prototype_contrast import SparseCoding, prototype_contrast

_TEMPERATURE = 0.07
_BLOCK_PX = 7
_WHOLE = "the whole matrix"
Answer = tuple[Tensor, Tensor]


def comparisons(device: str = "cpu") -> list[Comparison]:
    """The classes of a few datasets, and of as many as there are; crops of 224 pixels at stride 8."""
    codings = (None, SparseCoding())
    few = [comparison(coding, classes=200, device=device) for coding in codings]
    many = [comparison(coding, 10_000, memory_goal=0.1, device=device, repeats=5) for coding in codings]
    return [*few, *many]


def comparison(
    coding: SparseCoding | None,
    classes: int,
    images: int = 16,
    side: int = 28,
    channels: int = 256,
    memory_goal: float | None = None,
    device: str = "cpu",
    repeats: int | None = None,
) -> Comparison:
    """
    Args:
        coding: of Eq. 8; None for Eq. 4.
        classes: K, of which one in ten has no prototype.
        images: B, with labels made of blocks, as real ones are made of regions; one block in ten is ignored.
        side: of the feature map; a multiple of 7.
        channels: D.
        memory_goal: see `Comparison`.
        device: where to compute.
        repeats: see `Comparison`.
    """
    generator = torch.Generator().manual_seed(0)
    grid = (images, side // _BLOCK_PX, side // _BLOCK_PX)
    blocks = torch.randint(0, classes, grid, generator=generator)
    blocks.masked_fill_(torch.rand(grid, generator=generator) < 0.1, IGNORE)
    labels = blocks.repeat_interleave(_BLOCK_PX, 1).repeat_interleave(_BLOCK_PX, 2).to(device)
    embeddings = F.normalize(torch.randn(images, channels, side, side, generator=generator), dim=1).to(device)
    # as a network in channels-last leaves them
    embeddings = embeddings.contiguous(memory_format=torch.channels_last).requires_grad_()
    known = torch.rand(classes, generator=generator) >= 0.1
    vectors = F.normalize(torch.randn(classes, channels, generator=generator), dim=1).masked_fill(~known[:, None], 0)
    known, vectors = known.to(device), vectors.to(device)
    prototypes = Prototypes(vectors, known, vectors, known)

    def ours() -> Answer:
        loss = prototype_contrast(embeddings, labels, prototypes, _TEMPERATURE, IGNORE, coding).mean
        return loss.detach(), torch.autograd.grad(loss, embeddings)[0]

    def whole() -> Answer:
        loss = whole_matrix(embeddings, labels, vectors, known, coding)
        return loss.detach(), torch.autograd.grad(loss, embeddings)[0]

    equation = "Eq. 4" if coding is None else "Eq. 8"
    return Comparison(
        "prototype_contrast",
        f"{equation} of MDP, forward and backward, {images}×{side}×{side} pixels, D = {channels}, {classes:,} classes, "
        f"{device}",
        ours,
        {_WHOLE: whole},
        same,
        goal=1.0,
        goal_peer=_WHOLE,
        memory=True,
        memory_goal=memory_goal,
        device=device,
        repeats=repeats,
    )


def whole_matrix(
    embeddings: Tensor, labels: Tensor, vectors: Tensor, known: Tensor, coding: SparseCoding | None
) -> Tensor:
    """Eqs. 4 and 8 as one would write them down, the mean over the pixels that take part."""
    f, y = embeddings.flatten(2).mT.flatten(0, 1), labels.flatten()
    takes_part = (y != IGNORE) & known[y.clamp(min=0)]
    y = y.where(takes_part, 0)[:, None]
    logits = (f @ vectors.mT / _TEMPERATURE).masked_fill(~known, -torch.inf)
    logs = logits.log_softmax(1)
    losses = -logs.gather(1, y)[:, 0]
    if coding is not None:
        others = logits.detach().scatter(1, y, -torch.inf).topk(coding.count, 1).indices
        losses = coding.alpha * losses - (1 - coding.alpha) * logs.gather(1, others).mean(1)
    return losses.where(takes_part, 0).sum() / takes_part.sum()


def same(ours: Answer, theirs: Answer) -> bool:
    """Loss and gradient agree to what float32 holds; a tie of two neighbours may be broken either way."""
    (loss, gradient), (other, other_gradient) = ours, theirs
    apart = (gradient - other_gradient).abs() > 1e-4 * other_gradient.abs().max()
    return bool(torch.allclose(loss, other, rtol=1e-5) and apart.any(1).float().mean() < 1e-3)
