"""Multi-head attention (Vaswani et al., NeurIPS 2017, section 3.2.2)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Like `torch.nn.MultiheadAttention` without weights to look at, and on a CPU several times faster under autocast:
    there torch's fused kernel takes up to ten times as long in bfloat16 as in float32 at the sizes of mask decoders, so
    projections run in the precision of the autocast, the attention itself in float32.

    Args:
        width: of all vectors.
        heads: their number.
        dropout: of attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.to_query, self.to_key, self.to_value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> Tensor:
        """
        Args:
            query: (B, N, width).
            key: (B, M, width).
            value: (B, M, width).
            hidden: (B, M) bool, what no query may attend to; not all of an image's.

        Returns:
            (B, N, width).
        """
        q, k, v = (self._split(to(x)) for to, x in ((self.to_query, query), (self.to_key, key), (self.to_value, value)))
        mask = None if hidden is None else ~hidden[:, None, None]
        dropout = self.dropout if self.training else 0.0
        on_cpu = query.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            if on_cpu:
                q, k, v = q.float(), k.float(), v.float()
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        # (B, heads, N, width / heads) -> (B, N, width)
        result: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
