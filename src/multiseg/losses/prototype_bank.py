"""The memory of class embeddings from which prototypes are made.

Shi et al.: "Multi-dataset Pretraining: A Unified Model for Semantic Segmentation" (MDP), section 3.3.

A step first asks a bank for prototypes as they are with the current batch in place of the oldest one, once for each
view with the embeddings of the other, and then stores the batch. Both kinds of bank are of a fixed size, so a
checkpoint holds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.losses.base import ClassMeans, Prototypes


class Bank(nn.Module, ABC):
    """A ring of the class embeddings of the last batches.

    The batch is always that of all processes: `gather` turns what one process has into what all have.

    Args:
        classes: K, of the union of all datasets.
        channels: D, of the embeddings.
        normalize: scale prototypes to unit length before they are used.
    """

    def __init__(self, classes: int, channels: int, normalize: bool = True) -> None:
        super().__init__()
        self.classes, self.channels, self.normalize = classes, channels, normalize
        self.position: Tensor
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def pack(self, means: ClassMeans, images: int) -> tuple[Tensor, ...]:
        """What the ring stores of a batch.

        Args:
            means: of the batch's images, in this process.
            images: their number, with those that show no class.
        """

    @abstractmethod
    def gather(
        self, packed: tuple[Tensor, ...], add: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        """The same over all processes.

        Args:
            packed: of `pack`.
            add: sums a tensor over the processes.
            join: joins the tensors of all processes along the first dimension, in the order of the global batch.
        """

    @abstractmethod
    def with_batch(self, *packed: tuple[Tensor, ...]) -> list[Prototypes]:
        """For each packed batch the prototypes of the ring with that batch as its newest; the ring stays as it is."""

    @abstractmethod
    def push(self, packed: tuple[Tensor, ...]) -> None:
        """Store a batch; the oldest one leaves a full ring."""

    def _made(self, means: Tensor, known: Tensor) -> Tensor:
        means = F.normalize(means, dim=-1) if self.normalize else means
        return means.masked_fill(~known[..., None], 0)


#: Called with the number of classes and the channels. In a recipe it is a class with its other arguments.
BankFactory = Callable[[int, int], Bank]


class ClassBank(Bank):
    """One prototype a class, the mean over the images that show it (Eq. 3):

        P_y = Σ_i m_yi p_yi / Σ_i m_yi

    over the images of the last B batches, p_yi the mean embedding of class y in image i, m_yi whether it shows it. Of
    each batch the sums and counts are kept, so memory is K·B·(D + 1), however large a batch is.

    Args:
        classes, channels, normalize: see `Bank`.
        batches: B; the paper's memory size N_b over the batch size.
    """

    def __init__(self, classes: int, channels: int, batches: int = 128, normalize: bool = True) -> None:
        super().__init__(classes, channels, normalize)
        _require_positive("batches", batches)
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("sums", torch.zeros(batches, classes, channels))
        self.register_buffer("counts", torch.zeros(batches, classes))

    def pack(self, means: ClassMeans, images: int) -> tuple[Tensor, ...]:
        sums = self.sums.new_zeros(self.classes, self.channels)
        sums.index_add_(0, means.classes, means.means.to(sums.dtype))
        counts = torch.bincount(means.classes, minlength=self.classes).to(self.counts.dtype)
        return sums, counts

    def gather(
        self, packed: tuple[Tensor, ...], add: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        return tuple(add(tensor) for tensor in packed)

    def with_batch(self, *packed: tuple[Tensor, ...]) -> list[Prototypes]:
        # a product with a mask: without asking the device where the ring stands
        kept = (torch.arange(len(self.sums), device=self.sums.device) != self.position).to(self.sums.dtype)
        with torch.autocast(kept.device.type, enabled=False):
            sums = (kept @ self.sums.flatten(1)).view(self.classes, self.channels)
            counts = kept @ self.counts
        return [self._prototypes(sums + own, counts + number) for own, number in packed]

    def push(self, packed: tuple[Tensor, ...]) -> None:
        place = self.position[None]
        self.sums.index_copy_(0, place, packed[0][None])
        self.counts.index_copy_(0, place, packed[1][None])
        self.position.add_(1).remainder_(len(self.sums))

    def _prototypes(self, sums: Tensor, counts: Tensor) -> Prototypes:
        known = counts > 0.5
        classes = self._made(sums / counts.clamp(min=1)[:, None], known)
        return Prototypes(classes, known, classes, known)


class RegionBank(Bank):
    """The class embeddings of each of the last N_b images, every one a prototype of its own: the paper's alternative,
    for Table 2. Memory is K·N_b·D.

    Args:
        classes, channels, normalize: see `Bank`.
        images: N_b, at least a global batch.
    """

    def __init__(self, classes: int, channels: int, images: int = 4096, normalize: bool = True) -> None:
        super().__init__(classes, channels, normalize)
        _require_positive("images", images)
        self.regions: Tensor
        self.present: Tensor
        self.register_buffer("regions", torch.zeros(images, classes, channels))
        self.register_buffer("present", torch.zeros(images, classes, dtype=torch.bool))

    def pack(self, means: ClassMeans, images: int) -> tuple[Tensor, ...]:
        regions = self.regions.new_zeros(images, self.classes, self.channels)
        present = torch.zeros(images, self.classes, dtype=torch.bool, device=regions.device)
        regions[means.images, means.classes] = means.means.to(regions.dtype)
        present[means.images, means.classes] = True
        return regions, present

    def gather(
        self, packed: tuple[Tensor, ...], add: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        return tuple(join(tensor) for tensor in packed)

    def with_batch(self, *packed: tuple[Tensor, ...]) -> list[Prototypes]:
        prototypes = []
        for regions, present in packed:
            ring = self.present.clone()
            ring[self._places(len(regions))] = False
            prototypes.append(
                self._prototypes(
                    torch.cat([self.regions[ring], regions[present]]),
                    torch.cat([ring.nonzero()[:, 1], present.nonzero()[:, 1]]),
                )
            )
        return prototypes

    def push(self, packed: tuple[Tensor, ...]) -> None:
        places = self._places(len(packed[0]))
        self.regions[places] = packed[0]
        self.present[places] = packed[1]
        self.position.add_(len(places)).remainder_(len(self.regions))

    def _places(self, images: int) -> Tensor:
        if images > len(self.regions):
            raise MultisegError(f"a region bank of {len(self.regions)} images cannot hold a batch of {images}.")
        return (self.position + torch.arange(images, device=self.position.device)) % len(self.regions)

    def _prototypes(self, entries: Tensor, classes: Tensor) -> Prototypes:
        entries = F.normalize(entries, dim=-1) if self.normalize else entries
        counts = torch.bincount(classes, minlength=self.classes)
        sums = entries.new_zeros(self.classes, self.channels).index_add_(0, classes, entries)
        # not scaled: the mean over the entries of f · p is f · their mean
        means = sums / counts.clamp(min=1)[:, None]
        if not len(entries):  # a softmax needs something to run over
            return Prototypes(means, counts > 0, means[:1], counts[:1] > 0)
        valid = torch.ones(len(entries), dtype=torch.bool, device=entries.device)
        return Prototypes(means, counts > 0, entries, valid)


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"a bank's {name} must be at least 1, not {value}.")
