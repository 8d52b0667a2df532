"""What ends a run in good order: a signal, or a loss that is no number any more."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning
import torch
import torch.distributed as dist
from lightning import Callback, LightningModule
from torch import Tensor

from multiseg.errors import Interrupted, MultisegError, SaidByAnotherError

#: Ctrl-C, the end of a job on a cluster, and the warning that SLURM can be asked to give before (`--signal=USR1@120`).
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interruption(Callback):
    """A signal finishes the update, saves, and ends the run; a second Ctrl-C ends it at once.

    A validation is not finished: the checkpoint before it is complete, and a resumed run validates first.

    Args:
        save: writes last.ckpt, all processes together.
        val_every: steps between validations.
    """

    def __init__(self, save: Callable[[lightning.Trainer], None], val_every: int) -> None:
        self.save = save
        self.val_every = val_every
        self.asked = 0  # the number of the signal
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        # later than Lightning, whose handlers save in the middle of a step, and wait for one another
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in STOPPING}

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        updated = (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # one process may have been asked before another: all decide together
        if updated and (number := _largest(trainer, self.asked)):
            self.asked = number
            if trainer.global_step % self.val_every and trainer.global_step < trainer.max_steps:
                self.save(trainer)
                raise Interrupted(number)
            # else a validation follows, which saves before it begins

    def on_validation_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        # alone: processes may have unequal numbers of images, and those that are asked later end likewise
        if self.asked:
            raise Interrupted(self.asked)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        number = _largest(trainer, self.asked)
        if number and trainer.global_step < trainer.max_steps:
            raise Interrupted(number)  # `Checkpoints` has saved

    def on_exception(self, trainer: lightning.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def teardown(self, trainer: lightning.Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or number


class _Step(NamedTuple):
    """A batch whose loss is to be looked at.

    Args:
        finite: () bool.
        images: of the batch, as "dataset/key".
        number: of the batch.
    """

    finite: Tensor
    images: list[str]
    number: int


class FiniteLoss(Callback):
    """Stops a run at the first loss that is not finite, naming the images, and lets no checkpoint be written whose
    weights are not: what is on disk is from before.

    On an accelerator a loss is looked at when the next one is there, so that nothing waits for it.
    """

    def __init__(self) -> None:
        self._images: list[str] = []
        self._before: list[str] = []
        self._last: _Step | None = None

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._before, self._images = self._images, images_of(batch)

    def on_before_backward(self, trainer: lightning.Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._look(trainer, pl_module)
        number = trainer.fit_loop.epoch_loop.total_batch_idx
        self._last = _Step(loss.detach().isfinite().all(), self._images, number)
        if loss.device.type == "cpu" or trainer.world_size > 1:
            self._look(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._look(trainer, pl_module)
        if _largest(trainer, not weights_are_finite(pl_module)):
            images = _of_all(trainer, self._images)
            self._raise(trainer, f"the weights are no longer finite after step {trainer.global_step}", images)

    def _look(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        step, self._last = self._last, None
        if step is None:
            return
        finite = bool(step.finite)
        if not _largest(trainer, not finite):
            return
        # gradients may have ruined the weights while the loss was still a number: then the batch before is to blame
        ruined = self._before and _largest(trainer, not weights_are_finite(pl_module))
        if ruined and step.images is self._images:
            images = _of_all(trainer, self._before)
            self._raise(trainer, f"the gradients of batch {step.number - 1} were not finite", images)
        self._raise(
            trainer, f"the loss of batch {step.number} is not finite", _of_all(trainer, [] if finite else step.images)
        )

    def _raise(self, trainer: lightning.Trainer, what: str, images: list[str]) -> None:
        if not trainer.is_global_zero:
            raise SaidByAnotherError(what)
        shown = ", ".join(images[:8]) + (f" and {len(images) - 8} more" if len(images) > 8 else "")
        raise MultisegError(
            f"{what}; its images: {shown}. A lower method.optimizer.lr, --trainer.gradient_clip or --trainer.precision "
            "32-true may help."
        )


def images_of(batch: Any) -> list[str]:
    """The images of a batch of any kind, as "dataset/key"."""
    shown = getattr(batch, "first", batch)  # of views the first: the second are of the same images
    return [f"{space.name}/{key}" for space, key in zip(shown.spaces, shown.keys, strict=True)]


def weights_are_finite(module: torch.nn.Module) -> bool:
    """Whether every trained parameter is a number."""
    checks = [own.detach().isfinite().all() for own in module.parameters() if own.requires_grad]
    return not checks or bool(torch.stack(checks).all())


def _largest(trainer: lightning.Trainer, number: int) -> int:
    """The largest of the numbers of all processes."""
    if trainer.world_size == 1:
        return int(number)
    shared = torch.tensor(int(number), device=trainer.strategy.root_device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def _of_all(trainer: lightning.Trainer, images: list[str]) -> list[str]:
    if trainer.world_size == 1:
        return images
    everywhere: list[list[str]] = [[] for _ in range(trainer.world_size)]
    dist.all_gather_object(everywhere, images)
    return [image for own in everywhere for image in own]
