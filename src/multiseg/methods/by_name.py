"""One network, one classifier over the union of all classes, identical names united."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from multiseg.label_space import LabelSpace, union_by_name
from multiseg.methods.base import SegmentationMethod, UnionTables
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork


class ByName(SegmentationMethod):
    """The "manual taxonomy" baseline: classes of the same name are one class, all others stay apart.

    In training the softmax runs over the whole union, so a class of another dataset that also fits a pixel counts as
    wrong:
    that is the conflict the methods of this project avoid. Predictions in a dataset's taxonomy choose among its own
    classes; predictions in the taxonomy `by_name` choose among all.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
    """

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        super().__init__(spaces, network, **common)
        self.union = UnionTables(union_by_name(spaces))
        self.classifier = PixelClassifier(network, len(self.union.space))

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {**self.spaces, self.union.space.name: self.union.space}

    def targets(self, labels: Tensor, dataset: str) -> Tensor:
        """To union ids."""
        return self.union.to_union(labels, dataset)

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        logits: list[Tensor] = self.classifier(features, rows)
        if self.training or taxonomy == self.union.space.name:
            return logits
        return [entry[:, self.union.classes(taxonomy)] for entry in logits]
