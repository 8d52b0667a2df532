"""Anchors with a positive and a negative each."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Triplets(NamedTuple):
    """T triplets among N nodes.

    Args:
        anchors: (T,) int64, the node of each.
        positives: (T,) int64, nodes of the same label.
        negatives: (T,) int64, nodes of another label.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor
