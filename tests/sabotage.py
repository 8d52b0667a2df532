"""Runs in processes of their own to which bad things happen.

They are forked from a process that has imported everything, so that a run takes a second or two.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Sabotage = Callable[[], None]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["multiseg.training", "multiseg.commands.tables", "tensorboard", "torch._dynamo"])


class Run:
    """`multiseg` in a process of its own.

    Args:
        arguments: of the command.
        output: file for all that it prints.
        sabotage: called in the process before anything else.
        environment: variables that it has besides.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        output: Path,
        sabotage: Sabotage | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.output = output
        told = [str(argument) for argument in arguments]
        self.process = _context.Process(target=_run, args=(told, str(output), sabotage, dict(environment or {})))
        self.process.start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self, timeout: float = 180) -> int:
        """The exit code; of a killed process minus the signal."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {timeout} s: {self.said()}")
        return self.process.exitcode

    def wait_for(self, path: Path, timeout: float = 120) -> bool:
        """Whether a file appeared before the process ended."""
        ends = time.monotonic() + timeout
        while self.process.is_alive() and time.monotonic() < ends:
            if path.exists():
                return True
            time.sleep(0.001)
        return False

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


def _run(arguments: list[str], output: str, sabotage: Sabotage | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    from multiseg.cli import main

    if sabotage:
        sabotage()
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as after a real command, nobody waits for threads of libraries


class SlowDisk:
    """Each checkpoint takes so long to reach the disk that most kills come in the middle of one."""

    def __call__(self) -> None:
        fsync = os.fsync

        def slow(handle: int) -> None:
            time.sleep(0.1)
            fsync(handle)

        os.fsync = slow


class AtStep:
    """Does something when a step begins, before its loss is computed.

    Args:
        step: updates before it.
        action: what.
    """

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        self.step = step
        self.action = action

    def __call__(self) -> None:
        from multiseg.callbacks import StepSeeds

        original, action, at = StepSeeds.on_train_batch_start, self.action, self.step

        def sabotaged(self: Any, trainer: Any, *args: Any) -> None:
            if trainer.global_step == at:
                action()
            original(self, trainer, *args)

        StepSeeds.on_train_batch_start = sabotaged


class LossOfNothing:
    """From one step on the loss is no number.

    Args:
        step: updates before it.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self) -> None:
        from lightning.pytorch.strategies import Strategy

        original, at = Strategy.training_step, self.step

        def sabotaged(self: Any, *args: Any) -> Any:
            loss = original(self, *args)
            return loss * float("nan") if self.lightning_module.trainer.global_step >= at else loss

        Strategy.training_step = sabotaged


class DiskFull:
    """No file may grow beyond a few kilobytes."""

    def __call__(self) -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


class OutOfMemory:
    def __call__(self) -> None:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


class _OnFiles:
    """
    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)


class Truncate(_OnFiles):
    """Cuts off nearly all of files."""

    def __call__(self) -> None:
        for path in self.paths:
            os.truncate(path, path.stat().st_size // 20)


class Block(_OnFiles):
    """Reading files takes for ever, as from a network disk that is gone."""

    def __call__(self) -> None:
        for path in self.paths:
            pipe = path.with_suffix(".pipe")
            os.mkfifo(pipe)
            pipe.replace(path)  # at once: nobody finds that it does not exist
