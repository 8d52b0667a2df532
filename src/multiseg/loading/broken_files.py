"""Files that disappear or break in the middle of a run: leaving them out, and counting them."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from multiseg.batch import Sample
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError

_logger = logging.getLogger(__name__)

#: So many broken files in a row are no accident: the disk is gone.
PATIENCE = 20


class SkippedFiles:
    """How often images of each dataset were left out, by this process and its loading workers.

    Args:
        names: of the datasets.
        workers: loading processes.

    Attributes:
        counts: (workers + 1, datasets) int64 in shared memory; every process has a row of its own, so that none waits
            for another.
    """

    def __init__(self, names: list[str], workers: int) -> None:
        self.names = names
        counts = torch.zeros(workers + 1, len(names), dtype=torch.int64)
        self.counts: Tensor = counts.share_memory_()  # type: ignore[no-untyped-call]
        self._told: set[str] = set()

    def add(self, name: str, error: Exception) -> None:
        """Counts one, and says which the first time."""
        worker = get_worker_info()
        self.counts[0 if worker is None else worker.id + 1, self.names.index(name)] += 1
        if str(error) not in self._told:
            self._told.add(str(error))
            _logger.warning("skipped: %s", error)

    def totals(self) -> dict[str, int]:
        return dict(zip(self.names, self.counts.sum(0).tolist(), strict=True))

    def start_from(self, totals: dict[str, int]) -> None:
        """What was counted before an interruption."""
        self.counts[0] = torch.tensor([totals.get(name, 0) for name in self.names])


class WithoutBroken(Dataset["Sample | None"]):
    """A dataset whose broken images are left out.

    Args:
        dataset: any split of any dataset.
        skipped: where they are counted.
        replaced: read the next image in place of a broken one, as training wants it, whose batches have a fixed size;
            else a broken one is None.

    Raises:
        MultisegError: by reading, where many images in a row are broken.
    """

    def __init__(self, dataset: SegmentationDataset, skipped: SkippedFiles, replaced: bool) -> None:
        self.dataset = dataset
        self.skipped = skipped
        self.replaced = replaced
        self._broken_in_a_row = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | None:
        for step in range(len(self) if self.replaced else 1):
            try:
                sample = self.dataset[(index + step) % len(self)]
            except (MultisegError, OSError) as error:
                self.skipped.add(self.dataset.name, error)
                self._broken_in_a_row += 1
                if self._broken_in_a_row >= PATIENCE:
                    raise self._nothing_left(error) from None
                last = error
            else:
                self._broken_in_a_row = 0
                return sample
        if self.replaced:
            raise self._nothing_left(last)
        return None

    def _nothing_left(self, error: Exception) -> MultisegError:
        many = f"{self._broken_in_a_row} images of '{self.dataset.name}' in a row cannot be read"
        return MultisegError(f"{many}; the last: {error}")
