"""Label spaces: what the ids of a dataset's masks mean, and how several label spaces join into one.

Masks leave a dataset in *contiguous ids* `0..K-1`, with every ignored pixel at `IGNORE`. Only this module knows raw
ids, that is, the numbers or colours in the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError, did_you_mean

#: The one ignore value. Negative, so that no class of any union can ever take it (255 is a class once there are 256).
IGNORE = -1

#: Largest raw id looked up through a dense table; above it (colours, panoptic ids) through a hash table.
_DENSE_MAX = 2**16

_UNKNOWN = -2

#: Pixels translated at a time: numpy widens ids to 64 bits first, which should not leave the cache.
_PIECE = 2**15

LabelArray = NDArray[np.int16]


def pack_colors(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """`R + 256 G + 65536 B` of every pixel: the raw id of a colour, and COCO's panoptic id.

    Shape:
        rgb: (..., 3) uint8; returns: (...) int32.
    """
    wide = rgb.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


class UnknownIdsError(MultisegError):
    """A mask holds raw ids that are neither a class nor ignored.

    Args:
        message: for people.
        ids: those raw ids.
    """

    def __init__(self, message: str, ids: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)

    def __reduce__(self) -> tuple[type[UnknownIdsError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.ids)  # from a loading worker to the trainer


@dataclass(frozen=True)
class LabelClass:
    """One class of a label space.

    Args:
        name: as the dataset spells it.
        raw_ids: the values in the mask files that stand for it (colours packed by `pack_colors`).
        color: for pictures, RGB 0..255.
        thing: countable (panoptic "thing") or not ("stuff").
    """

    name: str
    raw_ids: tuple[int, ...]
    color: tuple[int, int, int]
    thing: bool = False


@dataclass(frozen=True)
class LabelSpace:
    """The classes of one dataset, in order; a class's place is its contiguous id.

    Args:
        name: of the dataset. It is the key by which methods find the dataset's classifier.
        classes: in the order of their contiguous ids; none where nothing is labelled.
        ignore_ids: raw ids that are ignored on purpose. Any raw id in neither is an error, never silently ignored.

    Raises:
        MultisegError: a name or a raw id occurs twice.
    """

    name: str
    classes: tuple[LabelClass, ...]
    ignore_ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        _refuse_repeats(self.names, f"label space '{self.name}': the class name")
        raw_ids = [raw for entry in self.classes for raw in entry.raw_ids]
        _refuse_repeats([*raw_ids, *self.ignore_ids], f"label space '{self.name}': the raw id")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """Shape: (K, 3)."""
        return np.array([entry.color for entry in self.classes], np.uint8).reshape(-1, 3)  # also without classes

    @cached_property
    def things(self) -> NDArray[np.bool_]:
        """Shape: (K,)."""
        return np.array([entry.thing for entry in self.classes], np.bool_)

    def index(self, class_name: str) -> int:
        """The contiguous id of a class.

        Raises:
            MultisegError: there is no such class; the message names the nearest one.
        """
        try:
            return self.names.index(class_name)
        except ValueError:
            hint = did_you_mean(class_name, self.names)
            raise MultisegError(f"dataset '{self.name}' has no class '{class_name}'; {hint}") from None

    def from_raw(self, raw: NDArray[Any], where: str = "a mask", as_colors: bool = False) -> LabelArray:
        """Raw ids of a mask to contiguous ids.

        Args:
            raw: raw ids as in the file, any integer type.
            where: the file, for the error message.
            as_colors: raw ids are colours packed by `pack_colors`; the message shows them as such.

        Shape:
            raw: (H, W); returns: (H, W) int16 with `IGNORE` where ignored.

        Raises:
            UnknownIdsError: a raw id is neither a class nor ignored.
        """
        labels = self._look_up(raw)
        if labels.size and labels.min() == _UNKNOWN:
            unknown = np.unique(raw[labels == _UNKNOWN])
            known = [raw for raw, _ in self._pairs]
            shown, valid = (_listed(ids, most, as_colors) for ids, most in ((unknown.tolist(), 5), (known, 12)))
            what = "colour" if as_colors else "id"
            raise UnknownIdsError(
                f"{where}: {what} {shown} is no class of '{self.name}' and not ignored; known: {valid}.",
                unknown.tolist(),
            )
        return labels

    def to_raw(self, labels: LabelArray, ignore_raw: int | None = None) -> NDArray[np.int32]:
        """Contiguous ids to raw ids: for each class its first raw id.

        Args:
            labels: (H, W) contiguous ids.
            ignore_raw: what to write where ignored; by default the first of `ignore_ids`.
        """
        if ignore_raw is None:
            ignore_raw = self.ignore_ids[0] if self.ignore_ids else 255
        table = np.array([entry.raw_ids[0] for entry in self.classes] + [ignore_raw], np.int32)
        return table[labels]  # IGNORE is -1, so it takes the last entry

    def colorize(self, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """RGB picture of contiguous ids; ignored pixels are black. Shape: (H, W) to (H, W, 3)."""
        picture: NDArray[np.uint8] = np.concatenate([self.colors, np.zeros((1, 3), np.uint8)])[labels]
        return picture

    def renamed(self, name: str) -> LabelSpace:
        """The same classes under another dataset name."""
        return LabelSpace(name, self.classes, self.ignore_ids)

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables, which a loading worker would otherwise send with every batch."""
        return {"name": self.name, "classes": self.classes, "ignore_ids": self.ignore_ids}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "classes": [
                {
                    "name": entry.name,
                    "raw_ids": list(entry.raw_ids),
                    "color": list(entry.color),
                    "thing": entry.thing,
                }
                for entry in self.classes
            ],
            "ignore_ids": list(self.ignore_ids),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSpace:
        classes = tuple(
            LabelClass(c["name"], tuple(c["raw_ids"]), tuple(c["color"]), bool(c["thing"])) for c in data["classes"]
        )
        return cls(data["name"], classes, tuple(data["ignore_ids"]))

    def _look_up(self, raw: NDArray[Any]) -> LabelArray:
        if self._dense is not None:
            if raw.dtype.kind == "u":  # what lies beyond the table takes its last entry, which is always _UNKNOWN
                return _taken(self._dense, raw)
            top = len(self._dense) - 1
            inside = (raw >= 0) & (raw < top)
            return self._dense[np.where(inside, raw, top)]
        multiplier, shift, keys, values = self._hashed
        place = (raw.astype(np.uint32) * multiplier) >> shift
        labels = values.take(place)
        labels[keys.take(place) != raw] = _UNKNOWN
        return labels

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        classes = [(raw, index) for index, entry in enumerate(self.classes) for raw in entry.raw_ids]
        return sorted(classes + [(raw, IGNORE) for raw in self.ignore_ids])

    @cached_property
    def _dense(self) -> LabelArray | None:
        if any(not 0 <= raw < _DENSE_MAX for raw, _ in self._pairs):
            return None
        size = 1 + max([255, *(raw for raw, _ in self._pairs)])
        table = np.full(size + 1, _UNKNOWN, np.int16)
        for raw, label in self._pairs:
            table[raw] = label
        return table

    @cached_property
    def _hashed(self) -> tuple[np.uint32, np.uint32, NDArray[np.int64], LabelArray]:
        """A multiplicative hash without collisions, so that one comparison tells a known id from an unknown one.

        On the nine colours of LabelMeFacade it takes less than half the time of a binary search.
        """
        raw_ids = np.array([raw for raw, _ in self._pairs], np.int64)
        generator = np.random.default_rng(0)
        for bits in range(max(1, (len(raw_ids) - 1).bit_length()), 25):
            shift = np.uint32(32 - bits)
            for multiplier in generator.integers(2**32, size=64, dtype=np.uint32) | np.uint32(1):
                place = (raw_ids.astype(np.uint32) * multiplier) >> shift
                if len(np.unique(place)) == len(raw_ids):
                    keys = np.full(2**bits, raw_ids[0], np.int64)  # an empty slot holds a key that hashes elsewhere
                    values = np.full(2**bits, _UNKNOWN, np.int16)
                    keys[place] = raw_ids
                    values[place] = [label for _, label in self._pairs]
                    return multiplier, shift, keys, values
        raise MultisegError(f"label space '{self.name}': its raw ids do not fit in 32 bits.")


