"""Multi-dataset pretraining: pixels of all datasets around the prototypes of all classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from multiseg.batch import ViewBatch
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace, disjoint_union, union_by_name
from multiseg.losses.base import ClassMeans, LossSum, Prototypes, class_means, merge_means
from multiseg.losses.pixel_contrast import pixel_contrast
from multiseg.losses.prototype_bank import BankFactory, ClassBank
from multiseg.losses.prototype_contrast import SparseCoding, confident_classes, prototype_contrast
from multiseg.methods.base import SegmentationMethod
from multiseg.networks.dataset_norm import images_of
from multiseg.networks.momentum_encoder import MomentumEncoder
from multiseg.networks.projection import PixelEncoder, Projection
from multiseg.networks.segmentation_network import Features, SegmentationNetwork, labels_at


class MDP(SegmentationMethod):
    """MDP (Shi et al.: "Multi-dataset Pretraining: A Unified Model for Semantic Segmentation", arXiv 2106.04121).

    Two views x̂, x̄ of each image go through the query encoder E_q and through E_k, which follows it. Labels are those of
    the union of all datasets, in which every class of every dataset is a class of its own. A step

    1. takes from the keys of each view the mean embedding of every class in every image, and makes prototypes of them
       together with those of earlier batches (Eq. 3, `losses.prototype_bank`);
    2. pulls each pixel of a view to its class's prototype, made with the keys of the *other* view, and away from all
       others (Eq. 4), or to a sparse code over several classes (Eq. 8, `losses.prototype_contrast`);
    3. does the same with the mixed view x̃ (Eqs. 5 to 7, `loading.mixing`), with the keys of both views:

        L = ½ [L(x̂, ŷ, P(x̄)) + L(x̄, ȳ, P(x̂))] + w · Σ_m λ_m L(x̃, y_m, P(x̂, x̄)),

    each L the mean over all pixels of the global batch that take part. Predictions, as in validation, take the nearest
    prototype of the dataset's classes; what the network is for is `--init.weights RUN` of another run.

    Args:
        spaces, network, **common: see `SegmentationMethod`. The network has no auxiliary head.
        contrast: "pixels" is the baseline of section 3.2: Eq. 2 for Eq. 4, the bank for validation only, no mixed view.
        union: "by_name": classes of the same name are one.
        bank: makes the memory.
        coding: sparse coding; None for Eq. 4.
        temperature: τ.
        momentum: of the key encoder.
        projection_channels: of the embedding, and of the layers before it.
        mixed_weight: w. (Not in the paper.)
        confidence: images of a dataset without labels take the class of the nearest prototype where E_k, on the same
            view, gives it at least this probability. (The paper leaves this to future work.)

    Raises:
        MultisegError: a number is out of range, the network has an auxiliary head, or no dataset has labels.
    """

    trains_on = "views"
    unlabelled_welcome = True
    training_only = ("key.", "bank.")

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        contrast: Literal["prototypes", "pixels"] = "prototypes",
        union: Literal["disjoint", "by_name"] = "disjoint",
        bank: BankFactory = ClassBank,
        coding: SparseCoding | None = None,
        temperature: float = 0.07,
        momentum: float = 0.999,
        projection_channels: int = 256,
        mixed_weight: float = 1.0,
        confidence: float = 0.9,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        if network.auxiliary is not None:
            raise MultisegError("mdp trains no auxiliary head: set method.network.auxiliary to null.")
        if temperature <= 0:
            raise MultisegError(f"mdp: the temperature must be positive, not {temperature}.")
        self.contrast, self.coding, self.temperature = contrast, coding, temperature
        self.mixed_weight, self.confidence = mixed_weight, confidence
        joined = (disjoint_union if union == "disjoint" else union_by_name)(spaces)
        if not len(joined.space):
            raise MultisegError("mdp: none of the datasets has labels, so there is no class to learn.")
        self.union = joined.space
        self.places = {space.name: place for place, space in enumerate(spaces)}
        self.tables: Tensor
        self.register_buffer("tables", torch.from_numpy(joined.lookup()), persistent=False)
        try:
            self.projection = Projection(network.channels, projection_channels, projection_channels)
            self.key = MomentumEncoder(PixelEncoder(self.network, self.projection), momentum)
            self.bank = bank(len(self.union), projection_channels)
        except ValueError as error:
            raise MultisegError(f"mdp: {error}") from None
        self.prototypes: Tensor
        self.known: Tensor
        self.register_buffer("prototypes", torch.zeros(len(self.union), projection_channels))
        self.register_buffer("known", torch.zeros(len(self.union), dtype=torch.bool))

    @property
    def compilable(self) -> list[nn.Module]:
        return [self.network, self.key.encoder]

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {name: space for name, space in self.spaces.items() if len(space)}

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        """Similarities to the prototypes of the taxonomy's classes, over τ."""
        classes = self.tables[self.places[taxonomy], : len(self.spaces[taxonomy])]
        embeddings = self.projection(features.decoded[list(rows)])
        logits = torch.einsum("bdhw,kd->bkhw", embeddings, self.prototypes[classes]) / self.temperature
        return [logits.masked_fill(~self.known[classes][:, None, None], -1e4)]

    def training_step(self, batch: ViewBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        views = (batch.first, batch.second)
        queries = [self.embed(view.images, view.spaces) for view in views]
        keys = [self.embed_keys(view.images, view.spaces) for view in views]
        labels = [self.union_labels(view.labels, view.spaces, queries[0]) for view in views]
        with torch.autocast(self.device.type, enabled=False):
            means = [class_means(key, label, IGNORE) for key, label in zip(keys, labels, strict=True)]
            packed = [self._gathered(own, len(batch)) for own in (*means, merge_means(*means))]
            of_first, of_second, of_both = self.bank.with_batch(*packed)
            self._label_confident(batch, keys, labels, of_both)
            if self.contrast == "pixels":
                losses = [
                    pixel_contrast(queries[own], labels[own], keys[other], labels[other], self.temperature, IGNORE)
                    for own, other in ((0, 1), (1, 0))
                ]
            else:
                losses = [self._contrast(*entry) for entry in zip(queries, labels, (of_second, of_first), strict=True)]
            parts = {"views": torch.stack([self._mean(loss) for loss in losses]).mean()}
        if batch.mixed is not None and self.contrast == "prototypes":
            mixed = self.embed(batch.mixed.images, batch.mixed.spaces[0])
            with torch.autocast(self.device.type, enabled=False):
                sums = [
                    self._contrast(mixed, self.union_labels(labels, spaces, mixed), of_both, shares)
                    for labels, spaces, shares in batch.mixed.parts
                ]
                both = LossSum(*(torch.stack(values).sum() for values in zip(*sums, strict=True)))
                parts["mixed"] = self.mixed_weight * self._mean(both)
        self.bank.push(packed[2])
        self.prototypes.copy_(of_both.classes)
        self.known.copy_(of_both.known)
        return self._logged(parts)

    def embed(self, images: Tensor, spaces: Sequence[LabelSpace]) -> Tensor:
        """Embeddings by E_q. Shape: (B, 3, H, W) uint8 to (B, D, h, w)."""
        features = self.features(self.normalize(images), [space.name for space in spaces])
        embeddings: Tensor = self.projection(features.decoded)
        return embeddings

    def embed_keys(self, images: Tensor, spaces: Sequence[LabelSpace]) -> Tensor:
        """Embeddings by E_k, without a gradient. Shape: (B, 3, H, W) uint8 to (B, D, h, w)."""
        with images_of(self.key, [space.name for space in spaces]):
            embeddings: Tensor = self.key(self.normalize(images))
        return embeddings

    def union_labels(self, labels: Tensor, spaces: Sequence[LabelSpace], embeddings: Tensor) -> Tensor:
        """Labels of each image's own space as classes of the union, at the resolution of the embeddings.

        Shape: (B, H, W) to (B, h, w).
        """
        size = (embeddings.shape[-2], embeddings.shape[-1])
        places = torch.tensor([self.places[space.name] for space in spaces], device=labels.device)
        return self.tables[places[:, None, None], labels_at(labels, self.network.stride, size, IGNORE)]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.key.follow(PixelEncoder(self.network, self.projection))

    def _contrast(
        self, embeddings: Tensor, labels: Tensor, prototypes: Prototypes, shares: Tensor | None = None
    ) -> LossSum:
        return prototype_contrast(embeddings, labels, prototypes, self.temperature, IGNORE, self.coding, shares)

    def _label_confident(
        self, batch: ViewBatch, keys: Sequence[Tensor], labels: Sequence[Tensor], prototypes: Prototypes
    ) -> None:
        """Fills in the labels of images that have none, in each of the views."""
        if rows := [row for row, space in enumerate(batch.first.spaces) if not len(space)]:
            for key, label in zip(keys, labels, strict=True):
                label[rows] = confident_classes(key[rows], prototypes, self.temperature, self.confidence)

    def _gathered(self, means: ClassMeans, images: int) -> tuple[Tensor, ...]:
        return self.bank.gather(self.bank.pack(means, images), self.summed_over_processes, self.joined_over_processes)

    def _mean(self, loss: LossSum) -> Tensor:
        """Over all processes, so that DDP's average of gradients is that of this mean."""
        return self.world_size * LossSum(loss.total, self.summed_over_processes(loss.weight)).mean

    def _logged(self, parts: Mapping[str, Tensor]) -> Tensor:
        many, loss = self.world_size > 1, torch.stack(list(parts.values())).sum()
        self.log_dict({f"loss/{name}": value.detach() for name, value in parts.items()}, sync_dist=many)
        self.log("loss", loss.detach(), prog_bar=True, sync_dist=many)
        return loss
