"""One pass over the samples of a dataset, in threads: what the check and the statistics share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from torch.utils.data import Subset

from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError

T = TypeVar("T")

#: Takes how many are done, and of how many.
Progress = Callable[[int, int], None]

#: So many samples are one task of a thread: few enough for a smooth bar, many enough to hide what a task costs.
_CHUNK = 32


def evenly_spread(total: int, limit: int | None) -> Sequence[int]:
    """Places 0, n/k, 2n/k, … of at most `limit` samples; all where there is no limit.

    Raises:
        MultisegError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise MultisegError(f"the limit is at least 1, not {limit}.")
    if limit is None or limit >= total:
        return range(total)
    return [place * total // limit for place in range(limit)]


def spread_samples(dataset: SegmentationDataset, limit: int | None) -> SegmentationDataset:
    """At most so many samples of a dataset, evenly spread.

    Raises:
        MultisegError: the limit is not positive.
    """
    return cast(SegmentationDataset, Subset(dataset, evenly_spread(len(dataset), limit)))


def in_threads(
    look_at: Callable[[int], T], places: Sequence[int], workers: int | None = None, progress: Progress | None = None
) -> Iterator[T]:
    """What a function makes of every place, in order.

    Decoders let go of Python's lock, so threads are as fast as forked processes, and several times as fast as spawned
    ones.

    Args:
        look_at: called in any thread.
        places: of the samples.
        workers: threads; by default one a core and at most eight.
        progress: called now and then.

    Raises:
        MultisegError: the number of workers is not positive.
    """
    if workers is not None and workers < 1:
        raise MultisegError(f"at least 1 worker is needed, not {workers}.")
    total = len(places)
    chunks = [places[start : start + _CHUNK] for start in range(0, total, _CHUNK)]
    done = 0
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        try:
            for results in pool.map(lambda chunk: [look_at(place) for place in chunk], chunks):
                yield from results
                done += len(results)
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C need not wait for the rest
            raise
