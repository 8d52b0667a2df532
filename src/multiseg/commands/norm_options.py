"""What `--norms` and `--norm-images` of `evaluate` and `predict` say."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Subset

from multiseg.commands.image_files import image_files
from multiseg.console import say
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import read_image
from multiseg.errors import MultisegError
from multiseg.inspection.passing import evenly_spread
from multiseg.loading.datamodule import default_workers, evaluation_loader
from multiseg.loading.transforms import Pipeline, ResizeImage
from multiseg.norm_choice import Images, choices, choose_norms, trained_sets
from multiseg.predictor import Predictor

#: Unlabelled images on which batch norms are re-estimated or chosen, and how many at a time.
_UNLABELLED, _UNLABELLED_BATCH = 256, 8


def choose_norms_for(
    predictor: Predictor, dataset: SegmentationDataset, choice: str | None, unlabelled: Images
) -> None:
    """Whose batch norms the images of a dataset pass, said aloud unless they are its own. Never chosen silently.

    Raises:
        MultisegError: the model was not trained on the dataset, and no norms are named.
    """
    known = trained_sets(predictor)
    if choice is None and dataset.name not in known:
        raise MultisegError(
            f"the model has batch norms of each training dataset, none of '{dataset.name}': say with --norms whose its "
            f"images pass ({choices(known)})."
        )
    told = choose_norms(predictor, choice or dataset.name, unlabelled)
    if choice is not None:
        say(f"{dataset.name}: batch norms are {told}.")


def dataset_images(dataset: SegmentationDataset, long_side: int | None) -> Images:
    """Images of a split, evenly spread, in batches of one size each."""
    chosen = cast(SegmentationDataset, Subset(dataset, evenly_spread(len(dataset), _UNLABELLED)))

    def read() -> Iterator[Tensor]:
        loader = evaluation_loader([(chosen, Pipeline(long_side=long_side))], _UNLABELLED_BATCH, default_workers())
        return (batch.images for batches in loader for batch in batches)

    return read


def given_images(given: Namespace, long_side: int | None) -> Images:
    """The images of --norm-images, evenly spread, in batches of one size each.

    Raises:
        MultisegError: there are none.
    """
    files = image_files(given.norm_images or given.images)
    chosen = [files[index] for index in evenly_spread(len(files), _UNLABELLED)]
    resize = ResizeImage(long_side)

    def read() -> Iterator[Tensor]:
        by_size: dict[tuple[int, ...], list[Tensor]] = {}
        for image in (resize(read_image(file)).as_subclass(Tensor) for file in chosen):
            waiting = by_size.setdefault(tuple(image.shape), [])
            waiting.append(image)
            if len(waiting) == _UNLABELLED_BATCH:
                yield torch.stack(waiting)
                waiting.clear()
        yield from (torch.stack(waiting) for waiting in by_size.values() if waiting)

    return read