@dataclass(frozen=True)
class Union:
    """Several label spaces joined into one.

    Args:
        space: of the union.
        tables: for each dataset by name, the union id of each of its classes.
    """

    space: LabelSpace
    tables: Mapping[str, tuple[int, ...]]

    def to_union(self, labels: LabelArray, dataset: str) -> LabelArray:
        """A dataset's contiguous ids to the union's; `IGNORE` stays. Shape: (H, W) to (H, W)."""
        return np.array([*self.tables[dataset], IGNORE], np.int16)[labels]

    def lookup(self) -> NDArray[np.int64]:
        """All tables as one, for images of many datasets at a time: a row for each, filled up with `IGNORE`. There is
        always one more column than classes: as the last one it serves `IGNORE`, which is -1.

        Shape: (datasets, largest number of classes + 1).
        """
        columns = max(map(len, self.tables.values()), default=0) + 1
        rows = [[*table, *[IGNORE] * (columns - len(table))] for table in self.tables.values()]
        return np.array(rows, np.int64)


def disjoint_union(spaces: Sequence[LabelSpace]) -> Union:
    """Every (dataset, class) pair is a class of its own: two datasets' "wall" are two classes (MDP, section 3.1)."""
    _refuse_repeats([space.name for space in spaces], "union of label spaces: the dataset name")
    classes: list[LabelClass] = []
    tables: dict[str, tuple[int, ...]] = {}
    for space in spaces:
        tables[space.name] = tuple(range(len(classes), len(classes) + len(space)))
        for entry in space.classes:
            classes.append(LabelClass(f"{space.name}/{entry.name}", (len(classes),), entry.color, entry.thing))
    return Union(LabelSpace("disjoint", tuple(classes)), tables)


