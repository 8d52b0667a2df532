"""Batch norms for images of a dataset never trained on: the nearest dataset's, an average, or new statistics.

CDCL leaves it open which norms an unseen dataset should use. What is here works on any network of
`networks.dataset_norm`; new sets join those it has, and are chosen by name like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from multiseg.errors import MultisegError
from multiseg.networks.dataset_norm import add_norms, dataset_norms, images_of, remove_norms, require_norms


@torch.no_grad()
def norm_distances(network: nn.Module, images: Tensor, datasets: Sequence[str]) -> Tensor:
    """How far the statistics of images lie from those of each dataset, where its norms would take them in.

    Each image passes the network once a dataset. At every norm, its mean m and standard deviation s over the pixels of
    a channel are compared with the running μ and σ, as normal distributions whose squared Wasserstein distance is taken
    relative to their size (after Segù, Tonioni, Tombari: "Batch normalization embeddings for deep domain
    generalization", 2021, who compare by that distance):

        d = mean over norms and channels of ((m - μ)² + (s - σ)²) / (s² + σ²)

    A channel that is nearly dead so weighs no more than any other.

    Args:
        network: in evaluation mode.
        images: as the network takes them, normalised.
        datasets: some of `norm_sets`.

    Shape:
        images: (B, 3, H, W); returns: (B, len(datasets)) float32.
    """
    return torch.stack([_distance(network, images, name) for name in datasets], 1)


def _distance(network: nn.Module, images: Tensor, dataset: str) -> Tensor:
    found: list[Tensor] = []

    def compare(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        pixels = inputs[0].float().reshape(*inputs[0].shape[:2], -1)
        variance, mean = torch.var_mean(pixels, 2, correction=0)
        apart = (mean - norm.running_mean).square() + (variance.sqrt() - norm.running_var.sqrt()).square()
        found.append((apart / (variance + norm.running_var + norm.eps)).mean(1))

    with _watched(network, dataset, compare), images_of(network, dataset):
        network(images)
    return torch.stack(found).mean(0)


@torch.no_grad()
def average_norms(network: nn.Module, dataset: str, of: Sequence[str]) -> None:
    """Gives a network the norms of a further dataset: scale and shift averaged over others, and the mean and variance
    that their images have together, each dataset counting the same.

    Raises:
        MultisegError: the network has no norms of one of them.
    """
    for name in of:
        require_norms(network, name)
    add_norms(network, dataset, like=of[0])
    for norm in dataset_norms(network):
        sets: list[Any] = [norm.of_dataset[name] for name in of]
        new: Any = norm.of_dataset[dataset]
        for tensor in ("weight", "bias"):
            if getattr(new, tensor) is not None:
                getattr(new, tensor).copy_(torch.stack([getattr(entry, tensor) for entry in sets]).mean(0))
        if new.running_mean is not None:
            means = torch.stack([entry.running_mean for entry in sets])
            squares = torch.stack([entry.running_var for entry in sets]) + means.square()
            new.running_mean.copy_(means.mean(0))
            new.running_var.copy_(squares.mean(0) - means.mean(0).square())


@torch.no_grad()
def reestimate_norms(network: nn.Module, dataset: str, like: str, batches: Iterable[Tensor]) -> int:
    """Gives a network the norms of a further dataset: scale and shift of another, mean and variance of given images.

    In each batch the images are normalised by their own statistics, as in training; what is kept are mean and variance
    over all pixels of all batches.

    Args:
        network: in evaluation mode; nothing but the new norms' statistics changes.
        dataset: the name of the new norms.
        like: the dataset whose scale and shift are taken.
        batches: of images as the network takes them, (B, 3, H, W); sizes may differ.

    Returns:
        the number of images.

    Raises:
        MultisegError: the network has no norms of `like`, there are no images, or a norm sees a single value of each
            channel. No norms have been added then.
    """
    add_norms(network, dataset, like)
    try:
        return _reestimate(network, dataset, batches)
    except MultisegError:
        remove_norms(network, dataset)
        raise


def _reestimate(network: nn.Module, dataset: str, batches: Iterable[Tensor]) -> int:
    moments: dict[_BatchNorm, Tensor] = {}

    def gather(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        pixels = inputs[0].float().transpose(0, 1).flatten(1)
        if pixels.shape[1] < 2:
            raise MultisegError(
                "a batch norm sees a single value of each channel in one image of its size: re-estimating needs "
                "several images of the same size."
            )
        variance, mean = torch.var_mean(pixels, 1, correction=0)
        # on the host, where there always are doubles: pixels, their sum, the sum of their squares
        of_batch = torch.stack([torch.ones_like(mean), mean, variance + mean.square()]).double().cpu() * pixels.shape[1]
        moments[norm] = moments[norm] + of_batch if norm in moments else of_batch

    seen = 0
    own = [norm.of_dataset[dataset] for norm in dataset_norms(network)]
    with _watched(network, dataset, gather), images_of(network, dataset):
        for norm in own:
            norm.train()
        try:
            for images in batches:
                network(images)
                seen += len(images)
        finally:
            for norm in own:
                norm.eval()
    if not seen:
        raise MultisegError("there are no images to re-estimate batch norms on.")
    for norm, (count, total, squares) in moments.items():
        assert norm.running_mean is not None and norm.running_var is not None
        mean = total / count
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((squares / count - mean.square()).clamp(min=0) * count / (count - 1))
    return seen


@contextmanager
def _watched(
    network: nn.Module, dataset: str, look: Callable[[_BatchNorm, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    """Within it a function sees the inputs of every norm of a dataset."""
    require_norms(network, dataset)
    handles = [norm.of_dataset[dataset].register_forward_pre_hook(look) for norm in dataset_norms(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
