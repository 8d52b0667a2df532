"""Cross-dataset collaborative learning: shared convolutions, batch norms and a classifier of each dataset's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from multiseg.label_space import LabelSpace
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.networks.segmentation_network import Features, SegmentationNetwork


class CDCL(SegmentationMethod):
    """CDCL (Wang et al.: "Cross-Dataset Collaborative Learning for Semantic Segmentation", arXiv 2103.11351).

    *Dataset-aware block*: the convolutions are shared, every batch norm is one a dataset, in backbone and decoder alike
    (Eqs. 1 and 2, `networks.dataset_norm`). Each dataset keeps its own classes in its own classifier.

    *Dataset alternation training*: every batch holds images of one dataset; a cycle goes over all of them, and its
    losses are summed for one update,

        θ ← θ - η ∇ Σ_k L_k(θ, γ_k, β_k, classifier_k),

    each L_k followed by its backward pass, so only one dataset's activations are in memory. The turns are those of the
    plan `loading.sampling.Alternating`, the sum is `sum_datasets` of the base class. Any other plan is an ablation
    ("without DAT"), and `dataset_norms=False` the other one (BN for DSBN).

    With norms of their own, a dataset's images meet no other's in a batch, so alternation changes nothing but memory
    where each dataset has as many images in the mixed batch as in its turn: gradients are the same. What Table 3
    compares are mixed batches of the same total size, with fewer images of each dataset.

    Args:
        spaces, network, **common: see `SegmentationMethod`; norms are each dataset's own and losses summed by default.
    """

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        sum_datasets: bool = True,
        dataset_norms: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, sum_datasets=sum_datasets, dataset_norms=dataset_norms, **common)
        self.classifiers = nn.ModuleDict({space.name: PixelClassifier(network, len(space)) for space in spaces})

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        logits: list[Tensor] = self.classifiers[taxonomy](features, rows)
        return logits
