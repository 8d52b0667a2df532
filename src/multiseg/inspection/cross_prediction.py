"""Predicting in the taxonomies of all datasets on the images of each, and counting what is predicted where."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multiseg.datasets import SegmentationDataset
from multiseg.inspection.passing import spread_samples
from multiseg.label_space import LabelSpace
from multiseg.loading.datamodule import default_workers, evaluation_loader
from multiseg.loading.transforms import Pipeline
from multiseg.predictor import Predictor
from multiseg.taxonomy.measured_relations import ClassCounts


def count_predictions(
    predictor: Predictor,
    dataset: SegmentationDataset,
    taxonomies: Sequence[LabelSpace],
    limit: int | None = None,
    batch_size: int = 4,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ClassCounts:
    """How often each class of several taxonomies is predicted where each class of a dataset is labelled.

    Every image is read once and passes the network once. Pixels are counted at the size at which images enter the
    network, where that is smaller than the file: shares are wanted, not outlines.

    Args:
        predictor: of a model that knows the dataset and the taxonomies.
        dataset: whose images to look at.
        taxonomies: in which to predict, the dataset's among them.
        limit: at most so many images, spread evenly over the split; None: all.
        batch_size: images at a time.
        workers: loading processes; None: as in training.
        progress: called with the number of images done so far.
    """
    space, device = dataset.label_space, predictor.device
    counts = {t.name: torch.zeros(len(space) + 1, len(t), dtype=torch.int64, device=device) for t in taxonomies}
    images = torch.zeros(len(space) + 1, dtype=torch.int64, device=device)
    pipeline = Pipeline(long_side=predictor.model.input_size(dataset.name).long_side)
    done = 0
    workers = default_workers() if workers is None else workers
    for batches in evaluation_loader([(spread_samples(dataset, limit), pipeline)], batch_size, workers):
        for batch in batches:
            labels = _at_most(batch.labels, batch.images.shape[-2:]).to(device).long() + 1  # 0 where ignored
            images += torch.stack([torch.bincount(row.flatten(), minlength=len(images)) > 0 for row in labels]).sum(0)
            for name, predicted in predictor.predict_in_all(batch.images, dataset.name, counts).items():
                counts[name] += _pair_counts(labels, _at_most(predicted, labels.shape[-2:]), counts[name].shape)
            done += len(batch)
            if progress:
                progress(done)
    return ClassCounts(
        space, images[1:].cpu().numpy(), {name: matrix[1:].cpu().numpy() for name, matrix in counts.items()}
    )


def _at_most(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Every so many rows and columns, where there are more than wanted. Shape: (B, H, W) to (B, H', W')."""
    for axis, length in ((1, size[0]), (2, size[1])):
        if labels.shape[axis] > length:
            places = (torch.arange(length, device=labels.device) + 0.5) * (labels.shape[axis] / length)
            labels = labels.index_select(axis, places.long())
    return labels


def _pair_counts(rows: Tensor, columns: Tensor, shape: torch.Size) -> Tensor:
    """How often each pair of ids occurs. Shape: two of the same to (K, K')."""
    pairs = (rows * shape[1] + columns).flatten()
    return torch.bincount(pairs, minlength=shape[0] * shape[1]).view(shape)
