"""What `--norms` and `--norm-images` of `evaluate` and `predict` say."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from multiseg.commands.image_files import image_files
from multiseg.console import say
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import read_image
from multiseg.errors import MultisegError
from multiseg.inspection.passing import evenly_spread, spread_samples
from multiseg.loading.datamodule import default_workers, evaluation_loader
from multiseg.loading.transforms import Pipeline, ResizeImage
from multiseg.norm_choice import REESTIMATED, Images, choices, choose_norms, trained_sets
from multiseg.predictor import Predictor

#: Unlabelled images on which batch norms are re-estimated or chosen, and how many at a time.
_UNLABELLED, _UNLABELLED_BATCH = 256, 8


def apply_norms(predictor: Predictor, own: str, what: str, given: Namespace, unlabelled: Images) -> None:
    """Whose batch norms images pass, said aloud unless they are a dataset's own. Never chosen silently.

    Args:
        predictor: of the model.
        own: the dataset whose norms they pass where `--norms` does not say.
        what: passes them, for messages.
        given: the command line.
        unlabelled: images to re-estimate on.

    Raises:
        MultisegError: the model has no norms of `own`, and none are named; or what is named does not fit.
    """
    if given.norm_images and (given.norms or "").partition(":")[0] != REESTIMATED:
        raise MultisegError(f"--norm-images are for --norms {REESTIMATED}:NAME.")
    known = trained_sets(predictor)
    if given.norms is None and known and own not in known:
        raise MultisegError(
            f"the model has batch norms of each training dataset, none of '{own}': say with --norms whose {what} pass "
            f"({choices(known)})."
        )
    predictor.norms = None
    if given.norms is not None:
        say(f"{what}: batch norms are {choose_norms(predictor, given.norms, unlabelled)}.")


def dataset_images(dataset: SegmentationDataset, long_side: int | None) -> Images:
    """Images of a split, evenly spread, in batches of one size each."""
    chosen = spread_samples(dataset, _UNLABELLED)

    def read() -> Iterator[Tensor]:
        loader = evaluation_loader([(chosen, Pipeline(long_side=long_side))], _UNLABELLED_BATCH, default_workers())
        return (batch.images for batches in loader for batch in batches)

    return read


def file_images(paths: Sequence[Path], long_side: int | None) -> Images:
    """Images in files and folders, evenly spread, in batches of one size each; where there are none, reading them is an
    error.
    """

    def read() -> Iterator[Tensor]:
        files = image_files(paths)
        chosen = [files[index] for index in evenly_spread(len(files), _UNLABELLED)]
        resize = ResizeImage(long_side)
        by_size: dict[tuple[int, ...], list[Tensor]] = {}
        for image in (resize(read_image(file)).as_subclass(Tensor) for file in chosen):
            waiting = by_size.setdefault(tuple(image.shape), [])
            waiting.append(image)
            if len(waiting) == _UNLABELLED_BATCH:
                yield torch.stack(waiting)
                waiting.clear()
        yield from (torch.stack(waiting) for waiting in by_size.values() if waiting)

    return read
