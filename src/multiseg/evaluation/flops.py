"""The cost of a prediction, counted as papers count it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(run: Callable[[], Any]) -> int:
    """Multiply-adds of the convolutions and matrix products that a call runs.

    A multiplication with its addition counts as one, as in fvcore and in the tables of most papers ("FLOPs"); torch,
    which does the counting, counts two. All else (norms, activations, interpolation) is a small share and left out.

    Args:
        run: not under `torch.inference_mode`, where torch does not see into composite operations.
    """
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2
