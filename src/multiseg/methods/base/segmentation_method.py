"""What every method shares: normalisation, cross-entropy training, optimisation, validation, prediction."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from multiseg.batch import Batch, Segments
from multiseg.errors import MultisegError, did_you_mean
from multiseg.evaluation.inference import ClassMaps, Forward, predict_labels, predict_maps
from multiseg.evaluation.iou import ConfusionMatrix, Scores, scores
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.losses.cross_entropy import cross_entropy_sum
from multiseg.networks.dataset_norm import convert_norms, images_of, norm_sets, untouched
from multiseg.networks.segmentation_network import Features, SegmentationNetwork, labels_of_points, upsample
from multiseg.optim.optimizers import OptimizerSpec
from multiseg.optim.schedules import Schedule
from multiseg.taxonomy.relations import Relation


@dataclass(frozen=True)
class Inference:
    """How an image becomes a label map.

    Args:
        scales: of the input; the probabilities of several are averaged.
        flip: average with the mirrored image.
        window: height and width of a sliding window, in pixels of the input; None: the whole image at once.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None


class SegmentationMethod(LightningModule):
    """A network trained on one or many datasets, each image judged in its own dataset's classes.

    A method says which taxonomies it predicts in (`taxonomies`), how features become logits (`classify`) and what a
    dataset's labels are to it (`targets`). Its loss is then the cross-entropy below. A method with another loss of
    pixels overrides `pixel_loss`, one whose loss is no sum over pixels `training_step`.

        L = s · Σ_k (n_k / n) · 1/N_k Σ_{i ∈ labelled pixels of dataset k} -log p_k(y_i | x_i)

    with n_k of the batch's n images and N_k of its labelled pixels from dataset k, both counted over all processes; s
    is 1, or, if `sum_datasets`, the number of datasets: those in the batch times the `turns` of an update, over which
    the trainer averages gradients. Where the decoder is trained at some points of an image (`Hypercolumn`), their mean
    estimates that of the pixels; an image's points are drawn by its seed.

    Args:
        spaces: the label space of each training dataset (linked from the data).
        network: shared by all datasets.
        optimizer, schedule: see there.
        auxiliary_weight: of the auxiliary head's loss, where the network has one (PSPNet: 0.4).
        sum_datasets: sum the losses of an update's datasets, as CDCL does, instead of averaging them: each then moves
            the network as much as it would alone. Batches that the trainer accumulates besides are averaged.
        dataset_norms: give each dataset batch norms of its own, in the whole network (`networks.dataset_norm`).
        inference: in validation and by default in evaluation.

    Attributes:
        turns: batches of different datasets an update; the trainer sets it as the plan of batches says.
        latest_losses: of each dataset, over all processes.

    Raises:
        MultisegError: a dataset has no labels, and the method does not learn from such.
    """

    turns: int = 1
    #: What training images are cut into, so of which class a batch is: "crops" (`Batch`), "views" (`ViewBatch`),
    #: "patches" (`PatchBatch`), "tiles" (`TileBatch`).
    trains_on: str = "crops"
    #: Whether datasets without labels may take part.
    unlabelled_welcome: bool = False
    #: Whether `add_taxonomy` works.
    open_vocabulary: bool = False
    #: Whether it predicts segments besides classes, and is judged by them.
    panoptic: bool = False
    #: What the best checkpoint is best in.
    best_by: str = "val/mIoU"
    #: How the names of those tensors begin that a trained model can do without.
    training_only: tuple[str, ...] = ()

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        optimizer: OptimizerSpec,
        schedule: Schedule,
        auxiliary_weight: float = 0.4,
        sum_datasets: bool = False,
        dataset_norms: bool = False,
        inference: Inference = Inference(),
    ) -> None:
        super().__init__()
        self.spaces = {space.name: space for space in spaces}
        if (unlabelled := [space.name for space in spaces if not len(space)]) and not self.unlabelled_welcome:
            raise MultisegError(
                f"{type(self).__name__} learns from labels, and the dataset '{unlabelled[0]}' has none."
            )
        self.network = convert_norms(network, list(self.spaces)) if dataset_norms else network
        self.optimizer_spec = optimizer
        self.schedule = schedule
        self.auxiliary_weight = auxiliary_weight
        self.sum_datasets = sum_datasets
        self.inference = inference
        self.mean: Tensor
        self.std: Tensor
        # saved with the weights: a model must not depend on what a later timm thinks of its normalisation
        self.register_buffer("mean", torch.tensor(network.mean).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(network.std).view(3, 1, 1) * 255)
        self.latest_losses: dict[str, Tensor] = {}
        self._turns_taken: list[tuple[Tensor, Mapping[str, float]]] = []  # losses and shares since the last update
        self.matrices: dict[str, ConfusionMatrix] = {}  # plain: scores are no part of the model

    # What a method defines

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        """The label spaces in which it can predict, by name. A training dataset among them is evaluated."""
        return self.spaces

    @property
    def compilable(self) -> list[nn.Module]:
        """The modules that torch.compile is worth its time for."""
        return [self.network]

    def known_relations(self) -> list[Relation]:
        """How the classes of taxonomies that are no dataset's relate to those of the training datasets."""
        return []

    @abstractmethod
    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        """Logits of some of the images in a taxonomy's classes: the main head's, then, in training, the auxiliary
        head's. In prediction the softmax of the main head's is what the method believes of each class, whatever it
        computes its scores by: views and models are averaged as such probabilities.

        Shape: (len(rows), K, h, w) each.
        """

    def targets(self, labels: Tensor, dataset: str) -> Tensor:
        """A dataset's labels as the method learns them. Shape: (B, H, W) int64 to the same."""
        return labels

    def pixel_loss(self, logits: Tensor, labels: Tensor, dataset: str) -> Tensor:
        """The sum of the losses of a dataset's labelled pixels; each -log p(y | x) here.

        Args:
            logits: (B, K, H, W) float32 of `classify`, enlarged to the size of the labels. Where the decoder is trained
                at points, these stand in a row: H is 1.
            labels: (B, H, W) int64 of `targets`, with `IGNORE`.
            dataset: whose images they are.

        Returns:
            (); zero, still on the graph, where nothing is labelled.
        """
        return cross_entropy_sum(logits, labels, IGNORE)

    def add_taxonomy(self, space: LabelSpace, names: Mapping[str, Sequence[str]] | None = None) -> None:
        """Predict in the classes of a label space that was not trained on, known by their names alone.

        Args:
            space: becomes one of `taxonomies`.
            names: what to call a class, where that is not its name in the space.

        Raises:
            MultisegError: the method knows nothing of names; see `open_vocabulary`.
        """
        raise MultisegError(
            f"{type(self).__name__} predicts in the classes it was trained on; LMSeg understands any words."
        )

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        rows_of = batch.rows_of()
        labels = {name: self.targets(batch.labels[rows_of.get(name, [])], name) for name in self.spaces}
        images, pixels = self._global_counts(labels)
        present = [name for name in self.spaces if images[name]]
        inputs = self.normalize(batch.images, batch.padding if batch.padded else None)
        points = self.network.draw_points(inputs, batch.seeds)
        drawn: dict[str, Tensor] = {}
        if points is not None:
            drawn = {name: labels_of_points(own, points[rows_of.get(name, [])]) for name, own in labels.items()}
            labelled_points = self._global_counts(drawn)[1]
        features = self.features(inputs, [space.name for space in batch.spaces], elsewhere=present, points=points)
        losses: dict[str, Tensor] = {}
        for name in self.spaces:
            # A dataset absent from this process takes part with no image: its classifier gets a zero gradient, not
            # none, so that DDP finds every parameter used and one process does the same as many.
            main, *auxiliary = self.classify(features, name, rows_of.get(name, []))
            if points is None:
                loss = self._enlarged_loss(main, labels[name], name, self.network.stride)
            else:  # each labelled point stands for as many labelled pixels
                weight = pixels[name] / labelled_points[name].clamp(min=1)
                loss = weight * self.pixel_loss(main.float(), drawn[name], name)
            for logits in auxiliary:
                second = self._enlarged_loss(logits, labels[name], name, self.network.auxiliary_stride)
                loss = loss + self.auxiliary_weight * second
            losses[name] = loss / pixels[name].clamp(min=1)
        return self.total_loss(losses, images, batch, batch_idx)

    def total_loss(
        self, losses: Mapping[str, Tensor], images: Mapping[str, int], batch: Batch, batch_idx: int
    ) -> Tensor:
        """What to differentiate, s · Σ_k (n_k / n) L_k; logs it.

        Args:
            losses: this process's part of L_k for each dataset: the sum over its own images, over the normaliser of
                all processes.
            images: n_k, over all processes.
            batch: of the step.
            batch_idx: its number.
        """
        present = [name for name in self.spaces if images[name]]
        shares = {name: count / sum(images.values()) for name, count in images.items()}
        self._log_losses({name: losses[name].detach() for name in present}, shares, batch_idx)
        scale = len(present) * self.turns if self.sum_datasets else 1
        # DDP averages gradients over processes; the normalisers are global, so the sum is wanted
        loss = scale * self.world_size * torch.stack([shares[name] * loss for name, loss in losses.items()]).sum()
        if (batch_idx + 1) % self.turns:  # gradients are summed over the turns, and synchronised after the last
            return loss
        norms = untouched(self.network, batch.rows_of())
        return loss if norms is None else loss + norms

    def features(
        self,
        inputs: Tensor,
        datasets: str | Sequence[str],
        elsewhere: Iterable[str] = (),
        points: Tensor | None = None,
    ) -> Features:
        """What the network makes of images.

        Args:
            inputs: (B, 3, H, W) of `normalize`.
            datasets: whose images they are, in training for each of them. Where all datasets share their norms, it
                does not matter.
            elsewhere: datasets of which only other processes may have images in this batch.
            points: of the network's `draw_points`; None: the whole map.
        """
        with images_of(self.network, datasets, elsewhere):
            features: Features = self.network(inputs, points)
        return features

    def _enlarged_loss(self, logits: Tensor, labels: Tensor, dataset: str, stride: int) -> Tensor:
        height, width = labels.shape[-2:]
        return self.pixel_loss(upsample(logits.float(), stride, (height, width)), labels, dataset)

    def _global_counts(self, labels: Mapping[str, Tensor]) -> tuple[dict[str, int], dict[str, Tensor]]:
        """Images, and labelled pixels as () tensors, of each dataset in the batches of all processes."""
        images = [len(entry) for entry in labels.values()]
        pixels = torch.stack([(entry != IGNORE).sum() for entry in labels.values()])
        if self.world_size > 1:
            both = torch.cat([torch.tensor(images, device=pixels.device), pixels])
            dist.all_reduce(both)
            images, pixels = both[: len(images)].tolist(), both[len(images) :]
        return dict(zip(labels, images, strict=True)), dict(zip(labels, pixels, strict=True))

    def _log_losses(self, losses: Mapping[str, Tensor], shares: Mapping[str, float], batch_idx: int) -> None:
        """Log the losses of the datasets, over all processes, and their shares of the images; where datasets take turns
        in an update, once all have had theirs. A dataset that had no image shows the loss it had last.
        """
        values = torch.stack([losses[name] if name in losses else self.mean.new_zeros(()) for name in self.spaces])
        if self.world_size > 1:
            dist.all_reduce(values)
        self.latest_losses |= {name: value for name, value in zip(self.spaces, values, strict=True) if shares[name]}
        turn = batch_idx % self.turns
        self._turns_taken = [*self._turns_taken[:turn], (values, shares)]
        if turn + 1 < self.turns:
            return
        many = len(self.spaces) > 4
        for name, value in self.latest_losses.items():
            self.log(f"loss/{name}", value, prog_bar=not many)
        of_all = [[share[name] for name in self.spaces] for _, share in self._turns_taken]
        self.log_dict({f"share/{name}": sum(own) / self.turns for name, *own in zip(self.spaces, *of_all, strict=True)})
        weights = torch.tensor(of_all, device=values.device)
        total = (weights * torch.stack([value for value, _ in self._turns_taken])).sum() / self.turns
        self.log("loss", total, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """With what a resumed run's log would lack."""
        checkpoint["latest_losses"] = {name: loss.item() for name, loss in self.latest_losses.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        losses = checkpoint.get("latest_losses", {})
        self.latest_losses = {name: torch.tensor(loss, device=self.device) for name, loss in losses.items()}

    @property
    def world_size(self) -> int:
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def summed_over_processes(self, tensor: Tensor) -> Tensor:
        """The sum of what every process has; no gradient passes."""
        out = tensor.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(out)
        return out

    def joined_over_processes(self, rows: Tensor) -> Tensor:
        """A row an image, of all processes, in the order of the global batch; no gradient passes.

        Args:
            rows: (B, …), as many in each process.

        Returns:
            (world_size · B, …).
        """
        if self.world_size == 1:
            return rows.detach()
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.stack(parts, 1).flatten(0, 1)  # each process has every so many-th image

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer_spec.build(self)
        scheduler = LambdaLR(optimizer, partial(self.schedule, total=self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def trained_state(self) -> dict[str, Tensor]:
        """What a trained model needs: the state without what only training does."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(self.training_only)}

    def load_trained(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `trained_state` gave.

        Raises:
            RuntimeError: a tensor is missing, or too many, or of another shape.
        """
        kept = {name: value for name, value in self.state_dict().items() if name.startswith(self.training_only)}
        self.load_state_dict({**kept, **state})

    # Prediction

    def normalize(self, images: Tensor, padding: Tensor | None = None) -> Tensor:
        """Pixels to network input; padding becomes exactly zero. Shape: (B, 3, H, W) uint8 to float."""
        normal = ((images.float() - self.mean) / self.std).to(memory_format=torch.channels_last)
        return normal if padding is None else normal.masked_fill(padding[:, None].to(normal.device), 0.0)

    @property
    def norm_sets(self) -> tuple[str, ...]:
        """The datasets with batch norms of their own; none where all share the same."""
        return norm_sets(self.network)

    def logits(self, images: Tensor, taxonomy: str, seen_as: str | Sequence[str] | None = None) -> Tensor:
        """
        Args:
            images: (B, 3, H, W) uint8.
            taxonomy: one of `taxonomies`.
            seen_as: one of `norm_sets` for all images or for each, where there are any: whose batch norms they pass. By
                default those of the dataset whose taxonomy it is; a union of several has none.

        Returns:
            (B, K, h, w) logits at the network's stride.
        """
        return self._logits(self.normalize(images), taxonomy, seen_as)

    def _logits(self, inputs: Tensor, taxonomy: str, seen_as: str | Sequence[str] | None) -> Tensor:
        return self.classify(self.features(inputs, seen_as or taxonomy), taxonomy, range(len(inputs)))[0]

    def predict_labels(
        self, images: Tensor, size: Sequence[int], taxonomy: str, seen_as: str | Sequence[str] | None = None
    ) -> Tensor:
        """Label maps of a given size, where `probabilities` are largest; see `logits`.

        Shape: (B, 3, h, w) uint8 to (B, H, W) int64.
        """
        return self._label_maps(lambda inputs: self._logits(inputs, taxonomy, seen_as), images, size, taxonomy)

    def probabilities(
        self, images: Tensor, size: Sequence[int], taxonomy: str, seen_as: str | Sequence[str] | None = None
    ) -> Tensor:
        """Class probabilities at a given size, averaged over scales, mirror images and windows; see `logits`. They take
        memory: `class_maps` holds the same without enlarging it.

        Shape: (B, 3, h, w) uint8 to (B, K, H, W) float32.
        """
        return self.class_maps(images, size, taxonomy, seen_as).probabilities()

    def class_maps(
        self, images: Tensor, size: Sequence[int], taxonomy: str, seen_as: str | Sequence[str] | None = None
    ) -> ClassMaps:
        """`probabilities` that are not enlarged yet, to be averaged with those of other models."""

        def logits(inputs: Tensor) -> Tensor:
            return self._logits(inputs, taxonomy, seen_as)

        return predict_maps(logits, self.normalize(images), _pair(size), **self._options(taxonomy))

    def predict_segments(
        self, images: Tensor, size: Sequence[int], taxonomy: str, seen_as: str | Sequence[str] | None = None
    ) -> tuple[Tensor, list[Segments]]:
        """Label maps and the segments of each image, where the method is `panoptic`; see `predict_labels`."""
        raise MultisegError(f"{type(self).__name__} predicts no segments.")

    def predict_in_all(
        self, images: Tensor, size: Sequence[int], taxonomies: Iterable[str], seen_as: str | Sequence[str]
    ) -> dict[str, Tensor]:
        """Label maps of a given size in several taxonomies, for which the network runs once; see `logits`.

        Shape: images (B, 3, h, w) uint8; each of the maps (B, H, W) int64.
        """
        passes: list[Features] = []

        def predict(taxonomy: str) -> Tensor:
            earlier = iter(tuple(passes))  # scales, mirror images and windows come in the same order each time

            def logits(inputs: Tensor) -> Tensor:
                features = next(earlier, None)
                if features is None:
                    features = self.features(inputs, seen_as)
                    passes.append(features)
                return self.classify(features, taxonomy, range(len(inputs)))[0]

            return self._label_maps(logits, images, size, taxonomy)

        return {taxonomy: predict(taxonomy) for taxonomy in taxonomies}

    def _label_maps(self, forward: Forward, images: Tensor, size: Sequence[int], taxonomy: str) -> Tensor:
        return predict_labels(forward, self.normalize(images), _pair(size), **self._options(taxonomy))

    def _options(self, taxonomy: str) -> dict[str, Any]:
        """How to predict in a taxonomy."""
        if taxonomy not in self.taxonomies:
            raise MultisegError(f"this model has no taxonomy '{taxonomy}'; {did_you_mean(taxonomy, self.taxonomies)}")
        inference = self.inference
        return {
            "scales": inference.scales,
            "flip": inference.flip,
            "window": inference.window,
            "stride": self.network.stride,
        }

    # Validation

    def on_validation_epoch_start(self) -> None:
        self.matrices = {
            name: ConfusionMatrix(len(space)).to(self.device)
            for name, space in self.spaces.items()
            if name in self.taxonomies
        }

    def validation_step(self, batches: list[Batch], batch_idx: int) -> None:
        for batch in batches:
            name = batch.spaces[0].name
            if name in self.matrices:
                predictions = self.predict_labels(batch.images, batch.labels.shape[-2:], name)
                self.matrices[name].update(predictions, batch.labels)

    def on_validation_epoch_end(self) -> None:
        results = self.results()
        for name, result in results.items():
            self.log(f"val/{name}/mIoU", result.miou, prog_bar=len(results) <= 4)
            self.log(f"val/{name}/pixel_accuracy", result.pixel_accuracy)
        known = [result.miou for result in results.values() if not math.isnan(result.miou)]
        self.log("val/mIoU", sum(known) / len(known) if known else math.nan)

    def proxy_scores(self) -> dict[str, dict[str, float]]:
        """By dataset, what the last validation found where a method is judged by something else than classes."""
        return {}

    def results(self) -> dict[str, Scores]:
        """The scores of the last validation, by dataset."""
        return {name: scores(matrix.compute(), self.spaces[name].names) for name, matrix in self.matrices.items()}


def _pair(size: Sequence[int]) -> tuple[int, int]:
    return int(size[0]), int(size[1])
