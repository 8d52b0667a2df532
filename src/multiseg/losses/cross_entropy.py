"""Cross-entropy of every labelled pixel."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy_sum(logits: Tensor, labels: Tensor, ignore: int) -> Tensor:
    """Sum over labelled pixels of `-log softmax(logits)[label]`.

    A sum, not a mean, so that the caller can divide by the number of pixels over all processes.

    Args:
        logits: (B, K, H, W), any float type; the softmax is taken in float32.
        labels: (B, H, W) int64 in 0..K-1, or `ignore`.
        ignore: label of the pixels that take no part.

    Returns:
        () float32; zero, still on the graph, where nothing is labelled.
    """
    # a list of pixels: for images torch has no deterministic CUDA kernel
    pixels = logits.float().movedim(1, -1).flatten(0, -2)
    return F.cross_entropy(pixels, labels.flatten(), ignore_index=ignore, reduction="sum")
