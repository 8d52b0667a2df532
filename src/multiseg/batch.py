"""What travels from a dataset to a method: `Sample` for one image, `Batch` for many; in pretraining `Views` and
`ViewBatch`, in M&M tuning `Patches` and `PatchBatch`,
in its jigsaw puzzles `Tiles` and `TileBatch`.

Both carry their label spaces, so that one batch can hold images of datasets whose ids mean different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.label_space import IGNORE, LabelSpace
from multiseg.runs import Runs


@dataclass(frozen=True)
class Segments:
    """Panoptic truth of one image: each thing is a segment, and so is all of one stuff class.

    Args:
        ids: (H, W) int16, the segment of each pixel, 0..S-1; `IGNORE` where unlabelled.
        classes: (S,) int64 contiguous class ids.
        crowd: (S,) bool; a crowd is many things of one class that nobody drew one by one.
    """

    ids: tv_tensors.Mask
    classes: Tensor
    crowd: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def labels(self) -> tv_tensors.Mask:
        """The class of each pixel. Shape: (H, W) int16."""
        return _translated(self.ids, self.classes)

    @property
    def areas(self) -> Tensor:
        """Pixels of each segment. Shape: (S,) int64."""
        return torch.bincount((self.ids.as_subclass(Tensor) + 1).flatten(), minlength=len(self) + 1)[1:]

    def with_ids(self, ids: tv_tensors.Mask) -> Segments:
        """The segments that are left of a map of the same ids, cropped or resized; those out of sight are dropped."""
        here = replace(self, ids=ids).areas > 0
        moved = _translated(ids, torch.where(here, here.cumsum(0) - 1, IGNORE))
        return Segments(moved, self.classes[here], self.crowd[here])


@dataclass(frozen=True)
class Sample:
    """One image with its labels.

    Args:
        image: (3, H, W) uint8.
        labels: (H, W) int16 contiguous ids of `space`, `IGNORE` where ignored.
        space: what the ids mean; `space.name` is the dataset.
        key: the image, for messages and file names; unique within the dataset and split.
        segments: of a panoptic dataset, at the size of the labels.
        seed: in training, of what a method draws for this image, such as the points at which it is trained. It travels
            with the image, so that what is drawn does not depend on how many processes share a batch.
    """

    image: tv_tensors.Image
    labels: tv_tensors.Mask
    space: LabelSpace
    key: str
    segments: Segments | None = None
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Images of one or several datasets, padded at right and bottom to a common size.

    Args:
        images: (B, 3, H, W) uint8; zero where padded.
        labels: (B, H', W') int64 contiguous ids of each image's own space; `IGNORE` where ignored or padded.
            In training (H', W') = (H, W); in evaluation labels keep the size of the file.
        sizes: (B, 2) int64, height and width of each image without padding.
        spaces: B label spaces.
        keys: B image keys.
        segments: for each image its segments, at its own size without padding; None where its dataset has
            none, empty where no dataset has any.
        seeds: B seeds; see `Sample`.
    """

    images: Tensor
    labels: Tensor
    sizes: Tensor
    spaces: tuple[LabelSpace, ...]
    keys: tuple[str, ...]
    segments: tuple[Segments | None, ...] = ()
    seeds: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.spaces)

    @property
    def padding(self) -> Tensor:
        """(B, H, W) bool, true where an image is padded."""
        rows = torch.arange(self.images.shape[-2], device=self.sizes.device)
        columns = torch.arange(self.images.shape[-1], device=self.sizes.device)
        below = rows[None, :, None] >= self.sizes[:, 0, None, None]
        right = columns[None, None, :] >= self.sizes[:, 1, None, None]
        return below | right

    @property
    def padded(self) -> bool:
        """Whether any image is padded (kept on the host: no synchronisation with an accelerator)."""
        height, width = self.images.shape[-2:]
        return bool((self.sizes.cpu() != torch.tensor([height, width])).any())

    def rows_of(self) -> dict[str, list[int]]:
        """For each dataset present, the rows of its images, in order of first appearance."""
        rows: dict[str, list[int]] = {}
        for row, space in enumerate(self.spaces):
            rows.setdefault(space.name, []).append(row)
        return rows

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device. `sizes` stays on the host, where they are asked for."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking).long(),
        )

    def pin_memory(self) -> Batch:
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


