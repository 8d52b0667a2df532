"""M&M: tuning of a backbone with the labels of one or many datasets, between proxy task and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from multiseg.batch import PatchBatch
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace, disjoint_union, union_by_name
from multiseg.losses.base import Triplets
from multiseg.losses.patch_graph import connected_graph, random_pairs
from multiseg.losses.triplet_ranking import triplet_ranking
from multiseg.methods.base import PretrainingMethod, UnionTables
from multiseg.networks.dataset_norm import images_of
from multiseg.networks.segmentation_network import SegmentationNetwork


class MixAndMatch(PretrainingMethod):
    """Mix-and-Match Tuning (Zhan et al.: "Mix-and-Match Tuning for Self-Supervised Semantic Segmentation", AAAI 2018).

    Mix: patches of many images, each of the class of its central pixel (`loading.patches`). Match: triplets of patches
    from a graph in which each class is connected (`losses.patch_graph`), ranked by the distance of their features, the
    backbone's coarsest level (Eqs. 1 and 2, `losses.triplet_ranking`).

    The backbone is what is tuned, to be fine-tuned from `--init.weights RUN`; the decoder stays as it is. Of several
    processes each makes the features of its own patches, and all rank the triplets of one graph of all patches.

    On held-out images it is judged by the share of triplets whose positive is nearer than the negative.

    Several datasets (beyond the paper) share one graph over the union of their classes.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        match: "graph", the class-wise connected graph; "random", disconnected pairs, the paper's baseline.
        margin: α. Features after a ReLU have distances of at most 2, so that with the paper's 2.1 every triplet always
            counts; with less those that are apart by it do not.
        pooling: of a patch's feature map: "flatten" keeps where in the patch something is, as the paper's pool5 does;
            "mean" does not.
        union: of several datasets: "disjoint" takes equally named classes of two datasets for two, "by_name" for one.
        negatives: "any", of another class of any dataset; "own", of the anchor's dataset: other datasets may have its
            class under another name.

    Raises:
        MultisegError: the margin is not positive.
    """

    trains_on = "patches"
    judged_by = "ordered"

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        match: Literal["graph", "random"] = "graph",
        margin: float = 2.1,
        pooling: Literal["flatten", "mean"] = "flatten",
        union: Literal["disjoint", "by_name"] = "disjoint",
        negatives: Literal["any", "own"] = "any",
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        if margin <= 0:
            raise MultisegError(f"method.margin must be positive, not {margin}.")
        self.match = match
        self.margin = margin
        self.pooling = pooling
        self.negatives = negatives
        self.union = UnionTables((disjoint_union if union == "disjoint" else union_by_name)(spaces))

    def training_step(self, batch: PatchBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        features = self.of_all_processes(self.embed(batch.images, [space.name for space in batch.spaces]))
        triplets = self.match_nodes(*map(self.joined_over_processes, self.nodes(batch)))
        with torch.autocast(self.device.type, enabled=False):
            ranking = triplet_ranking(features.flatten(0, 1), triplets, self.margin)
        self.log("loss", ranking.loss.detach(), prog_bar=True)
        self.log("ordered", ranking.ordered, prog_bar=True)
        self.log("apart", ranking.apart)
        # each process differentiates the whole loss by its own features, and DDP averages what is to be summed
        return self.world_size * ranking.loss

    def embed(self, patches: Tensor, datasets: Sequence[str]) -> Tensor:
        """Features of the patches of B images.

        Args:
            patches: (B, P, 3, h, w) uint8.
            datasets: whose images they are, B names.

        Returns:
            (B, P, C).
        """
        per_image = patches.shape[1]
        with images_of(self.network.backbone, [name for name in datasets for _ in range(per_image)]):
            coarsest: Tensor = self.network.backbone(self.normalize(patches.flatten(0, 1)))[-1]
        vectors = coarsest.mean((2, 3)) if self.pooling == "mean" else coarsest.flatten(1)
        return vectors.reshape(-1, per_image, vectors.shape[1])

    def of_all_processes(self, features: Tensor) -> Tensor:
        """Features of the global batch in its order; those of other processes are constants. Shape: (B, P, C) to
        (world_size · B, P, C).
        """
        if self.world_size == 1:
            return features
        everything = self.joined_over_processes(features)
        everything[self.global_rank :: self.world_size] = features
        return everything

    def nodes(self, batch: PatchBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each patch its class in the union and its dataset, (B, P) int64, and its lots, (B, P, 3)."""
        pairs = zip(batch.labels, batch.spaces, strict=True)
        labels = torch.stack([self.union.to_union(own, space.name) for own, space in pairs])
        place = {name: number for number, name in enumerate(self.spaces)}
        datasets = torch.tensor([place[space.name] for space in batch.spaces], device=labels.device)
        return labels, datasets[:, None].expand_as(labels), batch.lots

    def match_nodes(self, labels: Tensor, datasets: Tensor, lots: Tensor) -> Triplets:
        """Triplets of `nodes`, one image's patches after another's."""
        match = connected_graph if self.match == "graph" else random_pairs
        groups = datasets.flatten() if self.negatives == "own" else None
        return match(labels.flatten(), lots.flatten(0, 1), IGNORE, groups)

    def count_validation(self, batch: PatchBatch) -> Tensor:
        features = self.embed(batch.images, [space.name for space in batch.spaces]).flatten(0, 1)
        triplets = self.match_nodes(*self.nodes(batch))
        ranking, count = triplet_ranking(features, triplets, self.margin), len(triplets.anchors)
        return torch.stack([ranking.ordered * count, ranking.apart * count, ranking.apart.new_tensor(count)]).double()

    def scores_of(self, counts: Tensor) -> dict[str, float]:
        ordered, apart, triplets = counts.tolist()
        return {"ordered": ordered / max(triplets, 1), "apart": apart / max(triplets, 1)}
