"""Where this package keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder: `$MULTISEG_CACHE`, or `multiseg` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := os.environ.get("MULTISEG_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "multiseg"
