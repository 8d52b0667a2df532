"""A slowly following copy of a network (He et al.: "Momentum Contrast", CVPR 2020, Eq. 2)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """The key encoder: after every update θ_k ← m θ_k + (1 - m) θ_q, and no gradient.

    Batch norms of a copy in training have the statistics of their own batch and running ones of their own, as in
    MoCo; only parameters follow.

    Args:
        encoder: the query encoder, of which it starts as a copy.
        momentum: m.
    """

    def __init__(self, encoder: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"the momentum of a key encoder must lie in 0..1, not {momentum}.")
        self.momentum = momentum
        self.encoder = deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def follow(self, encoder: nn.Module) -> None:
        """One step towards the query encoder."""
        keys: list[Tensor] = [*self.encoder.parameters()]
        torch._foreach_lerp_(keys, [*encoder.parameters()], 1 - self.momentum)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        return self.encoder(*inputs)
