"""Where a dataset lies: a folder, or the URL of a packed one on object storage, which must not be taken for a path."""

from __future__ import annotations

import re
from pathlib import Path


def is_url(root: Path | str) -> bool:
    """Whether it names a place such as s3://bucket/camvid."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(root)) is not None


def as_written(root: str) -> str:
    """A root from the command line: a URL without a slash at its end, or a path with the home folder in full."""
    return root.rstrip("/") if is_url(root) else str(Path(root).expanduser())


def absolute(root: str) -> str:
    """A root that holds from any working directory."""
    return as_written(root) if is_url(root) else str(Path(root).expanduser().absolute())
