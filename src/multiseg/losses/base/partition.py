"""The denominator of a contrastive loss, without the matrix of all similarities."""

from __future__ import annotations

from collections.abc import Callable
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
        queries: (N, D) or (B, N, D), any float type; computed in float32.
        keys: (M, D) or (B, M, D), likewise; they are constants: no gradient reaches them.
        valid: (M,) or (B, M) bool, which keys there are.
        temperature: τ.

    Returns:
        (N,) or (B, N) float32. Where no key is valid the value means nothing.
    """
    result: Tensor = _Contrast.apply(queries, None, None, keys, valid, temperature)
    return result


#: What the queries at some places are pulled to, (n, D) or (B, n, D), constants; also told f_i · k_j / τ of these
#: queries, (n, M) or (B, n, M), which it may overwrite.
Targets = Callable[[slice, Tensor], Tensor]


def contrast(queries: Tensor, targets: Targets, keys: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """`log Σ_j exp(f_i · k_j / τ) - f_i · t_i / τ`, as `log_partition`.

    Targets are made block by block, too, and the gradients of both terms are one tensor.

    Args:
        queries: see there.
        targets: t.
        keys: see there.
        valid: see there.
        temperature: τ.

    Returns:
        (N,) or (B, N) float32.
    """
    result: Tensor = _Contrast.apply(queries, targets, None, keys, valid, temperature)
    return result


#: Which keys the queries at some places are pulled to, and by what weights: (n, C) int64 and (n, C). Told as `Targets`,
#: but it must leave the similarities as they were.
Code = Callable[[slice, Tensor], tuple[Tensor, Tensor]]


def coded_contrast(queries: Tensor, code: Code, keys: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """`log Σ_j exp(f_i · k_j / τ) - Σ_c w_ic f_i · k_ic / τ`: `contrast` with means of the keys themselves as targets.

    Their similarities are there already, and so are they in the gradient, `1/τ Σ_j (softmax_j - w_ij) k_j`.

    Args:
        queries: (N, D), see there.
        code: which keys, and w.
        keys: (M, D).
        valid: (M,) bool.
        temperature: τ.

    Returns:
        (N,) float32.
    """
    result: Tensor = _Contrast.apply(queries, None, code, keys, valid, temperature)
    return result


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        targets: Targets | None,
        code: Code | None,
        keys: Tensor,
        valid: Tensor,
        temperature: float,
    ) -> Tensor:
        wide = torch.float64 if queries.dtype == torch.float64 else torch.float32
        scale, device = 1 / temperature, queries.device
        out = torch.empty(queries.shape[:-1], dtype=wide, device=device)
        pulled = torch.empty(queries.shape, dtype=wide, device=device) if ctx.needs_input_grad[0] else None
        rows = max(_BLOCK.get(device.type, _BLOCK_ELSEWHERE) // max(valid.numel(), 1), 1)
        with torch.autocast(device.type, enabled=False):
            bias = torch.zeros(valid.shape, dtype=wide, device=device).masked_fill_(~valid, _NEVER)
            f, k, bias = _batch(queries), _batch(keys.to(wide)), _batch(bias[..., None, :])
            for start in range(0, queries.shape[-2], rows):
                block = slice(start, start + rows)
                own = f[:, block].to(wide)
                logits = torch.baddbmm(bias, own, k.mT, alpha=scale)
                highest = logits.amax(-1)
                shares = logits.softmax(-1)
                losses = highest - shares.amax(-1).log()  # the highest share is 1 over the sum of exp(logit - highest)
                if code is not None:
                    index, weights = code(block, logits[0])
                    losses -= (logits[0].gather(-1, index) * weights).sum(-1)
                    shares[0].scatter_add_(-1, index, -weights.to(wide))
                elif targets is not None:
                    to = _batch(targets(block, logits.view(*queries.shape[:-2], *logits.shape[1:])).to(wide))
                    losses -= (own * to).sum(-1) * scale
                _batch(out[..., None])[:, block, 0] = losses
                if pulled is not None:
                    into = _batch(pulled)[:, block]
                    taken, beta = (into, 0.0) if targets is None else (to, -scale)
                    torch.baddbmm(taken, shares, k, beta=beta, alpha=scale, out=into)
        ctx.save_for_backward(pulled)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (pulled,) = ctx.saved_tensors
        return pulled * grads[0][..., None], None, None, None, None, None


def _batch(matrices: Tensor) -> Tensor:
    """Shape: (N, D) or (B, N, D) to (B, N, D)."""
    return matrices if matrices.dim() == 3 else matrices[None]
