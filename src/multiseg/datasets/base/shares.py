"""Splits drawn by chance, in which an image keeps its place whatever else comes or goes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True)
class Share:
    """A split that is drawn: whatever falls between two places on the line from 0 to 1, the second excluded."""

    start: float
    stop: float

    def distance(self, place: float) -> float:
        """How far a place lies outside; 0 inside."""
        return max(self.start - place, place - self.stop, 0.0)


def draw(keys: Iterable[str], shares: Mapping[str, Share], seed: int) -> dict[str, set[str]]:
    """Deals keys to splits.

    Where a key falls depends on itself and the seed alone, so it is the same on every machine and in any order, and new
    keys never move old ones. The price is that shares hold on average, not exactly. One exception: a split that would
    come out empty is lent the nearest key, as long as it has none of its own.

    Args:
        keys: different from one another.
        shares: of each split; they do not overlap.
        seed: another one, another draw.

    Returns:
        The keys of each split, empty only where there are too few for all splits.
    """
    places = {key: place_of(key, seed) for key in sorted(keys)}
    drawn = {
        name: {key for key, place in places.items() if share.start <= place < share.stop}
        for name, share in shares.items()
    }
    for name, share in shares.items():
        if drawn[name]:
            continue
        bound = {key for members in drawn.values() if len(members) == 1 for key in members}
        lendable = [key for key in places if key not in bound]
        if lendable:
            nearest = min(lendable, key=lambda key: (share.distance(places[key]), key))
            for members in drawn.values():
                members.discard(nearest)
            drawn[name].add(nearest)
    return drawn


def place_of(key: str, seed: int) -> float:
    """Where a key falls on the line from 0 to 1, 1 excluded."""
    # macOS may spell an accent as a character of its own; file names need not be UTF-8
    text = unicodedata.normalize("NFC", f"{seed}:{key}").encode("utf-8", "surrogatepass")
    return (int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 11) / 2**53
