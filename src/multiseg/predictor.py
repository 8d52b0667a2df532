"""Using a trained model: predicting images in a taxonomy, and judging it on datasets, seen in training or not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multiseg.batch import Batch, Segments
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import PanopticDataset
from multiseg.errors import MultisegError, did_you_mean
from multiseg.evaluation.flops import count_multiply_adds
from multiseg.evaluation.inference import ClassMaps
from multiseg.evaluation.iou import ConfusionMatrix, Scores, scores
from multiseg.evaluation.panoptic_quality import PanopticQuality, panoptic_scores
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.loading.datamodule import default_workers, evaluation_loader
from multiseg.loading.transforms import Pipeline, ResizeImage
from multiseg.methods.base import Inference
from multiseg.networks.norm_adaptation import norm_distances
from multiseg.precision import autocast_dtype
from multiseg.run_folder import Model, RunFolder, load_model
from multiseg.taxonomy.relations import Remapping


class Predictor:
    """A model on a device.

    Args:
        model: as `load_model` gives it.
        device: by default an accelerator where there is one.
        inference: how to predict; by default as the model was validated.
        sliding: slide a window of the taxonomy's training crop over larger images.

    Attributes:
        norms: where datasets have batch norms of their own, whose to use: a set's name, "nearest" for each image's
            nearest, or None: in evaluation the judged dataset's own, in prediction those of the dataset whose taxonomy
            is predicted. `norm_choice.choose_norms` sets it.
        norms_used: how many images passed which set.

    Raises:
        MultisegError: there is no such device.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str | None = None,
        inference: Inference | None = None,
        sliding: bool = False,
    ) -> None:
        self.sliding = sliding
        try:
            self.device = torch.device(device or best_device())
        except RuntimeError:
            raise MultisegError(f"there is no device '{device}'; valid: cpu, cuda, cuda:1, mps.") from None
        self.model = model
        self.dtype = autocast_dtype(model.precision, self.device.type)
        self.method = model.method.to(self.device).to(memory_format=torch.channels_last)
        self.norms: str | None = None
        self.norms_used: Counter[str] = Counter()
        if inference is not None:
            self.method.inference = inference

    @classmethod
    def from_run(cls, run: RunFolder, **options: Any) -> Predictor:
        return cls(load_model(run), **options)

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return self.method.taxonomies

    def taxonomy(self, name: str | None) -> LabelSpace:
        """A taxonomy by name; None for the only one there is.

        Raises:
            MultisegError: there is none of that name, or none was named and there are several.
        """
        if name is None and len(self.taxonomies) == 1:
            return next(iter(self.taxonomies.values()))
        if name is None:
            raise MultisegError(f"name a taxonomy with --taxonomy; this model has: {', '.join(self.taxonomies)}.")
        if name not in self.taxonomies:
            raise MultisegError(f"this model has no taxonomy '{name}'; {did_you_mean(name, self.taxonomies)}")
        return self.taxonomies[name]

    def predict(self, image: Tensor, taxonomy: str) -> Tensor:
        """
        Args:
            image: (3, H, W) uint8.
            taxonomy: one of `taxonomies`.

        Returns:
            (H, W) int64 contiguous ids of the taxonomy, on the CPU.
        """
        resize = ResizeImage(self.model.input_size(taxonomy).long_side)
        return self._predict(resize(image)[None], image.shape[-2:], taxonomy, taxonomy)[0][0].cpu()

    def predict_segments(self, image: Tensor, taxonomy: str) -> tuple[Tensor, Segments]:
        """The label map, as of `predict`, and the segments, of a model that predicts them.

        Raises:
            MultisegError: it does not, or several views of an image are asked for.
        """
        resize = ResizeImage(self.model.input_size(taxonomy).long_side)
        labels, segments = self._predict(resize(image)[None], image.shape[-2:], taxonomy, taxonomy, segments=True)
        return labels[0].cpu(), segments[0]

    def evaluate(
        self,
        dataset: SegmentationDataset,
        taxonomy: str | None = None,
        remapping: Remapping | None = None,
        pipeline: Pipeline | None = None,
        batch_size: int = 4,
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
        found: Callable[[str, Segments], None] | None = None,
    ) -> Evaluation:
        """Scores on every image of a split, at the size of the files; of a model that predicts segments on a dataset
        that has them, those of the segments, too.

        Args:
            dataset: to be judged on.
            taxonomy: in which to predict; by default the dataset's own.
            remapping: from the taxonomy to the dataset's classes, where they differ.
            pipeline: of the dataset; by default images enter as large as the taxonomy's did in training.
            batch_size: images at a time.
            workers: loading processes; None: as in training.
            progress: called with the number of images of each finished batch.
            found: called with the key of each image and its predicted segments, where segments are judged.

        Raises:
            MultisegError: the model has no such taxonomy, its classes are not the dataset's and no remapping is
                given, or it must be said whose batch norms the images pass.
        """
        predicted = self.taxonomy(taxonomy or dataset.name)
        if remapping is None and predicted.names != dataset.label_space.names:
            raise MultisegError(
                f"the classes of taxonomy '{predicted.name}' are not those of '{dataset.name}': "
                "relate them with --relations."
            )
        self.require_norms(dataset.name)
        pipeline = pipeline or Pipeline(long_side=self.model.input_size(predicted.name).long_side)
        # segments of other classes would first have to be made those of the dataset
        by_segments = self.method.panoptic and remapping is None and isinstance(dataset, PanopticDataset)
        judge = Judge(dataset.label_space, remapping, by_segments, self.device)
        self.norms_used.clear()
        gflops = math.nan
        for batch in split_batches(dataset, pipeline, batch_size, workers, progress):
            on_device = batch.to(self.device)
            size = batch.labels.shape[-2:]
            if math.isnan(gflops):
                gflops = self.gflops(batch.images.shape[-2:], predicted.name)
            labels, segments = self._predict(on_device.images, size, predicted.name, dataset.name, by_segments)
            judge.update(on_device, labels, segments)
            for key, own in zip(batch.keys, segments, strict=False):  # there are none, or one for each
                if found:
                    found(key, own)
        norms = dict(self.norms_used.most_common())
        return Evaluation(dataset.name, dataset.split, predicted.name, judge.unreached, judge.scores(), gflops, norms)

    def require_norms(self, dataset: str) -> None:
        """
        Raises:
            MultisegError: it must be said whose batch norms images of a dataset pass.
        """
        if self.norms is None and self.method.norm_sets and dataset not in self.method.norm_sets:
            raise MultisegError(
                f"the model has batch norms of each training dataset, none of '{dataset}': choose with `norms`."
            )

    @torch.no_grad()
    def class_maps(self, images: Tensor, size: Sequence[int], taxonomy: str, dataset: str) -> ClassMaps:
        """Class probabilities that are not enlarged yet, to be averaged with those of other models.

        Args:
            images: (B, 3, H, W) uint8, as large as they enter the network.
            size: height and width of the output.
            taxonomy: one of `taxonomies`.
            dataset: whose norms to use where `norms` does not say.
        """
        seen_as = self._norms_for(images, dataset)
        self.norms_used.update(seen_as)
        self._set_window(taxonomy)
        with self.precision():
            return self.method.class_maps(images.to(self.device), size, taxonomy, seen_as or None)

    @torch.no_grad()
    def predict_in_all(self, images: Tensor, dataset: str, taxonomies: Iterable[str]) -> dict[str, Tensor]:
        """Label maps in several taxonomies, for which the network runs once.

        Args:
            images: (B, 3, H, W) uint8, as large as the dataset's images enter the network.
            dataset: whose images they are; a sliding window is that of its training.
            taxonomies: some of `taxonomies`.

        Returns:
            for each (B, H, W) int64 contiguous ids, on the device.
        """
        self._set_window(dataset)
        seen_as = self._norms_for(images, dataset) or dataset
        with self.precision():
            return self.method.predict_in_all(images.to(self.device), images.shape[-2:], taxonomies, seen_as)

    def gflops(self, size: Sequence[int], taxonomy: str) -> float:
        """Billions of multiply-adds for an image, with all scales, mirror images and windows. What choosing the nearest
        norms takes is not counted.

        Args:
            size: height and width with which it enters the network.
            taxonomy: one of `taxonomies`.
        """
        image = torch.zeros(1, 3, *size, dtype=torch.uint8)
        any_set = self.method.norm_sets[:1] or None
        return count_multiply_adds(lambda: self._label_maps(image, size, taxonomy, any_set)) / 1e9

    def inputs(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Batches as the network takes them. Shape: (B, 3, H, W) uint8 to float."""
        return (self.method.normalize(batch.to(self.device)) for batch in images)

    def precision(self) -> AbstractContextManager[Any]:
        """Within it the network runs in the precision of predictions."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    @torch.no_grad()
    def _predict(
        self, images: Tensor, size: Any, taxonomy: str, dataset: str, segments: bool = False
    ) -> tuple[Tensor, list[Segments]]:
        """Label maps, and the segments of each image if they are wanted.

        Args:
            images: (B, 3, H, W) uint8.
            size: of the label maps.
            taxonomy: in which to predict.
            dataset: whose norms to use where `norms` does not say.
            segments: whether they are wanted.
        """
        seen_as = self._norms_for(images, dataset)
        self.norms_used.update(seen_as)
        if not segments:
            return self._label_maps(images, size, taxonomy, seen_as or None), []
        with self.precision():
            return self.method.predict_segments(images.to(self.device), size, taxonomy, seen_as or None)

    @torch.no_grad()
    def _label_maps(self, images: Tensor, size: Any, taxonomy: str, seen_as: Sequence[str] | None) -> Tensor:
        self._set_window(taxonomy)
        with self.precision():
            return self.method.predict_labels(images.to(self.device), size, taxonomy, seen_as)

    def _norms_for(self, images: Tensor, dataset: str) -> list[str]:
        """The set of each image; none where all datasets share one."""
        if not self.method.norm_sets:
            return []
        if self.norms != "nearest":
            return [self.norms or dataset] * len(images)
        trained = [name for name in self.method.norm_sets if name in self.method.spaces]
        with self.precision():
            inputs = self.method.normalize(images.to(self.device))
            nearest = norm_distances(self.method.network, inputs, trained).argmin(1)
        return [trained[index] for index in nearest.tolist()]

    def _set_window(self, taxonomy: str) -> None:
        if self.sliding:
            window = self.model.input_size(taxonomy).crop
            self.method.inference = replace(self.method.inference, window=window)


def best_device() -> str:
    """An accelerator where there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on one split of a dataset.

    Args:
        dataset, split: what it was judged on.
        taxonomy: in which it predicted.
        unreached: classes of the dataset for which the taxonomy has no counterpart; their pixels are left out.
        scores: in percent.
        gflops: billions of multiply-adds for an image, with all its scales, mirror images and windows; of the first
            image.
        norms: how many images passed which dataset's batch norms; empty where all share one set.
    """

    dataset: str
    split: str
    taxonomy: str
    unreached: tuple[str, ...]
    scores: Scores
    gflops: float
    norms: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.scores.to_json(),
            "split": self.split,
            "taxonomy": self.taxonomy,
            "unreached": list(self.unreached),
            "GFLOPs": round(self.gflops, 3),
            **({"norms": dict(self.norms)} if self.norms else {}),
        }