def same_name(name: str) -> str:
    """The key under which names count as identical: case, hyphens, underscores and double spaces do not matter."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def union_by_name(spaces: Sequence[LabelSpace]) -> Union:
    """Classes with the same name are one class; the first dataset that has it gives spelling, colour and thing flag."""
    _refuse_repeats([space.name for space in spaces], "union of label spaces: the dataset name")
    classes: list[LabelClass] = []
    place: dict[str, int] = {}
    tables: dict[str, tuple[int, ...]] = {}
    for space in spaces:
        table = []
        for entry in space.classes:
            key = same_name(entry.name)
            if key not in place:
                place[key] = len(classes)
                classes.append(LabelClass(entry.name, (len(classes),), entry.color, entry.thing))
            table.append(place[key])
        _refuse_repeats(table, f"dataset '{space.name}' has two classes of the same name: union id")
        tables[space.name] = tuple(table)
    return Union(LabelSpace("by_name", tuple(classes)), tables)


def find_space(spaces: Iterable[LabelSpace], name: str) -> LabelSpace:
    """The label space of a dataset.

    Raises:
        MultisegError: there is none of that name; the message names the nearest one.
    """
    by_name = {space.name: space for space in spaces}
    if name not in by_name:
        raise MultisegError(f"no dataset '{name}' here; {did_you_mean(name, by_name)}")
    return by_name[name]


def raw_text(raw: int, as_colors: bool) -> str:
    """A raw id for people: the number, or the colour that `pack_colors` packed."""
    return f"({raw % 256}, {raw // 256 % 256}, {raw // 65536})" if as_colors else str(raw)


def _taken(table: LabelArray, raw: NDArray[Any]) -> LabelArray:
    """As `table.take(raw, mode="clip")`, in less than half the time for a large mask."""
    labels = np.empty(raw.shape, table.dtype)
    flat_raw, flat = raw.reshape(-1), labels.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        flat[start : start + _PIECE] = table.take(flat_raw[start : start + _PIECE], mode="clip")
    return labels


def _listed(raw_ids: Sequence[int], most: int, as_colors: bool) -> str:
    return ", ".join(raw_text(raw, as_colors) for raw in raw_ids[:most]) + (", …" if len(raw_ids) > most else "")


def _refuse_repeats(items: Sequence[object], what: str) -> None:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            raise MultisegError(f"{what} '{item}' occurs twice.")
        seen.add(item)
