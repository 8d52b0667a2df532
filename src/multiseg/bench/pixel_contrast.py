"""Contrast of the pixels of two views (MDP, Eq. 2) with its gradient, against the whole matrix of similarities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.bench.base import Comparison
from multiseg.label_space import IGNORE
from multiseg.losses.pixel_contrast import pixel_contrast

_TEMPERATURE = 0.07
_BLOCK_PX = 7
_WHOLE = "the whole matrix"
Answer = tuple[Tensor, Tensor]


def comparisons(device: str = "cpu") -> list[Comparison]:
    """The feature maps of crops of 448 and of 896 pixels at stride 8."""
    return [
        comparison(images=2, side=56, device=device),
        comparison(images=1, side=112, device=device, repeats=5),  # a matrix has 157 million entries
    ]


def comparison(
    images: int, side: int, channels: int = 256, classes: int = 10, device: str = "cpu", repeats: int | None = None
) -> Comparison:
    """
    Args:
        images: B, with labels made of blocks, as real ones are made of regions.
        side: of the feature map; a multiple of 7.
        channels: D.
        classes: K; one more block in K + 1 is ignored.
        device: where to compute.
        repeats: see `Comparison`.
    """
    generator = torch.Generator().manual_seed(0)
    grid = (2, images, side // _BLOCK_PX, side // _BLOCK_PX)
    blocks = torch.randint(0, classes + 1, grid, generator=generator)
    labels = blocks.masked_fill(blocks == classes, IGNORE).repeat_interleave(_BLOCK_PX, -1)
    query_labels, key_labels = labels.repeat_interleave(_BLOCK_PX, -2).to(device)
    queries, keys = (_embeddings((images, channels, side, side), generator).to(device) for _ in range(2))
    queries.requires_grad_()

    def ours() -> Answer:
        loss = pixel_contrast(queries, query_labels, keys, key_labels, _TEMPERATURE, IGNORE).mean
        return loss.detach(), torch.autograd.grad(loss, queries)[0]

    def whole() -> Answer:
        loss = whole_matrix(queries, query_labels, keys, key_labels)
        return loss.detach(), torch.autograd.grad(loss, queries)[0]

    return Comparison(
        "pixel_contrast",
        f"Eq. 2 of MDP, forward and backward, {images}×{side}×{side} pixels, D = {channels}, {device}",
        ours,
        {_WHOLE: whole},
        same,
        goal=1.0,
        goal_peer=_WHOLE,
        memory_goal=0.1,
        device=device,
        repeats=repeats,
    )


def whole_matrix(queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor) -> Tensor:
    """Eq. 2 as one would write it down, the mean over the pixels that take part."""
    own, other = query_labels.flatten(1), key_labels.flatten(1)
    similarities = torch.bmm(queries.flatten(2).mT, keys.flatten(2)) / _TEMPERATURE
    logs = similarities.masked_fill((other == IGNORE)[:, None], -torch.inf).log_softmax(-1)
    positive = (own[:, :, None] == other[:, None]) & (own != IGNORE)[:, :, None]
    number = positive.sum(-1)
    losses = -torch.where(positive, logs, 0).sum(-1) / number.clamp(min=1)
    return losses.sum() / (number > 0).sum()


def same(ours: Answer, theirs: Answer) -> bool:
    """Loss and gradient agree to what float32 holds."""
    (loss, gradient), (other, other_gradient) = ours, theirs
    near = (gradient - other_gradient).abs().max() <= 1e-4 * other_gradient.abs().max()
    return bool(torch.allclose(loss, other, rtol=1e-5) and near)


def _embeddings(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Unit vectors, laid out as a network in channels-last leaves them."""
    vectors = F.normalize(torch.randn(shape, generator=generator), dim=1)
    return vectors.contiguous(memory_format=torch.channels_last)
