"""MaskFormer with one classifier of queries over the union of all classes, identical names united."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multiseg.label_space import IGNORE, LabelSpace, union_by_name
from multiseg.methods.base import MaskMethod
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
        self.union = union_by_name(spaces)
        self.classifier = nn.Linear(self.width, len(self.union.space) + 1)
        for name, table in self.union.tables.items():  # the last entry serves IGNORE = -1
            self.register_buffer(f"table_{name}", torch.tensor([*table, IGNORE]), persistent=False)

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {**self.spaces, self.union.space.name: self.union.space}

    def targets(self, labels: Tensor, dataset: str) -> Tensor:
        """To union ids."""
        return self._table(dataset)[labels]

    def target_classes(self, dataset: str) -> int:
        return len(self.union.space)

    def class_logits(self, queries: Tensor, datasets: Sequence[str], words: Words | None) -> Tensor:
        logits: Tensor = self.classifier(queries)
        if self.training or datasets[0] == self.union.space.name:
            return logits
        own = self._table(datasets[0])
        return logits[..., torch.where(own == IGNORE, len(self.union.space), own)]  # "no object" stays last

    def _table(self, dataset: str) -> Tensor:
        return self.get_buffer(f"table_{dataset}")
