"""The mean embedding of each class within each image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClassMeans(NamedTuple):
    """The mean embeddings of U pairs of an image and a class that it shows.

    Args:
        images: (U,) int64, places in the batch; ascending, and within an image the classes ascend.
        classes: (U,) int64.
        means: (U, D) float32.
        pixels: (U,) int64, how many pixels of the image have the class.
    """

    images: Tensor
    classes: Tensor
    means: Tensor
    pixels: Tensor


def pixel_list(maps: Tensor) -> Tensor:
    """A feature map as a list of pixels. Shape: (B, D, h, w) to (B, h·w, D)."""
    return maps.flatten(2).mT


@torch.no_grad()
def class_means(embeddings: Tensor, labels: Tensor, ignore: int) -> ClassMeans:
    """The first step of Eq. 3 of MDP: p_yi, the average of all pixels of image i labelled y.

    Only pairs that occur are kept, so the cost does not depend on how many classes there are.

    Args:
        embeddings: (B, D, h, w), any float type; averaged in float32.
        labels: (B, h, w) int64, or `ignore`.
        ignore: label of the pixels that take no part.
    """
    many = int(labels.max()) + 1 if labels.numel() else 0
    images = torch.arange(len(labels), device=labels.device)[:, None, None]
    valid = labels != ignore
    keys, place, pixels = torch.unique((images * many + labels)[valid], return_inverse=True, return_counts=True)
    vectors = embeddings.movedim(1, -1)[valid]
    sums = vectors.new_zeros((len(keys), embeddings.shape[1]), dtype=_wide(vectors))
    sums.index_add_(0, place, vectors.to(sums.dtype))
    return ClassMeans(keys // max(many, 1), keys % max(many, 1), sums / pixels[:, None], pixels)


@torch.no_grad()
def merge_means(*views: ClassMeans) -> ClassMeans:
    """Several views of the same images as one: a class's embedding is the average over the views that show it."""
    images, classes = (torch.cat([view[field] for view in views]) for field in (0, 1))
    many = int(classes.max()) + 1 if len(classes) else 1
    keys, place, count = torch.unique(images * many + classes, return_inverse=True, return_counts=True)
    means = torch.cat([view.means for view in views])
    sums = means.new_zeros((len(keys), means.shape[1])).index_add_(0, place, means)
    pixels = torch.cat([view.pixels for view in views])
    totals = pixels.new_zeros(len(keys)).index_add_(0, place, pixels)
    return ClassMeans(keys // many, keys % many, sums / count[:, None], totals)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
