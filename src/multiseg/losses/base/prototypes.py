"""What pixels are contrasted with in place of other pixels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prototypes(NamedTuple):
    """What pixels are contrasted with.

    Args:
        classes: (K, D) the prototype of each class.
        known: (K,) bool: a class never seen has none.
        entries: (M, D) what denominators run over: the prototypes, or each of the embeddings that they are means of.
        valid: (M,) bool, which entries there are.
    """

    classes: Tensor
    known: Tensor
    entries: Tensor
    valid: Tensor
