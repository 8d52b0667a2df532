"""A loss before it is averaged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossSum(NamedTuple):
    """A sum and what to divide it by: several processes add up both before they divide.

    Args:
        total: () float32, of the losses of the pixels that take part; zero, still on the graph, where none does.
        count: () float32, of these pixels, or of their weights. No gradient.
    """

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """() float32; zero where no pixel takes part."""
        return self.total / self.count.clamp(min=1e-12)
