"""One dataset's classes for all: the others' labels are mapped to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace, find_space
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork
from multiseg.taxonomy.relations import Relation, remap_by_name, remap_by_relations


class LabelRemap(SegmentationMethod):
    """The "label remapping" baseline of CDCL: source labels are mapped to the target dataset's, unmapped ones ignored.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        target: the dataset whose classes are learnt; by default the first. Only it is evaluated.
        relations: between the classes of the datasets, in a recipe the path of a TSV (see
            `multiseg.taxonomy.relations`); by default classes are matched by name.
    """

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        target: str | None = None,
        relations: list[Relation] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        self.target = find_space(spaces, target) if target else spaces[0]
        self.classifier = PixelClassifier(network, len(self.target))
        self.relations = relations

    def setup(self, stage: str) -> None:
        """The tables from every dataset's ids to the target's: needed to train, not to predict."""
        if stage != "fit":
            return
        for name, space in self.spaces.items():
            if name == self.target.name:
                table = tuple(range(len(space)))
            elif self.relations is None:
                table = remap_by_name(space, self.target).table
            else:
                table = remap_by_relations(space, self.target, self.relations).table
            self.register_buffer(f"table_{name}", torch.tensor([*table, IGNORE]), persistent=False)

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {self.target.name: self.target}

    def targets(self, labels: Tensor, dataset: str) -> Tensor:
        """To the target dataset's ids, unmapped classes ignored."""
        return self.get_buffer(f"table_{dataset}")[labels]

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        if not self.training and taxonomy != self.target.name:
            raise MultisegError(f"label_remap predicts in '{self.target.name}' only, not in '{taxonomy}'.")
        logits: list[Tensor] = self.classifier(features, rows)
        return logits
