"""Patches of images, the nodes of M&M's graph (Zhan et al.: "Mix-and-Match Tuning for Self-Supervised Semantic
Segmentation", AAAI 2018, "The Mix Step").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from multiseg.batch import PatchBatch, Patches, Sample, collate_patches
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.loading.cutting import Cutting
from multiseg.loading.transforms import base_factor, require_numbers

#: Candidates drawn at a time for each patch wanted, and how many times, before refused ones are taken.
_CANDIDATES, _ROUNDS = 4, 4


class Box(NamedTuple):
    """A square of an image, in pixels of the file.

    Args:
        top, left: of its first pixel.
        side: its length, even; the central pixel is (top + side / 2, left + side / 2).
        label: of that pixel.
    """

    top: int
    left: int
    side: int
    label: int


@dataclass(frozen=True)
class PatchPlan(Cutting):
    """Which patches are cut from an image, and to what size.

    Each is a square anywhere in the image, of the class of its central pixel; an ignored centre is drawn again. One
    that is covered too far by those before is refused. Where so many are refused that too few are left, refused ones
    are taken after all, the first first, and where even candidates are lacking, an image gives the same centre twice:
    it always yields `per_image` patches. An image without labels yields patches that a graph passes over.

    Args:
        per_image: patches of an image.
        size: height and width they are resized to, in pixels.
        sides: of the squares, drawn uniformly among the even numbers of this range, in pixels of the image at the
            `long_side` of its dataset; the image's own shorter side is the limit.
        crop: patches lie within a square of this side, placed at random, in the same pixels; None: anywhere.
        max_overlap: the largest share of a patch that patches accepted before may cover.
        background: how many patches of an image have the class `background_class`, in datasets that have it. They are
            exempt from the rule of overlap. None: it is a class like others.
        background_class: its name.
        flip: probability of a horizontal flip, of all patches of an image.
        jitter: of each patch: brightness, contrast, saturation (factors within 1 ± value) and hue (± value, of a turn
            of 1); empty for none.

    Raises:
        MultisegError: a number is out of range.
    """

    kind: ClassVar[str] = "patches"

    per_image: int = 10
    size: tuple[int, int] = (128, 128)
    sides: tuple[int, int] = (64, 256)
    crop: int | None = None
    max_overlap: float = 0.6
    background: int | None = None
    background_class: str = "background"
    flip: float = 0.5
    jitter: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.per_image < 1:
            raise MultisegError(f"patches.per_image must be at least 1, not {self.per_image}.")
        require_numbers("patches.size", self.size, (2,), lambda size: min(size) >= 1)
        require_numbers("patches.sides", self.sides, (2,), lambda sides: 2 <= sides[0] <= sides[1])
        require_numbers("patches.jitter", self.jitter, (0, 4), lambda jitter: min(jitter, default=0) >= 0)
        if self.crop is not None and self.crop < 2:
            raise MultisegError(f"patches.crop must be at least 2 pixels, not {self.crop}.")
        for name in ("max_overlap", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise MultisegError(f"patches.{name} must lie in 0 to 1, not {getattr(self, name)}.")
        if self.background is not None and not 0 <= self.background <= self.per_image:
            raise MultisegError(
                f"patches.background must be 0 to patches.per_image ({self.per_image}), not {self.background}."
            )

    @property
    def judges(self) -> bool:
        return True

    def cut(self, sample: Sample, partner: Sample | None = None, long_side: int | None = None) -> Patches:
        boxes = self.draw(sample, long_side)
        mirrored = bool(torch.rand(()) < self.flip)
        jitter = v2.ColorJitter(*self.jitter) if self.jitter else None
        images = []
        for top, left, side, _ in boxes:
            patch = F.resized_crop(sample.image, top, left, side, side, list(self.size), antialias=True)
            images.append(patch if jitter is None else jitter(patch))
        stacked = torch.stack(images).as_subclass(torch.Tensor)
        labels = torch.tensor([box.label for box in boxes])
        lots = torch.rand(len(boxes), 3)
        return Patches(stacked.flip(-1) if mirrored else stacked, labels, lots, sample.space, sample.key)

    def collate(self, cuts: Sequence[Patches]) -> PatchBatch:
        return collate_patches(cuts)

    def draw(self, sample: Sample, long_side: int | None = None) -> list[Box]:
        """The `per_image` squares of an image, by torch's random numbers; see `cut`."""
        labels: NDArray[Any] = sample.labels.numpy()
        factor = base_factor(labels.shape[0], labels.shape[1], long_side)
        top, left, labels = self._region(labels, factor)
        names = sample.space.names
        reserved, background = 0, None
        if self.background is not None and self.background_class in names:
            reserved, background = self.background, names.index(self.background_class)
        chosen = _Selection(labels.shape, self.per_image - reserved, reserved, background, self.max_overlap)
        for _ in range(_ROUNDS):
            for box in self._candidates(labels, factor):
                chosen.consider(box)
                if chosen.complete:
                    break
            if chosen.complete:
                break
        boxes = chosen.filled_up()
        if len(boxes) < self.per_image:
            boxes += self._by_enumeration(labels, factor, self.per_image - len(boxes))
        return [Box(top + box.top, left + box.left, box.side, box.label) for box in boxes]

    def _region(self, labels: NDArray[Any], factor: float) -> tuple[int, int, NDArray[Any]]:
        """The part of an image that patches lie in: its first row and column, and its labels."""
        if self.crop is None:
            return 0, 0, labels
        limits = [min(length, max(2, round(self.crop / factor))) for length in labels.shape]
        top, left = (
            int(torch.randint(length - limit + 1, ())) for length, limit in zip(labels.shape, limits, strict=True)
        )
        return top, left, labels[top : top + limits[0], left : left + limits[1]]

    def _sides(self, lots: NDArray[np.float64], shape: tuple[int, ...], factor: float) -> NDArray[np.int64]:
        """Even sides in pixels of the file, from numbers in [0, 1)."""
        low, high = -(-self.sides[0] // 2), self.sides[1] // 2
        halves = low + np.floor(lots * (max(high, low) - low + 1))
        largest = max(min(shape) // 2, 1)
        sides: NDArray[np.int64] = 2 * np.rint(halves / factor).clip(1, largest).astype(np.int64)
        return sides

    def _candidates(self, labels: NDArray[Any], factor: float) -> Iterator[Box]:
        """Squares within an image whose central pixel is labelled."""
        height, width = labels.shape
        if min(height, width) < 2:
            return
        lots = torch.rand(3, _CANDIDATES * self.per_image, dtype=torch.float64).numpy()
        sides = self._sides(lots[0], labels.shape, factor)
        tops = (lots[1] * (height - sides + 1)).astype(np.int64)
        lefts = (lots[2] * (width - sides + 1)).astype(np.int64)
        classes = labels[tops + sides // 2, lefts + sides // 2]
        for place in np.flatnonzero(classes != IGNORE):
            yield Box(*(int(values[place]) for values in (tops, lefts, sides, classes)))

    def _by_enumeration(self, labels: NDArray[Any], factor: float, count: int) -> list[Box]:
        """Squares of the smallest side with centres drawn among all labelled pixels that can be one: for images with so
        few of them that trying is in vain. Without any, squares without label.
        """
        height, width = labels.shape
        side = int(self._sides(np.zeros(1), labels.shape, factor)[0])
        if min(height, width) < 2:
            raise MultisegError("an image of a single row or column has no patches.")
        half = side // 2
        inner = labels[half : height - half + 1, half : width - half + 1]
        rows, columns = np.nonzero(inner != IGNORE)
        if not len(rows):
            rows, columns = (grid.ravel() for grid in np.indices(inner.shape))
        picks = torch.randint(len(rows), (count,)).numpy()
        return [Box(int(y), int(x), side, int(inner[y, x])) for y, x in zip(rows[picks], columns[picks], strict=True)]


class _Selection:
    """Accepts candidates one by one.

    Args:
        shape: of the image.
        foreground: how many are wanted besides the background.
        background: how many of the background.
        label: of the background; None: there is none.
        max_overlap: see `PatchPlan`.
    """

    def __init__(
        self, shape: tuple[int, ...], foreground: int, background: int, label: int | None, max_overlap: float
    ) -> None:
        self.covered = np.zeros(shape, np.bool_)
        self.wanted = (foreground, background)
        self.label = label
        self.max_overlap = max_overlap
        self.accepted: tuple[list[Box], list[Box]] = ([], [])
        self.refused: list[Box] = []

    @property
    def complete(self) -> bool:
        return all(len(boxes) == wanted for boxes, wanted in zip(self.accepted, self.wanted, strict=True))

    def consider(self, box: Box) -> None:
        kind = int(box.label == self.label)
        part = self.covered[box.top : box.top + box.side, box.left : box.left + box.side]
        if len(self.accepted[kind]) == self.wanted[kind] or (
            not kind and np.count_nonzero(part) > self.max_overlap * part.size
        ):
            self.refused.append(box)
            return
        self.accepted[kind].append(box)
        if not kind:
            part[:] = True

    def filled_up(self) -> list[Box]:
        """The accepted ones and, where they are too few, the first of the refused ones."""
        boxes = [*self.accepted[0], *self.accepted[1]]
        return boxes + self.refused[: sum(self.wanted) - len(boxes)]
