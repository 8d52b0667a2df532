"""A loss before it is averaged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossSum(NamedTuple):
    """A sum and what to divide it by: several processes add up both before they divide.

    Args:
        total: () float32, of the losses of the pixels that take part; zero, still on the graph, where none does.
        weight: () float32, the number of these pixels, or the sum of their weights. No gradient.
    """

    total: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """() float32; zero where no pixel takes part."""
        return self.total / self.weight.clamp(min=1e-12)
