"""One network, one classifier over a universal label space in which a dataset's label stands for a set of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.label_space import IGNORE, LabelSpace
from multiseg.losses.partial_label import partial_label_sum
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork
from multiseg.taxonomy.relations import Relation, relations_by_name
from multiseg.taxonomy.universal_space import universal_space


class Universal(SegmentationMethod):
    """Partial labels over a universal taxonomy (Bevandić et al., WACV 2022).

    The classifier tells *atoms* apart, classes so fine that every dataset's class is a set of them
    (`multiseg.taxonomy.universal_space`). A label says only that the pixel is one of its set: what the model learns
    about is the sum of their probabilities. So no right answer counts as wrong, and a class that one dataset splits is
    told apart in the images of all.

    Predictions in a dataset's taxonomy choose the class of the largest sum; predictions in the taxonomy `universal`
    choose an atom. The relations are part of the configuration, so a saved model builds the same atoms without the
    file; the sets are saved with the weights, so that a later way of finding atoms cannot change what they mean.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        relations: between the classes of the datasets, in a recipe the path of a TSV; by default classes of the same
            name are the same.
    """

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        relations: list[Relation] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        self.universe = universal_space(spaces, relations_by_name(spaces) if relations is None else relations)
        self.classifier = PixelClassifier(network, len(self.universe.space))
        for name, members in self.universe.members.items():
            self.register_buffer(f"members_{name}", torch.from_numpy(members))
            self.register_buffer(f"atoms_{name}", _padded_sets(torch.from_numpy(members)))

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {**self.spaces, self.universe.space.name: self.universe.space}

    def known_relations(self) -> list[Relation]:
        return self.universe.relations()

    def pixel_loss(self, logits: Tensor, labels: Tensor, dataset: str) -> Tensor:
        """The sum of -log of the probability of each pixel's set."""
        return partial_label_sum(logits, labels, self.get_buffer(f"members_{dataset}"), IGNORE)

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        logits: list[Tensor] = self.classifier(features, rows)
        if self.training or taxonomy == self.universe.space.name:
            return logits
        return [sum_sets(entry, self.get_buffer(f"atoms_{taxonomy}")) for entry in logits]


def sum_sets(logits: Tensor, sets: Tensor) -> Tensor:
    """Logits whose softmax are the sums of the probabilities of each set, normalised.

    Args:
        logits: (B, U, h, w).
        sets: (K, M) int64 in 0..U-1, filled up with U.

    Shape:
        returns: (B, K, h, w) float32.
    """
    padded = F.pad(logits.float(), (0, 0, 0, 0, 0, 1), value=-torch.inf)
    batch, _, height, width = logits.shape
    return padded.index_select(1, sets.flatten()).view(batch, *sets.shape, height, width).logsumexp(2)


def _padded_sets(members: Tensor) -> Tensor:
    """Shape: (K, U) bool to (K, M) int64 as `sum_sets` takes them, M the size of the largest set."""
    everything = torch.arange(members.shape[1]).expand_as(members)
    sets = everything.masked_fill(~members, members.shape[1]).sort(1).values
    return sets[:, : int(members.sum(1).max())].contiguous()
