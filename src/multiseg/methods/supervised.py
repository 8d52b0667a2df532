"""One network, one dataset: what every multi-dataset method is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork


class Supervised(SegmentationMethod):
    """Pixel-wise cross-entropy on a single dataset.

    Args:
        spaces: exactly one.
        network, **common: see `SegmentationMethod`.

    Raises:
        MultisegError: there are several datasets.
    """

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        if len(spaces) != 1:
            names = ", ".join(space.name for space in spaces)
            raise MultisegError(
                f"supervised trains on one dataset, not on {names}; multi_head and by_name train on many."
            )
        super().__init__(spaces, network, **common)
        # under the dataset's name, as in MultiHead: either's weights load into the other
        self.classifiers = nn.ModuleDict({space.name: PixelClassifier(network, len(space)) for space in spaces})

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        logits: list[Tensor] = self.classifiers[taxonomy](features, rows)
        return logits
