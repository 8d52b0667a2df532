"""Which images the n-th batch of a run holds.

A plan is a pure function of (seed, batch number): any number of ranks sees the same global batches, and a resumed run
goes on from a number, without replaying anything. Within a dataset images come without replacement, epoch by epoch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from multiseg.errors import MultisegError, did_you_mean

_BLOCK = 4096  # batches counted at a time when a plan starts in the middle


class Draw(NamedTuple):
    """One image of a batch: which dataset, which of its images, and the seed of its augmentation; and, where images are
    mixed, dataset and image of the one it is mixed with.
    """

    dataset: int
    image: int
    seed: int
    partner: tuple[int, int] | None = None


class BatchPlan(ABC):
    """Decides which dataset each image of each global batch comes from.

    Args:
        exponent: a dataset of n images is drawn with probability ∝ n^exponent: 0 uniform, 1 proportional.
        weights: given probabilities (up to a factor) by dataset name, in place of the exponent.
    """

    def __init__(self, exponent: float = 0.0, weights: dict[str, float] | None = None) -> None:
        self.exponent = exponent
        self.weights = weights

    def probabilities(self, sizes: Mapping[str, int]) -> NDArray[np.float64]:
        """Shape: (K,), summing to 1.

        Raises:
            MultisegError: the weights name an unknown dataset, leave one out, or are not positive.
        """
        if self.weights is None:
            raw = np.array(list(sizes.values()), np.float64) ** self.exponent
        else:
            for name in self.weights:
                if name not in sizes:
                    raise MultisegError(
                        f"sampling weights: no dataset '{name}' in this run; {did_you_mean(name, sizes)}"
                    )
            missing = [name for name in sizes if name not in self.weights]
            if missing or min(self.weights.values()) <= 0:
                raise MultisegError(f"sampling weights need a positive number for every dataset; missing: {missing}.")
            raw = np.array([self.weights[name] for name in sizes], np.float64)
        share: NDArray[np.float64] = raw / raw.sum()
        return share

    def turns(self, datasets: int) -> int:
        """How many batches, each a dataset's turn, make one update."""
        return 1

    @abstractmethod
    def counts(
        self, first: int, last: int, batch_size: int, shares: NDArray[np.float64], seed: int
    ) -> NDArray[np.int64]:
        """How many images of each dataset the batches first..last-1 hold. Shape: (last - first, K).

        `first` is a multiple of `_BLOCK` and `last - first` at most `_BLOCK`.
        """


class Mixed(BatchPlan):
    """Every image of a batch may come from any dataset.

    Systematic sampling: each image comes from dataset k with exactly the wanted probability p_k, and a batch of B
    images holds B p_k of dataset k, rounded up or down. So a batch of 16 from two equal datasets always holds 8 and 8.
    """

    def counts(
        self, first: int, last: int, batch_size: int, shares: NDArray[np.float64], seed: int
    ) -> NDArray[np.int64]:
        start = np.random.default_rng((seed, 1, first)).random(_BLOCK)[: last - first]
        edges = np.concatenate([[0.0], np.cumsum(shares)])
        edges[-1] = 1.0
        # image i sits at (i + start) / B; dataset k owns the interval edges[k]..edges[k+1]
        before = np.ceil(edges[None, :] * batch_size - start[:, None]).clip(0, batch_size).astype(np.int64)
        before[:, -1] = batch_size
        return np.diff(before, axis=1)


class Alternating(BatchPlan):
    """Every batch holds images of one dataset, and the datasets take turns (CDCL's dataset alternation training).

    With equal probabilities they take turns in order; otherwise in a fixed sequence in which each comes as often as its
    probability says and as evenly spread as can be (a golden-ratio sequence). A cycle has as many turns as there are
    datasets, so with unequal probabilities one may come twice in it and another not at all.

    Args:
        interval: the paper's t: how many batches in a row come from one dataset.
        update: after which the weights are updated: a "cycle", as in the paper at t = 1, or every "batch", as in the
            paper at t > 1. "auto" is what the paper does.

    Raises:
        MultisegError: the interval is not positive, or an update would have to wait for a cycle of longer turns.
    """

    def __init__(
        self,
        exponent: float = 0.0,
        weights: dict[str, float] | None = None,
        interval: int = 1,
        update: Literal["auto", "cycle", "batch"] = "auto",
    ) -> None:
        super().__init__(exponent, weights)
        if interval < 1:
            raise MultisegError(f"the interval of alternation must be at least 1, not {interval}.")
        if update == "cycle" and interval > 1:
            raise MultisegError(
                f"with an interval of {interval} every batch is an update; a larger data.batch_size makes it larger."
            )
        self.interval = interval
        self.by_cycle = interval == 1 and update != "batch"

    def turns(self, datasets: int) -> int:
        return datasets if self.by_cycle else 1

    def counts(
        self, first: int, last: int, batch_size: int, shares: NDArray[np.float64], seed: int
    ) -> NDArray[np.int64]:
        turn = np.arange(first, last) // self.interval
        if np.allclose(shares, shares[0]):
            chosen = turn % len(shares)
        else:
            chosen = np.searchsorted(np.cumsum(shares)[:-1], (turn * ((5**0.5 - 1) / 2) + 0.5) % 1.0, side="right")
        return np.eye(len(shares), dtype=np.int64)[chosen] * batch_size


