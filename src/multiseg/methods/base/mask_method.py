"""What methods of mask classification share: queries matched to segments, their losses, and predictions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from multiseg.batch import Batch, Segments
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import Scores
from multiseg.evaluation.panoptic_inference import PanopticThresholds, segments_from_queries
from multiseg.evaluation.panoptic_quality import PanopticQuality, panoptic_scores
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.losses.base import MaskTargets
from multiseg.losses.mask_losses import mask_losses
from multiseg.losses.mask_matching import assign_queries, matching_cost
from multiseg.methods.base.segmentation_method import SegmentationMethod
from multiseg.networks.mask_decoder import MaskDecoder, MaskDecoderSettings, MaskQueries, Words
from multiseg.networks.segmentation_network import Features, SegmentationNetwork, labels_at

#: Smallest probability that has a logarithm here; below it, which class is likeliest no longer matters.
_LEAST = 1e-8


class MaskMethod(SegmentationMethod):
    """Mask classification (MaskFormer, Cheng et al., NeurIPS 2021) with images of many datasets in a batch.

    N queries become N masks, each with a class or none. A segment of the truth, in semantic segmentation all pixels of
    a class and in panoptic segmentation a thing or all of a stuff class, is matched to one of them (LMSeg, Eqs. 4 and
    5), after each layer of the decoder anew, and the loss is over layers, images b and datasets k (Eq. 3)

        L = s · Σ_k (n_k / n) · Σ_layers [ 1/W_k Σ_b L_cl + 1/M_k Σ_b (λ_focal L_focal + λ_dice L_dice) ],

    L_cl the cross-entropy of every query's class, "no object" weighted by 0.1, W_k the sum of these weights and M_k the
    number of matched segments in dataset k's images of all processes, n_k their number, s as in `SegmentationMethod`.
    With one dataset that is MaskFormer's loss. Masks and truth meet at the stride of the mask features, where the
    labels are those at the centres of the cells; ignored pixels and padding count nowhere, nor do crowds. Of more
    segments than queries the largest are learnt, and the pixels of the others ignored.

    A subclass says how queries are classified (`class_logits`), and what words they see (`words`).

    Args:
        spaces, network, **common: see `SegmentationMethod`. The network has no auxiliary head.
        mask_decoder: the transformer.
        panoptic: learn the segments of datasets that have them, and be judged by them; else classes only.
        focal_weight, dice_weight: λ_focal and λ_dice, in the loss and in the matching cost.
        no_object_weight: of "no object" in L_cl.
        thresholds: of panoptic predictions.
        own_thresholds: of the datasets, by name, that want others.
        guided: queries attend to `words`; for methods that have any.

    Raises:
        MultisegError: the network has an auxiliary head, a weight is not positive, or thresholds are those of no
            dataset.
    """

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        mask_decoder: MaskDecoderSettings = MaskDecoderSettings(),  # noqa: B008  (frozen)
        panoptic: bool = False,
        focal_weight: float = 20.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
        thresholds: PanopticThresholds = PanopticThresholds(),  # noqa: B008  (frozen)
        own_thresholds: dict[str, PanopticThresholds] | None = None,
        guided: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        if network.auxiliary is not None:
            raise MultisegError("mask classification has no auxiliary head: set method.network.auxiliary to null.")
        if guided and type(self).words is MaskMethod.words:
            raise MultisegError(f"{type(self).__name__} has no words to guide queries by: leave `guided` out.")
        self.mask_decoder = MaskDecoder(network.backbone.channels[-1], network.channels, mask_decoder, guided)
        self.width, self.queries = mask_decoder.width, mask_decoder.queries
        self.panoptic = panoptic
        self.focal_weight, self.dice_weight, self.no_object_weight = focal_weight, dice_weight, no_object_weight
        self.thresholds, self.own_thresholds = thresholds, own_thresholds or {}
        for name in self.own_thresholds:
            if name not in self.spaces:
                raise MultisegError(f"own_thresholds names '{name}', which is none of the datasets.")
        if min(no_object_weight, focal_weight, dice_weight) <= 0:
            raise MultisegError("the weights of no object, of the focal and of the dice loss must be positive.")
        self.best_by = "val/PQ" if panoptic else "val/mIoU"
        self.qualities: dict[str, PanopticQuality] = {}

    # What a method defines

    @abstractmethod
    def class_logits(self, queries: Tensor, datasets: Sequence[str], words: Words | None) -> Tensor:
        """The class of each query, in the classes of each image's dataset.

        Args:
            queries: (L, B, N, width).
            datasets: of the B images; in prediction B times a taxonomy.
            words: of `words`.

        Returns:
            (L, B, N, K + 1), K the most classes any of the datasets has, -inf for classes beyond a dataset's own, and
            "no object" last. In training every parameter must take part, whatever datasets there are.
        """

    def words(self, datasets: Sequence[str]) -> Words | None:
        """What the queries of each image can attend to; None where the decoder is not guided."""
        return None

    def target_classes(self, dataset: str) -> int:
        """How many classes there are among the `targets` of a dataset."""
        return len(self.spaces[dataset])

    @property
    def compilable(self) -> list[nn.Module]:
        return [self.network, self.mask_decoder]

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        datasets = [space.name for space in batch.spaces]
        targets = self.mask_targets(batch)
        images, segments, weights = self._counts(targets, datasets)
        padding = batch.padding.to(self.device) if batch.padded else None
        present = [name for name in self.spaces if images[name]]
        features = self.features(self.normalize(batch.images, padding), datasets, elsewhere=present)
        words = self.words(datasets)
        queries = self.mask_decoder(features, words, padding, every_layer=True)
        of_classes, of_masks = self.image_losses(
            features, queries, self.class_logits(queries.classes, datasets, words), targets
        )
        losses = {}
        for name in self.spaces:
            rows = [row for row, dataset in enumerate(datasets) if dataset == name]
            losses[name] = of_classes[rows].sum() / weights[name] + of_masks[rows].sum() / segments[name]
        return self.total_loss(losses, images, batch, batch_idx)

    def image_losses(
        self, features: Features, queries: MaskQueries, class_logits: Tensor, targets: MaskTargets
    ) -> tuple[Tensor, Tensor]:
        """Two sums for each image, over all layers: of queries' weighted class losses, and of segments' mask losses.

        Only the matched masks are made with a gradient: of 100 queries those of the image's ten or twenty segments.

        Shape: (B,) each.
        """
        matched = self.match(features, queries, class_logits, targets)
        layers, batch, count, classes = class_logits.shape
        # the class of each query: "no object", or that of its segment; the extra column takes what is no segment
        truth = torch.full((layers, batch, count + 1), classes - 1, device=matched.device)
        place = torch.where(targets.present, matched, count)
        truth = truth.scatter(2, place, targets.classes.expand(layers, -1, -1))[..., :count]
        losses = F.cross_entropy(class_logits.float().flatten(0, 2), truth.flatten(), reduction="none")
        weights = torch.where(truth == classes - 1, self.no_object_weight, 1.0)
        of_classes = (losses.view_as(truth) * weights).sum((0, 2))
        # (L, B, T, D) · (B, D, h, w) -> (L, B, T, h, w)
        projections = queries.masks.gather(2, matched[..., None].expand(-1, -1, -1, queries.masks.shape[-1]))
        masks = torch.einsum("lbtd,bdhw->lbthw", projections, features.decoded)
        focal, dice = mask_losses(masks, targets)
        return of_classes, (self.focal_weight * focal + self.dice_weight * dice).sum((0, 2))

    @torch.no_grad()
    def match(self, features: Features, queries: MaskQueries, class_logits: Tensor, targets: MaskTargets) -> Tensor:
        """The query of each segment after each layer. Shape: (L, B, T) int64."""
        costs = [
            matching_cost(
                classes,
                queries.mask_logits(layer, features),
                targets,
                focal_weight=self.focal_weight,
                dice_weight=self.dice_weight,
            )
            for layer, classes in enumerate(class_logits)
        ]
        return assign_queries(torch.stack(costs), targets)

    def mask_targets(self, batch: Batch) -> MaskTargets:
        """The segments of every image at the stride of the mask features, with classes as the method learns them."""
        stride, coarsest = self.network.stride, self.network.backbone.strides[-1]
        height, width = (-(-length // coarsest) * coarsest // stride for length in batch.images.shape[-2:])
        segments = batch.segments if self.panoptic and batch.segments else [None] * len(batch)
        ids, classes = [], []
        for labels, own, space in zip(batch.labels, segments, batch.spaces, strict=True):
            if own is None:
                here = self.targets(labels_at(labels, stride, (height, width), IGNORE), space.name)
                known = torch.arange(self.target_classes(space.name))
            else:
                here = labels_at(own.ids.as_subclass(Tensor).long(), stride, (height, width), IGNORE)
                known = self.targets(own.classes.to(self.device), space.name).cpu().masked_fill(own.crowd, IGNORE)
            ids.append(here.to(self.device))
            classes.append(known.to(self.device))
        padded = pad_sequence(classes, batch_first=True, padding_value=IGNORE)
        return MaskTargets.of(torch.stack(ids), padded, self.queries)

    def _counts(
        self, targets: MaskTargets, datasets: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, Tensor], dict[str, Tensor]]:
        """Of each dataset, over all processes: images, segments (at least 1), and weights of its queries' classes."""
        matched = targets.present.sum(1).float()
        weights = matched + self.no_object_weight * (self.queries - matched)
        each = torch.stack([torch.ones_like(matched), matched, weights])
        member = torch.tensor([[name == dataset for name in self.spaces] for dataset in datasets], device=each.device)
        images, segments, weights = self.summed_over_processes(each @ member.float())
        return (
            {name: round(count) for name, count in zip(self.spaces, images.tolist(), strict=True)},
            dict(zip(self.spaces, segments.clamp(min=1), strict=True)),
            dict(zip(self.spaces, weights.clamp(min=self.no_object_weight), strict=True)),
        )

    # Prediction

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        """Logarithms of Σ_q p_q(class) σ(mask_q), the score of each class at each pixel. Queries overlap and may be of
        no object, so scores sum to anything; softmax makes them probabilities, each its share of the sum.
        """
        probabilities, masks = self.segment_queries(features, taxonomy, rows)
        scores = torch.einsum("bnk,bnhw->bkhw", probabilities[..., :-1], masks.sigmoid())
        return [scores.clamp(min=_LEAST).log()]

    def segment_queries(self, features: Features, taxonomy: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Probabilities of the taxonomy's classes, (B, N, K + 1) with "no object" last, and logits of the masks,
        (B, N, h, w), both float32.
        """
        if list(rows) != list(range(len(features.decoded))):
            chosen = list(rows)
            features = Features(features.decoded[chosen], None, [level[chosen] for level in features.pyramid])
        datasets = [taxonomy] * len(features.decoded)
        words = self.words(datasets)
        queries = self.mask_decoder(features, words)
        probabilities = self.class_logits(queries.classes, datasets, words)[0].float().softmax(-1)
        return probabilities, queries.mask_logits(0, features).float()

    def predict_segments(
        self, images: Tensor, size: Sequence[int], taxonomy: str, seen_as: str | Sequence[str] | None = None
    ) -> tuple[Tensor, list[Segments]]:
        """Label maps, and the segments of each image by MaskFormer's rule, for which the network runs once.

        Raises:
            MultisegError: several views of an image are asked for, whose segments nothing relates.
        """
        if self.inference.flip or self.inference.window or tuple(self.inference.scales) != (1.0,):
            raise MultisegError("panoptic predictions are made from one view of an image: no scales, flip or sliding.")
        features = self.features(self.normalize(images), seen_as or taxonomy)

        def logits(inputs: Tensor) -> Tensor:
            return self.classify(features, taxonomy, range(len(inputs)))[0]

        labels = self._label_maps(logits, images, size, taxonomy)
        return labels, self._segments(features, images, size, taxonomy)

    def _segments(self, features: Features, images: Tensor, size: Sequence[int], taxonomy: str) -> list[Segments]:
        probabilities, masks = self.segment_queries(features, taxonomy, range(len(images)))
        stride = self.network.stride
        covered = [length / (cells * stride) for length, cells in zip(images.shape[-2:], masks.shape[-2:], strict=True)]
        return [
            segments_from_queries(
                classes,
                logits,
                (int(size[0]), int(size[1])),
                self.taxonomies[taxonomy].things,
                self.own_thresholds.get(taxonomy, self.thresholds),
                (covered[0], covered[1]),
            )
            for classes, logits in zip(probabilities, masks, strict=True)
        ]

    # Validation

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self.panoptic:
            self.qualities = {name: PanopticQuality(len(space)).to(self.device) for name, space in self.spaces.items()}

    def validation_step(self, batches: list[Batch], batch_idx: int) -> None:
        for batch in batches:
            name = batch.spaces[0].name
            truth = [segments for segments in batch.segments if segments is not None]
            if not (self.panoptic and truth):
                super().validation_step([batch], batch_idx)
                continue
            labels, segments = self.predict_segments(batch.images, batch.labels.shape[-2:], name)
            self.matrices[name].update(labels, batch.labels)
            for true, predicted in zip(truth, segments, strict=True):
                self.qualities[name].update(true, predicted)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        found = {name: scores.panoptic for name, scores in self.results().items() if scores.panoptic}
        for name, scores in found.items():
            self.log(f"val/{name}/PQ", scores.all.pq, prog_bar=len(found) <= 4)
        if self.panoptic:
            self.log("val/PQ", sum(scores.all.pq for scores in found.values()) / len(found) if found else math.nan)

    def results(self) -> dict[str, Scores]:
        """The scores of the last validation, by dataset; where there were segments, with panoptic quality."""
        plain: Mapping[str, Scores] = super().results()
        # not by `compute`, which warns of datasets that have no segments
        judged = {name: self.summed_over_processes(quality.sums) for name, quality in self.qualities.items()}
        return {
            name: replace(scores, panoptic=panoptic_scores(judged[name], self.spaces[name]))
            if name in judged and judged[name].any()
            else scores
            for name, scores in plain.items()
        }
