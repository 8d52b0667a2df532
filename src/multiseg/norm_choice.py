"""Whose batch norms images pass that the model may never have been trained on: what `--norms` says, done to a model.

A model of dataset-specific batch norms (`networks.dataset_norm`) must be told. There is no default for a dataset it was
not trained on: the wrong set costs more than most mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from multiseg.errors import MultisegError, did_you_mean
from multiseg.networks.norm_adaptation import average_norms, norm_distances, reestimate_norms
from multiseg.predictor import Predictor

NEAREST, AVERAGE, REESTIMATED = "nearest", "average", "reestimated"

#: (B, 3, H, W) uint8, as large as images enter the network.
Images = Callable[[], Iterable[Tensor]]


def choices(datasets: Iterable[str]) -> str:
    """What can be chosen, in words."""
    return f"{', '.join(datasets)}, {NEAREST}, {AVERAGE} or {REESTIMATED}:NAME"


def choose_norms(predictor: Predictor, choice: str, images: Images) -> str:
    """Lets a predictor pass all images through chosen batch norms.

    Args:
        predictor: of the model.
        choice: a training dataset; "nearest": for each image the set whose statistics are nearest its own; "average":
            of all sets; "reestimated:START": scale and shift of START, which is a training dataset, "nearest" or
            "average", with statistics of the given images.
        images: unlabelled, to re-estimate on; only called for that.

    Returns:
        what was done, for people.

    Raises:
        MultisegError: there is no such choice, or the model has one set of norms for all datasets.
    """
    known = trained_sets(predictor)
    if not known:
        raise MultisegError("this model has one set of batch norms for all datasets: --norms has nothing to choose.")
    kind, colon, start = choice.partition(":")
    if kind == REESTIMATED and not start:
        raise MultisegError(
            f"say whose scale and shift to start from: {', '.join(f'{REESTIMATED}:{n}' for n in known)}."
        )
    if colon and kind != REESTIMATED:
        raise MultisegError(f"--norms {choice}: only '{REESTIMATED}' starts from other norms.")
    wanted = start or kind
    if wanted not in (*known, NEAREST, AVERAGE):
        raise MultisegError(
            f"no batch norms '{wanted}'; {did_you_mean(wanted, [*known, NEAREST, AVERAGE, REESTIMATED])}"
        )
    network = predictor.method.network
    if wanted == AVERAGE:
        average_norms(network, AVERAGE, known)
    if kind != REESTIMATED:
        predictor.norms = kind
        return {NEAREST: "those nearest to each image", AVERAGE: f"the average of {', '.join(known)}"}.get(kind, kind)
    told = start
    if start == NEAREST:
        start = nearest_set(predictor, images())
        told = f"{start}, the nearest"
    with predictor.precision():
        count = reestimate_norms(network, REESTIMATED, start, predictor.inputs(images()))
    predictor.norms = REESTIMATED
    return f"re-estimated on {count} images, with scale and shift of {told}"


def trained_sets(predictor: Predictor) -> tuple[str, ...]:
    """The training datasets that have batch norms of their own; none where all share one set."""
    return tuple(name for name in predictor.method.spaces if name in predictor.method.norm_sets)


def nearest_set(predictor: Predictor, images: Iterable[Tensor]) -> str:
    """The training dataset whose batch norms are nearest to images, on average over them."""
    known = trained_sets(predictor)
    with predictor.precision():
        distances = [norm_distances(predictor.method.network, batch, known) for batch in predictor.inputs(images)]
    if not distances:
        raise MultisegError("there are no images to choose batch norms by.")
    return known[int(torch.cat(distances).mean(0).argmin())]
