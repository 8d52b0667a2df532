"""Checkpoints on disk: whole or not there, the one before kept, and the newest that can be read found again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from multiseg.console import say
from multiseg.errors import MultisegError
from multiseg.run_folder import RunFolder, first_line, read_checkpoint, replacing


class CheckpointFiles(TorchCheckpointIO):
    """Writes each checkpoint beside its place and moves it there once the disk has it, so that neither a kill nor a
    power cut leaves a part of one; last.ckpt then becomes previous.ckpt.

    Lightning's own writes through the system's folder of temporary files, and from there copies where that is another
    disk; and it holds a second copy of everything in memory.

    Args:
        run: whose checkpoints they are.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        #: last.ckpt is known to be broken: it must not take the place of a good one
        self.last_is_broken = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """
        Raises:
            OSError: the disk is full or refuses; what was there before is still there.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path == self.run.last_checkpoint:
                if path.is_file() and not self.last_is_broken:
                    os.replace(path, self.run.previous_checkpoint)
                self.last_is_broken = False
        _sync_folder(path.parent)


class Found(NamedTuple):
    """A checkpoint that can be read.

    Args:
        path: of the file.
        step: updates before it.
    """

    path: Path
    step: int


def newest_checkpoint(run: RunFolder) -> Found | None:
    """What a run can go on from: last.ckpt, or where that is broken or was just about to be replaced, the one before.
    None where a run has no checkpoint yet.

    Raises:
        MultisegError: none of those that are there can be read.
    """
    faults: list[str] = []
    for path in (run.last_checkpoint, run.previous_checkpoint, run.best_checkpoint):
        if not path.is_file():
            continue
        try:
            step = _whole(path)["global_step"]
        except MultisegError as error:
            faults.append(str(error).removesuffix("."))
            continue
        if faults:
            say(f"{'; '.join(faults)}: going on from {path.name}, which is older.")
        return Found(path, step)
    if faults:
        raise MultisegError(f"no checkpoint can be read: {'; '.join(faults)}.")
    return None


def _whole(path: Path) -> dict[str, Any]:
    """As `read_checkpoint`, every byte of the file looked at.

    Raises:
        MultisegError: it is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:
        raise MultisegError(f"the checkpoint {path} is broken: {first_line(error)}") from None
    if damaged is not None:
        raise MultisegError(f"the checkpoint {path} is broken: {damaged} is damaged.")
    return read_checkpoint(path)


def _sync_folder(folder: Path) -> None:
    """After this a power cut does not undo a renaming. Windows has no such thing, and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
