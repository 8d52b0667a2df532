"""Which values masks hold: how masks are encoded, and how often each value occurs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multiseg.datasets.base import IMAGE_FORMATS, read_mask
from multiseg.errors import MultisegError
from multiseg.wizard.suffixes import evenly

#: So many masks are read, evenly spread; where there are no more, all.
SAMPLED = 1000

#: More values than this are no classes.
MOST_VALUES = 3000

#: Of so many masks the encoding is looked at.
_HEADERS = 24

Color = tuple[int, int, int]


@dataclass
class Value:
    """One value that masks hold.

    Args:
        raw: the id, or the colour as `pack_color` has it.
        pixels: how many have it.
        masks: in how many masks it occurs.
        runs: how many rows of neighbouring pixels they form.
        most: its largest share of one mask.
        example: that mask.
    """

    raw: int
    pixels: int = 0
    masks: int = 0
    runs: int = 0
    most: float = 0.0
    example: str = ""


@dataclass(frozen=True)
class Census:
    """What the masks of a dataset hold.

    Args:
        as_colors: they show colours rather than ids.
        values: by id; colours by how often they occur.
        palette: the colour of each id, where masks are palette images that have colours.
        pixels: in all masks read.
        read: how many masks that is.
        total: how many there are.
        broken: why masks could not be read.
    """

    as_colors: bool
    values: Sequence[Value]
    palette: dict[int, Color]
    pixels: int
    read: int
    total: int
    broken: Sequence[str] = field(default=())

    @property
    def is_blurred(self) -> bool:
        """Whether most values are single pixels between others: masks that were resized or saved as a JPEG."""
        specks = sum(value.pixels < 2 * value.runs for value in self.values)
        return len(self.values) > 24 and 2 * specks > len(self.values)


def take_census(
    root: Path, masks: Sequence[str], limit: int = SAMPLED, progress: Callable[[int], None] = lambda done: None
) -> Census:
    """Reads masks, all of them or an even sample.

    Args:
        root: the folder that paths are relative to.
        masks: at least one.
        limit: read at most so many.
        progress: called with how many are done.

    Raises:
        MultisegError: none can be read, or they hold more values than any set of classes.
    """
    sample = evenly(masks, limit)
    as_colors, palette = _encoding([root / mask for mask in sample])
    values: dict[int, Value] = {}
    broken: list[str] = []
    pixels = 0

    def count(mask: str) -> tuple[str, list[tuple[int, int, int]] | str]:
        try:
            return mask, _count(read_mask(root / mask, as_colors))
        except MultisegError as error:
            return mask, str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (mask, counts) in enumerate(pool.map(count, sample), 1):
            progress(done)
            if isinstance(counts, str):
                broken.append(counts)
                continue
            size = sum(number for _, number, _ in counts)
            pixels += size
            for raw, number, runs in counts:
                value = values.setdefault(raw, Value(raw))
                value.pixels += number
                value.masks += 1
                value.runs += runs
                if number / size > value.most:
                    value.most, value.example = number / size, mask
            if len(values) > MOST_VALUES:
                pool.shutdown(wait=False, cancel_futures=True)
                raise MultisegError(
                    f"{root / mask}: the masks up to here hold {len(values)} different values, too many for classes: "
                    "numbers of objects, or masks that were blurred or saved as a JPEG?"
                )
    if not values:
        raise MultisegError(f"none of {len(broken)} masks can be read; the first: {broken[0]}")
    order = sorted(values.values(), key=lambda value: (-value.pixels, value.raw) if as_colors else (value.raw, 0))
    return Census(as_colors, order, palette, pixels, len(sample) - len(broken), len(masks), broken)


def _count(raw: NDArray[Any]) -> list[tuple[int, int, int]]:
    """(value, pixels, runs) of one mask. Runs are a small part of the pixels, so only they are sorted."""
    flat = raw.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])[: flat.size])
    found, place = np.unique(flat[starts], return_inverse=True)
    place = place.reshape(-1)
    lengths = np.diff(np.append(starts, flat.size))
    pixels = np.bincount(place, weights=lengths, minlength=len(found)).astype(np.int64)
    return list(zip(found.tolist(), pixels.tolist(), np.bincount(place, minlength=len(found)).tolist(), strict=True))


def _encoding(paths: Sequence[Path]) -> tuple[bool, dict[int, Color]]:
    """Whether masks hold colours, and the palette that they share."""
    palette: dict[int, Color] = {}
    used: dict[int, Color] = {}
    for path in paths[:: max(1, len(paths) // _HEADERS)]:
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as file:
                pixels = np.asarray(file)
                entries = file.getpalette("RGB") if file.mode == "P" else None
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            continue  # reading it says why
        if pixels.ndim == 3 and pixels.shape[2] >= 3 and (pixels[..., :3] != pixels[..., :1]).any():
            return True, {}
        if entries:
            colors = np.array(entries, np.uint8).reshape(-1, 3).tolist()
            own = {index: (red, green, blue) for index, (red, green, blue) in enumerate(colors)}
            palette = palette or own
            for index in np.unique(pixels).tolist():
                # some programs number the colours of each file anew: then the colours count
                if index in own and used.setdefault(index, own[index]) != own[index]:
                    return True, {}
    is_grey = all(red == green == blue for red, green, blue in used.values())
    return False, {} if is_grey else palette | used


def unpacked(raw: int) -> Color:
    """The colour of a packed one."""
    return raw & 255, raw >> 8 & 255, raw >> 16
