"""Learning-rate schedules as pure functions of the step: the factor by which every group's learning rate is multiplied.

For `torch.optim.lr_scheduler.LambdaLR(optimizer, partial(schedule, total=steps))`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from multiseg.errors import MultisegError


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A linear warm-up from `warmup_factor` to 1, then what the subclass says.

    Args:
        warmup_steps: optimiser steps of the warm-up, counted within the total.
        warmup_factor: at step 0 of the warm-up.

    Raises:
        MultisegError: a number is out of its range.
    """

    warmup_steps: int = 0
    warmup_factor: float = 0.001

    def __post_init__(self) -> None:
        self._require(self.warmup_steps >= 0, "warmup_steps must not be negative")
        self._require(0 <= self.warmup_factor <= 1, "warmup_factor must lie in 0..1")

    def __call__(self, step: int, total: int) -> float:
        """The factor, in 0..1.

        Args:
            step: optimiser steps taken so far; `total` after the last.
            total: optimiser steps of the run. A warm-up longer than the run just never ends.
        """
        if step < self.warmup_steps:
            return self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps
        return self.after_warmup(step, total)

    @abstractmethod
    def after_warmup(self, step: int, total: int) -> float:
        """The factor at a step of the run, never called within the warm-up."""

    def progress(self, step: int, total: int) -> float:
        """Share of the steps after the warm-up that are taken, in 0..1."""
        return min((step - self.warmup_steps) / max(total - self.warmup_steps, 1), 1.0)

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise MultisegError(f"schedule {type(self).__name__}: {message}.")


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """1 after the warm-up."""

    def after_warmup(self, step: int, total: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Poly(Schedule):
    """`(1 - progress) ** power`, down to `end_factor` (the schedule of DeepLab and PSPNet).

    Args:
        power: 1 is a straight line.
        end_factor: at the last step.
    """

    power: float = 0.9
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.power > 0, "power must be positive")
        self._require(0 <= self.end_factor <= 1, "end_factor must lie in 0..1")

    def after_warmup(self, step: int, total: int) -> float:
        return float(self.end_factor + (1 - self.end_factor) * (1 - self.progress(step, total)) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `end_factor` (Loshchilov and Hutter 2017, without restarts).

    Args:
        end_factor: at the last step.
    """

    end_factor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 <= self.end_factor <= 1, "end_factor must lie in 0..1")

    def after_warmup(self, step: int, total: int) -> float:
        wave = (1 + math.cos(math.pi * self.progress(step, total))) / 2
        return self.end_factor + (1 - self.end_factor) * wave


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Multiplied by `gamma` at every milestone.

    Args:
        milestones: shares of the whole run, warm-up included, so that a shorter run keeps the schedule's shape:
            60k and 80k of 90k steps are [0.6667, 0.8889].
        gamma: per milestone.
    """

    milestones: Sequence[float] = (2 / 3, 8 / 9)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(all(0 < milestone < 1 for milestone in self.milestones), "milestones must lie between 0 and 1")
        self._require(0 < self.gamma <= 1, "gamma must lie in 0..1")

    def after_warmup(self, step: int, total: int) -> float:
        passed = sum(step >= round(milestone * total) for milestone in self.milestones)
        return float(self.gamma**passed)
