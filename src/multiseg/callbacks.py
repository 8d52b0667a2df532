"""What happens around a training step: checkpoints, the random state, progress where there is no terminal."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from typing import Any

import lightning
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from multiseg.log import CsvLog
from multiseg.run_folder import RunFolder


class Checkpoints(Callback):
    """last.ckpt at every validation, and every so many steps if wanted; best.ckpt where the mean mIoU, or what else the
    method is judged by, was highest.

    Each is written beside its place and then moved there (by Lightning), so a crash leaves the one before.

    Args:
        run: whose folder they go to.
        val_every: steps between validations.
        every: steps between two last.ckpt; None: at validations only.
    """

    def __init__(self, run: RunFolder, val_every: int, every: int | None) -> None:
        self.run = run
        self.val_every = val_every
        self.every = every
        self.best: float | None = None

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        step = trainer.global_step
        updated = (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # where a validation follows, it saves; before it, its result could be lost
        if self.every and updated and step % self.every == 0 and step % self.val_every:
            save_with_log(trainer, self.run)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[str(pl_module.best_by)])
        improved = self.best is None or score > self.best
        if improved and not math.isnan(score):
            self.best = score
        # the best first: last.ckpt says that it has been saved
        if improved:
            trainer.save_checkpoint(self.run.best_checkpoint)
        trainer.save_checkpoint(self.run.last_checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def save_with_log(trainer: lightning.Trainer, run: RunFolder) -> None:
    """Save last.ckpt at the end of a step, with the step's row in the log: Lightning writes that only afterwards, and
    a run killed between would lack it.
    """
    if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
        values = {name: float(value) for name, value in trainer.logged_metrics.items() if not name.startswith("val/")}
        for logger in trainer.loggers:
            if isinstance(logger, CsvLog):
                logger.log_metrics(values, trainer.global_step - 1)
                logger.save()
    trainer.save_checkpoint(run.last_checkpoint)


class FinalValidation(Callback):
    """Validates after the last step also where that is no multiple of the interval."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


class Interruption(Callback):
    """Ctrl-C finishes the update and, where one is due, the validation; saves; and ends the run. A second one ends it
    at once.

    Args:
        run: whose last.ckpt is written.
        val_every: steps between validations.
    """

    def __init__(self, run: RunFolder, val_every: int) -> None:
        self.run = run
        self.val_every = val_every
        self.asked = False
        self._before: Any = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        updated = (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # one process may have been asked before another: all decide together
        if updated and trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            self.asked = True
            if trainer.global_step % self.val_every and trainer.global_step < trainer.max_steps:
                save_with_log(trainer, self.run)
                raise KeyboardInterrupt

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        if self.asked and trainer.global_step < trainer.max_steps:
            raise KeyboardInterrupt  # `Checkpoints` has saved

    def on_exception(self, trainer: lightning.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def teardown(self, trainer: lightning.Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _say("stopping after this step (Ctrl-C again: at once)")


class StepSeeds(Callback):
    """Seeds torch before every step from (seed, batch number, rank): dropout is then the same in an interrupted and
    resumed run as in one that was not, without any random state in the checkpoint.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        number = trainer.fit_loop.epoch_loop.total_batch_idx
        # an odd multiplier spreads neighbouring (seed, number, rank) over the 63 bits
        mixed = ((self.seed * 1_000_003 + number) * 1_000_003 + trainer.global_rank) * 0x9E3779B97F4A7C15
        torch.manual_seed(mixed % 2**63)


class Progress(RichProgressBar):
    """A bar with time left and the loss of each dataset."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})  # standard output is for results

    def get_metrics(self, trainer: lightning.Trainer, pl_module: LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items


class PlainProgress(Callback):
    """The same for a log file or a pipe: about twenty lines a run.

    Args:
        steps: of the run.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.every = max(1, steps // 20)
        self.started = 0.0
        self.first_step = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()
        self.first_step = trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        step = trainer.global_step
        if (
            step % self.every == 0
            and (trainer.fit_loop.epoch_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
        ):
            seconds = time.monotonic() - self.started
            left = seconds / max(step - self.first_step, 1) * (self.steps - step)
            metrics = trainer.progress_bar_metrics
            shown = "  ".join(f"{name} {value:.3g}" for name, value in metrics.items() if isinstance(value, float))
            _say(f"step {step}/{self.steps}  {shown}  {_clock(left)} left")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        judged_by = str(pl_module.best_by).removeprefix("val/")
        shown = "  ".join(
            f"{name[4:]} {float(metrics[name]):.{1 if kind in ('mIoU', 'PQ') else 3}f}"
            for kind in dict.fromkeys(("mIoU", "PQ", judged_by))
            for name in metrics
            if name.startswith("val/") and name.endswith(kind)
        )
        if shown != "mIoU nan":  # of a method that predicts nothing
            _say(f"step {trainer.global_step}/{self.steps}  validation: {shown}")


@rank_zero_only
def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
