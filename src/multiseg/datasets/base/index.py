"""Remembers what a dataset consists of, so that 120,000 files are listed once and not at every start.

An index is kept in the user's cache folder (`$MULTISEG_CACHE`, or `multiseg` below `$XDG_CACHE_HOME` or `~/.cache`),
never in the dataset, which may be shared or read-only. It is used only while every folder and list that was consulted
bears the stamp it had then, and while the reader's own code is the same.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from multiseg.cache import cache_folder
from multiseg.datasets.base.listing import Arrays, Listing, stamp

#: What takes less time to list than this, in seconds, is not worth a file.
WORTHWHILE = 0.2

#: A place that changed so recently, in seconds, may change again under the same stamp (file systems count in steps of
#: up to two seconds): an index of it is not kept.
SETTLED = 2.5


def indexed(key: tuple[str, ...] | None, listing: Listing, build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` makes, or that it made before if nothing has changed since.

    Args:
        key: all that the result depends on, besides the places that `build` looks into; None: nothing is remembered.
        listing: through which `build` looks.
        build: makes the arrays, of any plain type.
    """
    if key is None:
        return build()
    listing_code = [code_of(str(file)) for file in sorted(Path(__file__).parent.glob("*.py"))]
    digest = blake2b(json.dumps([*key, *listing_code]).encode(), digest_size=16).hexdigest()
    file = cache_folder() / "index" / f"{digest}.npz"
    kept = _read(file, listing.root)
    if kept is not None:
        return kept
    started = time.monotonic()
    with _collector_paused():
        arrays = build()
    if time.monotonic() - started >= WORTHWHILE and _is_settled(listing):
        _write(file, arrays, listing)
    return arrays


@cache
def code_of(file: str) -> str:
    """A checksum of a source file: an index made by another version of a reader is not used."""
    return f"{zlib.crc32(Path(file).read_bytes()):08x}"


def _read(file: Path, root: Path) -> Arrays | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            places = json.loads(stored["_places"].tobytes())
            if any(stamp(root / path) != (None if was is None else tuple(was)) for path, was in places.items()):
                return None
            return {name: stored[name] for name in stored.files if name != "_places"}
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return None  # absent or damaged: it is made again


def _write(file: Path, arrays: Arrays, listing: Listing) -> None:
    places = np.frombuffer(json.dumps(listing.places).encode(), np.uint8)
    unfinished = file.with_suffix(f".{os.getpid()}.partial")
    # a home without room or permission costs time, nothing else
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as out:
                np.savez(out, _places=places, **arrays)  # type: ignore[arg-type]
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """A JSON of a million segments is a million objects, none of them garbage: looking for some takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_settled(listing: Listing) -> bool:
    latest = time.time_ns() - SETTLED * 1e9
    return all(known is None or known[0] < latest for known in listing.places.values())
