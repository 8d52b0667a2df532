"""The denominator of a contrastive loss, without the matrix of all similarities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Similarities held at a time. On a CPU they stay in its cache; an accelerator needs enough to be busy.
_BLOCK = {"cpu": 2**20}
_BLOCK_ELSEWHERE = 2**26

#: Of what is masked out: like minus infinity, but a row with nothing else yields numbers that a weight of 0 removes.
_NEVER = -1e30


def log_partition(queries: Tensor, keys: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """`log Σ_j exp(f_i · k_j / τ)` over the valid keys.

    The N × M similarities of a block of queries at a time are made, used and dropped. The gradient for a query is a
    mean of the keys by their softmax,

        ∂/∂f_i = 1/τ Σ_j softmax_j(f_i · k / τ) k_j,

    as large as the query itself, so it is taken along in the same pass instead of recomputing the block later. This
    costs two matrix products, as many as the plain expression with its backward.

    Args:
        queries: (..., N, D), any float type; computed in float32.
        keys: (..., M, D), likewise; they are constants: no gradient reaches them.
        valid: (..., M) bool, which keys there are.
        temperature: τ.

    Returns:
        (..., N) float32. Where no key is valid the value means nothing.
    """
    result: Tensor = _LogPartition.apply(queries, keys, valid, temperature)
    return result


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, valid: Tensor, temperature: float) -> Tensor:
        wide = torch.float64 if queries.dtype == torch.float64 else torch.float32
        with torch.autocast(queries.device.type, enabled=False):
            keys, scale = keys.to(wide), 1 / temperature
            bias = torch.zeros(valid.shape, dtype=wide, device=valid.device).masked_fill_(~valid, _NEVER)
            rows = _BLOCK.get(queries.device.type, _BLOCK_ELSEWHERE) // max(valid.numel(), 1)
            out = torch.empty(queries.shape[:-1], dtype=wide, device=queries.device)
            pulled = torch.empty_like(queries, dtype=wide) if ctx.needs_input_grad[0] else None
            for start in range(0, queries.shape[-2], max(rows, 1)):
                block = slice(start, start + max(rows, 1))
                logits = (queries[..., block, :].to(wide) * scale) @ keys.mT
                logits += bias[..., None, :]
                highest = logits.amax(-1, keepdim=True)
                shares = logits.sub_(highest).exp_()
                total = shares.sum(-1, keepdim=True)
                out[..., block] = (total.log() + highest)[..., 0]
                if pulled is not None:
                    pulled[..., block, :] = (shares @ keys) * (scale / total)
        ctx.save_for_backward(pulled)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (pulled,) = ctx.saved_tensors
        return pulled * grads[0][..., None], None, None, None
