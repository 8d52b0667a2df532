"""Lists the files below a root that may be images, masks, or say something about them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiseg.datasets.base import IMAGE_ENDINGS
from multiseg.datasets.folder import MASK_ENDINGS
from multiseg.errors import MultisegError


@dataclass(frozen=True)
class Tree:
    """The files below a root, paths relative to it with forward slashes.

    Args:
        root: the folder.
        pictures: names of the raster files in each folder that has some, sorted.
        texts: other small files that may say something about them.
    """

    root: Path
    pictures: Mapping[str, Sequence[str]]
    texts: Sequence[str]


def scan(root: Path) -> Tree:
    """Lists a folder and all below it, without hidden ones.

    Raises:
        MultisegError: there is no such folder.
    """
    if not root.is_dir():
        raise MultisegError(f"{root} is no folder." if root.exists() else f"the folder {root} does not exist.")
    pictures: dict[str, list[str]] = {}
    texts: list[str] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        relative = Path(where).relative_to(root).as_posix()
        names = sorted(name for name in files if not name.startswith("."))
        if rasters := [name for name in names if extension(name) in {*IMAGE_ENDINGS, *MASK_ENDINGS}]:
            pictures[relative] = rasters
        prefix = "" if relative == "." else f"{relative}/"
        texts += [prefix + name for name in names if extension(name) in _TEXTS]
    return Tree(root, pictures, texts)


_TEXTS = {".txt", ".lst", ".list", ".csv", ".tsv", ".json", ".yaml", ".yml", ".names"}


def extension(name: str) -> str:
    """The extension of a file name, with its dot, in lower case."""
    return os.path.splitext(name)[1].lower()
