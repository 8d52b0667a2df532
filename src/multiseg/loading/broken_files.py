"""Files that disappear or break in the middle of a run: leaving them out, and counting them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from multiseg.errors import MultisegError

_logger = logging.getLogger(__name__)

#: So many broken files in a row are no accident: the disk is gone.
PATIENCE = 20

_Read = TypeVar("_Read")


class SkippedFiles:
    """Reads what can be read, and counts how often images of each dataset were left out, by this process and its
    loading workers.

    Args:
        names: of the datasets.
        workers: loading processes.

    Attributes:
        counts: (workers + 1, datasets) int64 in shared memory; every process has a row of its own, so that none waits
            for another.
    """

    def __init__(self, names: list[str], workers: int) -> None:
        self.names = names
        counts = torch.zeros(workers + 1, len(names), dtype=torch.int64, device="cpu")
        self.counts: Tensor = counts.share_memory_()  # type: ignore[no-untyped-call]
        self._in_a_row = dict.fromkeys(names, 0)
        self._told: set[str] = set()

    def next_readable(self, name: str, images: int, first: int, read: Callable[[int], _Read]) -> _Read:
        """What is read of an image, or of the next one that can be read, as training wants it, whose batches have a
        fixed size.

        Args:
            name: of the dataset.
            images: how many it has.
            first: the place of the image that is wanted.
            read: from a place.

        Raises:
            MultisegError: many images in a row are broken, or all.
        """
        for step in range(images):
            try:
                return self._kept(name, read((first + step) % images))
            except (MultisegError, OSError) as error:
                self._leave_out(name, error)
                last = error
        raise self._nothing_left(name, last)

    def readable_or_none(self, name: str, place: int, read: Callable[[int], _Read]) -> _Read | None:
        """What is read of an image, or None, as evaluation wants it, where nothing can stand for an image.

        Raises:
            MultisegError: many images in a row are broken.
        """
        try:
            return self._kept(name, read(place))
        except (MultisegError, OSError) as error:
            self._leave_out(name, error)
            return None

    def totals(self) -> dict[str, int]:
        return dict(zip(self.names, self.counts.sum(0).tolist(), strict=True))

    def start_from(self, totals: dict[str, int]) -> None:
        """What was counted before an interruption."""
        self.counts[0] = torch.tensor([totals.get(name, 0) for name in self.names])

    def _kept(self, name: str, read: _Read) -> _Read:
        self._in_a_row[name] = 0
        return read

    def _leave_out(self, name: str, error: Exception) -> None:
        """Counts one, and says which the first time."""
        worker = get_worker_info()
        self.counts[0 if worker is None else worker.id + 1, self.names.index(name)] += 1
        if str(error) not in self._told:
            self._told.add(str(error))
            _logger.warning("skipped: %s", error)
        self._in_a_row[name] += 1
        if self._in_a_row[name] >= PATIENCE:
            raise self._nothing_left(name, error) from None

    def _nothing_left(self, name: str, error: Exception) -> MultisegError:
        return MultisegError(f"{self._in_a_row[name]} images of '{name}' in a row cannot be read; the last: {error}")