@dataclass(frozen=True)
class MixedSample:
    """Two images in one (MDP, section 3.4).

    Args:
        image: (3, H, W) uint8.
        labels: (2, H, W) int16, of the first image's space and of the second's; `IGNORE` where an image is not seen.
        shares: (2,) float32, how much a pixel of either counts: 1 and 1 where regions are mixed, λ and 1 - λ where
            pixels are.
        spaces: of the two images.
    """

    image: Tensor
    labels: Tensor
    shares: Tensor
    spaces: tuple[LabelSpace, LabelSpace]


@dataclass(frozen=True)
class Views:
    """Two views of an image, and perhaps one of it mixed with another image. All are of one size."""

    first: Sample
    second: Sample
    mixed: MixedSample | None = None


@dataclass(frozen=True)
class MixedBatch:
    """
    Args:
        images: (B, 3, H, W) uint8.
        labels: (2, B, H, W) int64; see `MixedSample`.
        shares: (2, B) float32.
        spaces: for either part, B label spaces.
    """

    images: Tensor
    labels: Tensor
    shares: Tensor
    spaces: tuple[tuple[LabelSpace, ...], tuple[LabelSpace, ...]]

    @property
    def parts(self) -> list[tuple[Tensor, tuple[LabelSpace, ...], Tensor]]:
        """Labels, spaces and shares of the first images, then of the second ones."""
        return list(zip(self.labels, self.spaces, self.shares, strict=True))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MixedBatch:
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking).long(),
            shares=self.shares.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> MixedBatch:
        pinned = {name: getattr(self, name).pin_memory() for name in ("images", "labels", "shares")}
        return replace(self, **pinned)


@dataclass(frozen=True)
class ViewBatch:
    """Views of B images: what contrastive pretraining takes in place of a `Batch`."""

    first: Batch
    second: Batch
    mixed: MixedBatch | None = None

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ViewBatch:
        return self._each("to", device, non_blocking)

    def pin_memory(self) -> ViewBatch:
        return self._each("pin_memory")

    def _each(self, method: str, *arguments: Any) -> ViewBatch:
        first, second = (getattr(view, method)(*arguments) for view in (self.first, self.second))
        return ViewBatch(first, second, getattr(self.mixed, method)(*arguments) if self.mixed else None)


@dataclass(frozen=True)
class Patches:
    """Patches of an image, each of the class of its central pixel (Mix-and-Match tuning, "mix").

    Args:
        images: (P, 3, h, w) uint8, all of one size.
        labels: (P,) int64 contiguous ids of `space`; `IGNORE` where an image has no label at all.
        lots: (P, 3) float32 in [0, 1): what the choices of each patch in a graph are drawn by. They travel with it, so
            that the graph does not depend on how many processes share a batch.
        space: of the image's dataset.
        key: of the image.
    """

    images: Tensor
    labels: Tensor
    lots: Tensor
    space: LabelSpace
    key: str


@dataclass(frozen=True)
class PatchBatch:
    """Patches of B images, P of each.

    Args:
        images: (B, P, 3, h, w) uint8.
        labels: (B, P) int64; see `Patches`.
        lots: (B, P, 3) float32.
        spaces: B label spaces.
        keys: B image keys.
    """

    images: Tensor
    labels: Tensor
    lots: Tensor
    spaces: tuple[LabelSpace, ...]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.spaces)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PatchBatch:
        own = (self.images, self.labels, self.lots)
        images, labels, lots = (tensor.to(device, non_blocking=non_blocking) for tensor in own)
        return replace(self, images=images, labels=labels, lots=lots)

    def pin_memory(self) -> PatchBatch:
        images, labels, lots = (tensor.pin_memory() for tensor in (self.images, self.labels, self.lots))
        return replace(self, images=images, labels=labels, lots=lots)


def collate_patches(samples: Sequence[Patches]) -> PatchBatch:
    """Patches of several images, as many of each, to one batch."""
    images, labels, lots = (torch.stack([getattr(s, name) for s in samples]) for name in ("images", "labels", "lots"))
    return PatchBatch(images, labels, lots, tuple(s.space for s in samples), tuple(s.key for s in samples))


