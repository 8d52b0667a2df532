"""Images that are named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multiseg.errors import MultisegError

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Files as given, and the images directly inside folders.

    Raises:
        MultisegError: a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _is_image(file))
            if not inside:
                raise MultisegError(f"{path} holds no image ({', '.join(sorted(_IMAGE_SUFFIXES))}).")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise MultisegError(f"{path} does not exist.")
    return files


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _IMAGE_SUFFIXES and not file.name.startswith(".")