def split_batches(
    dataset: SegmentationDataset,
    pipeline: Pipeline,
    batch_size: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """All images of a split once, images of one size together.

    Args:
        dataset: the split.
        pipeline: how large images enter the network.
        batch_size: images at a time.
        workers: loading processes; None: as in training.
        progress: called with the number of images of each batch once it is done with.
    """
    workers = default_workers() if workers is None else workers
    for batches in evaluation_loader([(dataset, pipeline)], batch_size, workers):
        for batch in batches:
            yield batch
            if progress:
                progress(len(batch))


class Judge:
    """Counts what predictions on a dataset are worth.

    Args:
        space: of the dataset.
        remapping: from the predicted classes, where they are not the dataset's.
        by_segments: whether segments are judged, too.
        device: of the predictions.
    """

    def __init__(self, space: LabelSpace, remapping: Remapping | None, by_segments: bool, device: torch.device) -> None:
        self.space = space
        self.unreached = remapping.unreached if remapping else ()
        kept = [IGNORE if name in self.unreached else index for index, name in enumerate(space.names)]
        self.kept = torch.tensor([*kept, IGNORE], device=device)  # the last entry serves IGNORE = -1
        # a predicted class that maps to none becomes an extra column: wrong for every true class
        moved = [len(space) if to == IGNORE else to for to in remapping.table] if remapping else None
        self.moved = None if moved is None else torch.tensor(moved, device=device)
        self.matrix = ConfusionMatrix(len(space) + (moved is not None)).to(device)
        self.quality = PanopticQuality(len(space)) if by_segments else None

    def update(self, batch: Batch, labels: Tensor, segments: Sequence[Segments]) -> None:
        """
        Args:
            batch: the truth.
            labels: predicted, (B, H, W) int64.
            segments: predicted, of each image; none where they are not judged.
        """
        self.matrix.update(labels if self.moved is None else self.moved[labels], self.kept[batch.labels])
        if self.quality is not None:
            for true, predicted in zip(batch.segments, segments, strict=True):
                assert true is not None
                self.quality.update(true, predicted)

    def scores(self) -> Scores:
        counts = self.matrix.compute()
        if counts.shape[0] > len(self.space):
            outside = "(none of them)"  # predictions that map to no class of the dataset
            result = scores(counts, (*self.space.names, outside))
            left_out = (outside, *self.unreached)
            return replace(result, absent=tuple(name for name in result.absent if name not in left_out))
        result = scores(counts, self.space.names)
        if self.quality is None:
            return result
        return replace(result, panoptic=panoptic_scores(self.quality.compute(), self.space))
