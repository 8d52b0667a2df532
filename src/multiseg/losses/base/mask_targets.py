"""The truth of mask classification: for each image a set of segments, each with a class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class MaskTargets:
    """Segments of B images. No two overlap, so a map of their numbers says all.

    Args:
        ids: (B, h, w) int64, the segment of each pixel, `IGNORE` (-1) where none: these pixels take part in no loss
            and in no matching cost.
        classes: (B, T) int64, of each segment; -1 beyond an image's last. T is that of the image with the most.
    """

    ids: Tensor
    classes: Tensor

    @classmethod
    def of(cls, ids: Tensor, classes: Tensor, most: int) -> MaskTargets:
        """Segments renumbered without those that have no pixel, and at most so many of an image.

        Where an image has more, its largest are kept, and the pixels of the others are ignored: to call them wrong
        would teach that nothing is there.

        Args:
            ids: (B, h, w) of any integer type, each pixel's segment, 0..S-1, or -1.
            classes: (B, S) int64, of the segments of each image; -1 where it has none of that number, and for regions
                to be ignored, such as crowds.
            most: the number of queries.
        """
        batch, count = classes.shape
        flat = ids.long().flatten(1)
        # the last column gathers what is ignored
        sinks = torch.where(flat < 0, count, flat)
        areas = torch.zeros(batch, count + 1, dtype=torch.long, device=ids.device)
        areas.scatter_add_(1, sinks, torch.ones_like(sinks))
        areas = areas[:, :count].masked_fill(classes < 0, 0)
        rank = areas.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        kept = (areas > 0) & (rank < most)
        numbers = torch.where(kept, kept.cumsum(1) - 1, -1)
        width = int(kept.sum(1).max()) if count else 0
        new_classes = torch.full((batch, width + 1), -1, dtype=torch.long, device=ids.device)
        new_classes.scatter_(1, torch.where(kept, numbers, width), classes)
        moved = F.pad(numbers, (0, 1), value=-1).gather(1, sinks).view(ids.shape)
        return cls(moved, new_classes[:, :width])

    @property
    def present(self) -> Tensor:
        """(B, T) bool, which numbers are segments."""
        return self.classes >= 0

    @property
    def labelled(self) -> Tensor:
        """(B, h, w) bool, the pixels that count."""
        return self.ids >= 0

    def masks(self) -> Tensor:
        """(B, T, h·w) bool."""
        numbers = torch.arange(self.classes.shape[1], device=self.ids.device)
        return self.ids.flatten(1)[:, None] == numbers[None, :, None]
