"""MaskFormer with one classifier of queries over the union of all classes, identical names united."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multiseg.label_space import LabelSpace, union_by_name
from multiseg.methods.base import MaskMethod, UnionTables
from multiseg.networks.mask_decoder import Words
from multiseg.networks.segmentation_network import SegmentationNetwork


class MaskFormerByName(MaskMethod):
    """The baseline "MaskFormer + Manual-taxonomy" of LMSeg (section 4.2): classes of the same name are one class, all
    others stay apart.

    In training a class of another dataset that also fits a segment counts as wrong. Predictions in a dataset's taxonomy
    choose among its own classes, those in the taxonomy `by_name` among all.

    Args:
        spaces, network, **common: see `MaskMethod`.
    """

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        super().__init__(spaces, network, **common)
        self.union = UnionTables(union_by_name(spaces))
        self.classifier = nn.Linear(self.width, len(self.union.space) + 1)

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {**self.spaces, self.union.space.name: self.union.space}

    def targets(self, labels: Tensor, dataset: str) -> Tensor:
        """To union ids."""
        return self.union.to_union(labels, dataset)

    def target_classes(self, dataset: str) -> int:
        return len(self.union.space)

    def class_logits(self, queries: Tensor, datasets: Sequence[str], words: Words | None) -> Tensor:
        logits: Tensor = self.classifier(queries)
        if self.training or datasets[0] == self.union.space.name:
            return logits
        own = logits[..., self.union.classes(datasets[0])]
        return torch.cat([own, logits[..., -1:]], -1)  # "no object" stays last