class PlannedSampler(Sampler[list[Draw]]):
    """The batches of one rank, from batch number `start` up to `stop`.

    Args:
        plan: what the global batches hold.
        sizes: number of images of each dataset by name.
        batch_size: images in a global batch, over all ranks.
        seed: of the run.
        start, stop: global batch numbers.
        rank, world_size: this rank takes images rank, rank + world_size, … of each global batch.
        pairs: give each image another one of the global batch as a partner, at random, each once.

    Raises:
        MultisegError: the global batch cannot be shared equally among the ranks.
    """

    def __init__(
        self,
        plan: BatchPlan,
        sizes: Mapping[str, int],
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world_size: int = 1,
        pairs: bool = False,
    ) -> None:
        if batch_size % world_size:
            raise MultisegError(
                f"a batch of {batch_size} images cannot be shared equally among {world_size} processes."
            )
        self.plan = plan
        self.sizes = list(sizes.values())
        self.shares = plan.probabilities(sizes)
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.stop = stop
        self.rank = rank
        self.world_size = world_size
        self.pairs = pairs

    def __len__(self) -> int:
        """Batches of the whole run: a resumed trainer counts those before `start` as done."""
        return self.stop

    def __iter__(self) -> Iterator[list[Draw]]:
        drawn = np.zeros(len(self.sizes), np.int64)  # images of each dataset so far
        for block in range(0, self.stop, _BLOCK):
            counts = self.plan.counts(block, min(block + _BLOCK, self.stop), self.batch_size, self.shares, self.seed)
            skipped = min(max(self.start - block, 0), len(counts))
            drawn += counts[:skipped].sum(axis=0)
            for number, row in enumerate(counts[skipped:], block + skipped):
                batch = [
                    self._draw(int(dataset), int(drawn[dataset]) + place)
                    for dataset in np.flatnonzero(row)
                    for place in range(row[dataset])
                ]
                drawn += row
                if self.pairs:
                    batch = self._paired(batch, number)
                yield batch[self.rank :: self.world_size]

    def _paired(self, batch: list[Draw], number: int) -> list[Draw]:
        """Partners along a random circle through the batch, so that none is its own (but in a batch of one)."""
        order = np.random.default_rng((self.seed, 4, number)).permutation(len(batch))
        partner = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
        return [draw._replace(partner=batch[partner[place]][:2]) for place, draw in enumerate(batch)]

    def _draw(self, dataset: int, number: int) -> Draw:
        """The `number`-th image that this run takes from a dataset."""
        epoch, place = divmod(number, self.sizes[dataset])
        order = _epoch_order(self.sizes[dataset], self.seed, dataset, epoch)
        seed = np.random.SeedSequence((self.seed, 3, dataset, number)).generate_state(1, np.uint64)[0]
        return Draw(dataset, int(order[place]), int(seed >> np.uint64(1)))


@lru_cache(maxsize=1024)
def _epoch_order(size: int, seed: int, dataset: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 2, dataset, epoch)).permutation(size)


class EvaluationBatches(Sampler[list[int]]):
    """For evaluation: batches rank, rank + world_size, … of all images in their order, each image once. None is
    repeated to fill up, so metrics are exact; and a batch is the same whichever process has it, so what is judged by
    batches, such as the graphs of M&M, does not depend on their number.

    Where there are fewer batches than ranks, those without have an empty one: with no batch at all the trainer would
    leave out the validation, in which the others wait for them.

    Args:
        size: images of all datasets.
        batch_size: images in a batch; the last may have fewer.
        rank, world_size: see above.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        starts = range(rank * batch_size, size, world_size * batch_size)
        self.batches = [list(range(start, min(start + batch_size, size))) for start in starts]
        if size and not self.batches:
            self.batches.append([])

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
