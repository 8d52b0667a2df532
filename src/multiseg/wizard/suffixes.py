"""Finds the suffixes under which file names belong together: `7_image.jpg` and `7_label.png`."""

from __future__ import annotations

import bisect
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

from multiseg.datasets.folder import MASK_ENDINGS
from multiseg.inspection.passing import evenly_spread
from multiseg.wizard.tree import Tree, extension

_T = TypeVar("_T")


def common_suffixes(tree: Tree, leaves: list[tuple[str, str]], sample: int, share: float) -> set[tuple[str, str]]:
    """The suffixes under which files have partners.

    Args:
        tree: the files.
        leaves: folders of files, and those of their partners; within one folder these are masks.
        sample: so many files of each folder are asked.
        share: so many of them must agree.
    """
    votes: Counter[tuple[str, str]] = Counter()
    asked = 0
    for leaf, other in leaves:
        beside = [name for name in tree.pictures[leaf] if extension(name) in MASK_ENDINGS] if leaf == other else []
        stems = sorted(os.path.splitext(name)[0] for name in beside or tree.pictures[other])
        names = evenly(tree.pictures[leaf], sample)
        asked += len(names)
        for name in names:
            votes.update(_suffixes(name, stems, beside))
    return {suffixes for suffixes, voices in votes.most_common(8) if voices >= share * asked}


def _suffixes(name: str, stems: list[str], beside: Sequence[str]) -> set[tuple[str, str]]:
    """Suffixes under which a file would have a partner among sorted stems.

    Args:
        name: of the file.
        stems: of possible partners.
        beside: the names of possible masks in the same folder, where these are the partners.
    """
    stem, ending = os.path.splitext(name)
    if not beside:
        place = bisect.bisect_left(stems, stem)
        if stems[place : place + 1] == [stem]:
            return {("", "")}
    elif ending.lower() not in MASK_ENDINGS:
        twins = {(ending, other[len(stem) :]) for other in beside if other[: len(stem)] == stem}
        if found := {(own, other) for own, other in twins if other.lower() in MASK_ENDINGS}:
            return found
    others = [other for other in stems if other != stem] if beside else stems
    place = bisect.bisect_left(others, stem)
    length = max((_shared(stem, near) for near in others[max(place - 1, 0) : place + 1]), default=0)
    if not length:
        return set()
    first = bisect.bisect_left(others, stem[:length])
    found = set()
    for other in islice(others, first, first + 12):
        if other[:length] == stem[:length] and (pair := _parted(stem, other, length)):
            found.add(pair)
    return found


def _shared(first: str, second: str) -> int:
    """How many letters two names begin with in common."""
    different = (place for place, (one, two) in enumerate(zip(first, second, strict=False)) if one != two)
    return next(different, min(len(first), len(second)))


def _parted(stem: str, other: str, length: int) -> tuple[str, str] | None:
    """What follows the part that two names share, from its last separator on; None where numbers would be torn."""
    shared, ends = stem[:length], (stem[length:], other[length:])
    if any(end[:1].isdigit() and shared[-1:].isdigit() for end in ends):
        return None
    if all(ends) and not shared[-1:].isdigit():
        cut = max(shared.rfind(separator) for separator in "_-. ")
        if cut < 1:
            return None
        return stem[cut:], other[cut:]
    return ends[0], ends[1]


def evenly(items: Sequence[_T], count: int) -> list[_T]:
    """At most so many items, evenly spread."""
    return [items[place] for place in evenly_spread(len(items), count)]
