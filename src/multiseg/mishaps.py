"""What can go wrong in the middle of a run, in one line: what it was, what to change, what is kept."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import lightning
import torch
import torch.distributed as dist

from multiseg.console import say
from multiseg.errors import Interrupted, MultisegError, SaidByAnotherError
from multiseg.run_folder import RunFolder

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


@contextmanager
def told_in_one_line(run: RunFolder, trainer: lightning.Trainer) -> Iterator[None]:
    """Inside, what ends a run ends it with a line that says how to go on.

    Raises:
        Interrupted: the run was asked to stop.
        MultisegError: something broke that is no fault of this program.
    """
    try:
        yield
    except SaidByAnotherError:
        raise
    except MultisegError as error:
        raise MultisegError(f"{error}{_kept(run)}") from None
    except Interrupted as interruption:
        raise Interrupted(interruption.number, _go_on(run) if trainer.is_global_zero else "") from None
    except SystemExit:  # Lightning's answer to a second Ctrl-C
        raise Interrupted(signal.SIGINT, _go_on(run)) from None
    except (OSError, RuntimeError, MemoryError) as error:
        told = explanation(error, run, validating=bool(trainer.validating))
        if told is None:
            raise
        raise MultisegError(f"{told}{_kept(run)}") from error


def explanation(error: BaseException, run: RunFolder, validating: bool = False) -> str | None:
    """One sentence on an exception, or on one that it followed from; None for what nobody foresaw.

    Args:
        error: as it was raised.
        run: the run's folder.
        validating: whether a validation was under way.
    """
    for cause in _causes(error):
        text = str(cause)
        if isinstance(cause, torch.OutOfMemoryError) or _mentions(text, "CUDA out of memory"):
            return f"the accelerator is out of memory: {_remedy(validating)}."
        if isinstance(cause, MemoryError) or _mentions(text, "can't allocate memory", "not enough memory"):
            return f"out of memory: {_remedy(validating)}."
        if match := re.search(r"DataLoader timed out after ([\d.]+) seconds", text):
            return (
                f"the loading workers gave no batch for {float(match[1]):g} s: are the disk and the network still "
                "there? (data.timeout is the limit)."
            )
        if _mentions(text, "bus error", "shared memory"):
            return "no shared memory is left for the loading workers: enlarge /dev/shm, or lower data.workers."
        if re.search(r"DataLoader worker.*(killed by signal|exited unexpectedly)", text):
            return "a loading worker was killed, as happens where memory runs out: lower data.workers."
        if isinstance(cause, OSError) and (told := _of_the_disk(cause, run)):
            return told
        if _of_a_peer(cause, text):
            return "another process of this run ended, or cannot be reached."
    return None


def warn_of_little_space(run: RunFolder, module: torch.nn.Module) -> None:
    """Says so where the disk may not hold the run's checkpoints: last, previous and best, and one that is being
    written, each with up to two averages of every weight.
    """
    weights = sum(own.numel() * own.element_size() for own in module.state_dict().values())
    needed, free = 4 * 3 * weights, shutil.disk_usage(run.path).free
    if free < needed:
        say(f"{run.path}: the disk has {free / 1e9:.2g} GB left, and checkpoints may take {needed / 1e9:.2g} GB.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those it followed from."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _mentions(text: str, *parts: str) -> bool:
    return any(part.lower() in text.lower() for part in parts)


def _remedy(validating: bool) -> str:
    if validating:
        return "go on with a smaller --data.eval_batch_size"
    return (
        "go on with more --devices, among which a batch is shared; or start anew with a smaller --batch-size or "
        "data.pipeline.crop, and --trainer.accumulate to make up for it"
    )


def _of_the_disk(error: OSError, run: RunFolder) -> str | None:
    number, where = error.errno, error.filename or run.path
    if number is None:  # raised anew by torch, with the loading worker's traceback as the message
        last = str(error).strip().splitlines()[-1] if str(error).strip() else ""
        match = re.fullmatch(r"\w*Error: \[Errno (\d+)\] .*?(?:: '(.+)')?", last)
        if match is None:
            return None
        number, where = int(match[1]), match[2] or run.path
    if number in _FULL:
        return f"no space is left for {where}: free some."
    return f"{where}: {os.strerror(number)}."


def _of_a_peer(error: BaseException, text: str) -> bool:
    if not (dist.is_available() and isinstance(error, RuntimeError)):
        return False
    return isinstance(error, dist.DistError) or _mentions(text, "gloo", "connection closed by peer", "connection reset")


def _kept(run: RunFolder) -> str:
    """What is not lost. Empty where there is no checkpoint yet."""
    if not run.last_checkpoint.is_file() and not run.previous_checkpoint.is_file():
        return ""
    return f"\nNothing before the last checkpoint is lost; {_go_on(run)}"


def _go_on(run: RunFolder) -> str:
    return f"to go on: multiseg train --run {run.path} --resume"
