"""What happens around a training step: checkpoints, the random state, progress where there is no terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only

from multiseg.loading.broken_files import SkippedFiles
from multiseg.log import CsvLog
from multiseg.run_folder import RunFolder


class Checkpoints(Callback):
    """last.ckpt before and after every validation, and every so many steps if wanted; best.ckpt where the mean mIoU, or
    what else the method is judged by, was highest.

    A checkpoint from before a validation says that one is due, and a resumed run begins with it.

    Args:
        run: whose folder they go to.
        val_every: steps between validations.
        every: steps between two last.ckpt; None: at validations only.

    Attributes:
        validation_due: whether the checkpoint that was loaded is from before a validation.
        validated: whether there was a validation since.
    """

    def __init__(self, run: RunFolder, val_every: int, every: int | None) -> None:
        self.run = run
        self.val_every = val_every
        self.every = every
        self.best: float | None = None
        self.validation_due = False
        self.validated = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        if self.validation_due:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        step = trainer.global_step
        updated = (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.every and updated and step % self.every == 0 and step % self.val_every:
            self.save(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not self.validation_due:
            self.validation_due = True
            self.save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        self.validated = True
        if trainer.state.fn != "fit":
            return
        self.validation_due = False
        # the best first: last.ckpt says that it has been saved
        if self.improves(float(trainer.callback_metrics[str(pl_module.best_by)])):
            trainer.save_checkpoint(self.run.best_checkpoint)
        trainer.save_checkpoint(self.run.last_checkpoint)

    def improves(self, score: float) -> bool:
        """Whether a score is the best so far, which is then remembered. One that is no number is better than none."""
        improved = self.best is None or score > self.best
        if improved and not math.isnan(score):
            self.best = score
        return improved

    def save(self, trainer: lightning.Trainer) -> None:
        """Save last.ckpt at the end of a step, with the step's row in the log: Lightning writes that only afterwards,
        and a run killed between would lack it.
        """
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            logged = trainer.logged_metrics.items()
            values = {name: float(value) for name, value in logged if not name.startswith("val/")}
            for logger in trainer.loggers:
                if isinstance(logger, CsvLog):
                    logger.log_metrics(values, trainer.global_step - 1)
                logger.save()  # event files are otherwise written every two minutes
        trainer.save_checkpoint(self.run.last_checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "validation_due": self.validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        self.validation_due = state_dict.get("validation_due", False)


class SkippedFilesLog(Callback):
    """Logs how many images of each dataset were left out so far.

    Args:
        skipped: counts of this process.
    """

    def __init__(self, skipped: SkippedFiles) -> None:
        self.skipped = skipped

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            counts = {f"skipped/{name}": float(count) for name, count in self.skipped.totals().items()}
            pl_module.log_dict(counts, reduce_fx="sum", sync_dist=trainer.world_size > 1)


class FinalValidation(Callback):
    """Validates after the last step also where that is no multiple of the interval."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


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
