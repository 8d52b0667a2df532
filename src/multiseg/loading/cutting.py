"""What a training image becomes where a method wants something else than one crop of it."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from multiseg.batch import Sample


@dataclass(frozen=True)
class Cutting(metaclass=ABCMeta):  # a base ABC is no dataclass: jsonargparse would then want a class_path in recipes
    """How an image of a training set is cut for a method. Subclasses are frozen dataclasses with their settings.

    Attributes:
        kind: what comes out, as methods name it in `trains_on`; also the key of the settings below `data`.
    """

    kind: ClassVar[str]

    @property
    def pairs(self) -> bool:
        """Whether an image is cut together with another one of its batch."""
        return False

    @property
    def judges(self) -> bool:
        """Whether held-out images are cut, too, because a method is judged by what it makes of cuts."""
        return False

    @abstractmethod
    def cut(self, sample: Sample, partner: Sample | None, long_side: int | None) -> Any:
        """What becomes of one image, by torch's random numbers.

        Args:
            sample: as it lies on disk.
            partner: another image of the batch, if `pairs`.
            long_side: of the dataset's pipeline: the longer side of the image, in pixels, at scale 1.
        """

    @abstractmethod
    def collate(self, cuts: Sequence[Any]) -> Any:
        """What `cut` made of several images as one batch."""
