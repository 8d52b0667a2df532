"""One network for all datasets, a classifier for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from multiseg.label_space import LabelSpace
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork


class MultiHead(SegmentationMethod):
    """The baseline of every multi-dataset paper: backbone and decoder are shared, and each dataset keeps its own
    classes in its own classifier. No relation between taxonomies is assumed.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
    """

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        super().__init__(spaces, network, **common)
        self.classifiers = nn.ModuleDict({space.name: PixelClassifier(network, len(space)) for space in spaces})

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        logits: list[Tensor] = self.classifiers[taxonomy](features, rows)
        return logits