@dataclass(frozen=True)
class Tiles:
    """The tiles of an image's jigsaw puzzle.

    Args:
        images: (9, 3, h, w) uint8, row by row, in their own order.
        lot: () float32 in [0, 1): by which their permutation is drawn.
        space: of the image's dataset.
        key: of the image.
    """

    images: Tensor
    lot: Tensor
    space: LabelSpace
    key: str


@dataclass(frozen=True)
class TileBatch:
    """The tiles of B images.

    Args:
        images: (B, 9, 3, h, w) uint8.
        lots: (B,) float32; see `Tiles`.
        spaces: B label spaces.
        keys: B image keys.
    """

    images: Tensor
    lots: Tensor
    spaces: tuple[LabelSpace, ...]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.spaces)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TileBatch:
        images, lots = (own.to(device, non_blocking=non_blocking) for own in (self.images, self.lots))
        return replace(self, images=images, lots=lots)

    def pin_memory(self) -> TileBatch:
        return replace(self, images=self.images.pin_memory(), lots=self.lots.pin_memory())


def collate_tiles(samples: Sequence[Tiles]) -> TileBatch:
    """The tiles of several images to one batch."""
    images, lots = torch.stack([s.images for s in samples]), torch.stack([s.lot for s in samples])
    return TileBatch(images, lots, tuple(s.space for s in samples), tuple(s.key for s in samples))


def collate_views(samples: Sequence[Views]) -> ViewBatch:
    """Views of several images to one batch; either all have a mixed one or none."""
    first, second = collate([views.first for views in samples]), collate([views.second for views in samples])
    mixed = [views.mixed for views in samples if views.mixed is not None]
    if not mixed:
        return ViewBatch(first, second)
    return ViewBatch(
        first,
        second,
        MixedBatch(
            torch.stack([entry.image for entry in mixed]),
            torch.stack([entry.labels for entry in mixed], 1),
            torch.stack([entry.shares for entry in mixed], 1),
            (tuple(entry.spaces[0] for entry in mixed), tuple(entry.spaces[1] for entry in mixed)),
        ),
    )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of any sizes and datasets to one padded batch.

    Labels stay int16 until `Batch.to`: a quarter of the memory between worker and trainer.
    """
    images = _pad([sample.image for sample in samples], fill=0)
    labels = _pad([sample.labels for sample in samples], fill=IGNORE)
    sizes = torch.tensor([sample.image.shape[-2:] for sample in samples])
    spaces = tuple(sample.space for sample in samples)
    segments = tuple(sample.segments for sample in samples)
    keys, seeds = tuple(sample.key for sample in samples), tuple(sample.seed for sample in samples)
    return Batch(images, labels, sizes, spaces, keys, segments, seeds)


def collate_by_size(samples: Sequence[Sample]) -> list[Batch]:
    """Samples grouped by dataset, image and label size, so that nothing is padded: for evaluation, where an image's
    result must not depend on its neighbours in the batch.
    """
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for sample in samples:
        key = (sample.space.name, tuple(sample.image.shape), tuple(sample.labels.shape))
        groups.setdefault(key, []).append(sample)
    return [collate(group) for group in groups.values()]


def _translated(ids: tv_tensors.Mask, table: Tensor) -> tv_tensors.Mask:
    """Each id's entry in a table, `IGNORE` for `IGNORE`. Shape: (H, W), (S,) to (H, W) int16."""
    runs = Runs.of(ids.numpy())
    entries = np.append(table.numpy(), IGNORE).astype(np.int16)  # IGNORE is -1, so it takes the last entry
    return tv_tensors.Mask(torch.from_numpy(runs.spread(entries[runs.values])))


def _pad(tensors: Sequence[Tensor], fill: int) -> Tensor:
    height = max(tensor.shape[-2] for tensor in tensors)
    width = max(tensor.shape[-1] for tensor in tensors)
    first = tensors[0]
    out = torch.empty((len(tensors), *first.shape[:-2], height, width), dtype=first.dtype)
    for row, tensor in zip(out, tensors, strict=True):
        plain = tensor.as_subclass(Tensor)
        if plain.shape[-2:] != (height, width):
            row.fill_(fill)
        row[..., : plain.shape[-2], : plain.shape[-1]] = plain
    return out
