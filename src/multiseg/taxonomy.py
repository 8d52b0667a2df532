"""Relations between label spaces, and what can be done with them: relabelling one dataset in another's classes.

Relations live in a TSV that a person can edit:

    from_dataset  from_class  relation  to_dataset  to_class
    idd_lite      drivable    contains  camvid      Road

`relation` is one of `same`, `part of`, `contains`, `overlaps`, and reads from left to right.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import IGNORE, LabelArray, LabelSpace, same_name

RELATIONS = {"same": "same", "part of": "contains", "contains": "part of", "overlaps": "overlaps"}
_COLUMNS = ("from_dataset", "from_class", "relation", "to_dataset", "to_class")


@dataclass(frozen=True)
class Relation:
    """`from_class` of `from_dataset` is the same as / part of / … `to_class` of `to_dataset`."""

    from_dataset: str
    from_class: str
    relation: str
    to_dataset: str
    to_class: str

    def turned(self) -> Relation:
        """The same fact, told from the other side."""
        return Relation(self.to_dataset, self.to_class, RELATIONS[self.relation], self.from_dataset, self.from_class)


@dataclass(frozen=True)
class Remapping:
    """One dataset's classes in terms of another's.

    Args:
        source, target: the label spaces.
        table: for each source class the target class, `IGNORE` where it has none.
    """

    source: LabelSpace
    target: LabelSpace
    table: tuple[int, ...]

    def __call__(self, labels: LabelArray) -> LabelArray:
        """Source ids to target ids. Shape: (H, W) to (H, W)."""
        return np.array([*self.table, IGNORE], np.int16)[labels]

    @property
    def unmapped(self) -> tuple[str, ...]:
        """Source classes that are ignored."""
        return tuple(name for name, to in zip(self.source.names, self.table, strict=True) if to == IGNORE)

    @property
    def unreached(self) -> tuple[str, ...]:
        """Target classes that no source class maps to."""
        return tuple(name for index, name in enumerate(self.target.names) if index not in self.table)


def remap_by_name(source: LabelSpace, target: LabelSpace) -> Remapping:
    """Each source class to the target class of the same name; all others are ignored.

    Raises:
        MultisegError: no name is shared.
    """
    place = {same_name(name): index for index, name in enumerate(target.names)}
    table = tuple(place.get(same_name(name), IGNORE) for name in source.names)
    return _not_empty(Remapping(source, target, table), "they share no class name")


def remap_by_relations(source: LabelSpace, target: LabelSpace, relations: Iterable[Relation]) -> Remapping:
    """Each source class to the target class that is the same or contains it; all others are ignored.

    Raises:
        MultisegError: a source class has two such targets, or none has any.
    """
    table = [IGNORE] * len(source)
    for relation in relations:
        for fact in (relation, relation.turned()):
            if (fact.from_dataset, fact.to_dataset) != (source.name, target.name):
                continue
            if fact.relation in ("same", "part of"):
                start, end = source.index(fact.from_class), target.index(fact.to_class)
                if table[start] not in (IGNORE, end):
                    other = target.names[table[start]]
                    raise MultisegError(
                        f"relations map '{source.name}/{fact.from_class}' to both '{other}' and '{fact.to_class}'."
                    )
                table[start] = end
    return _not_empty(Remapping(source, target, tuple(table)), "the relations name none between them")


def relations_by_name(spaces: Sequence[LabelSpace]) -> list[Relation]:
    """`same` for every pair of classes of different datasets that share a name."""
    found = []
    for number, first in enumerate(spaces):
        for second in spaces[number + 1 :]:
            place = {same_name(name): name for name in second.names}
            for name in first.names:
                if same_name(name) in place:
                    found.append(Relation(first.name, name, "same", second.name, place[same_name(name)]))
    return found


def read_relations(path: Path, spaces: Iterable[LabelSpace] | None = None) -> list[Relation]:
    """Relations from a TSV; with `spaces`, those that name other datasets are left out and class names are checked.

    Raises:
        MultisegError: the file is missing or a line is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MultisegError(f"cannot read the relations in {path}: {error}") from None
    rows = list(csv.reader(text.splitlines(), delimiter="\t"))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise MultisegError(f"{path}, line 1: expected the tab-separated header {' '.join(_COLUMNS)}.")
    known = {space.name: space for space in spaces} if spaces is not None else None
    relations = []
    for number, row in enumerate(rows[1:], 2):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < len(_COLUMNS):
            raise MultisegError(
                f"{path}, line {number}: expected {len(_COLUMNS)} tab-separated columns, found {len(row)}."
            )
        relation = Relation(*(cell.strip() for cell in row[: len(_COLUMNS)]))
        if relation.relation not in RELATIONS:
            hint = did_you_mean(relation.relation, RELATIONS)
            raise MultisegError(f"{path}, line {number}: no relation '{relation.relation}'; {hint}")
        if known is not None:
            if relation.from_dataset not in known or relation.to_dataset not in known:
                continue
            try:
                known[relation.from_dataset].index(relation.from_class)
                known[relation.to_dataset].index(relation.to_class)
            except MultisegError as error:
                raise MultisegError(f"{path}, line {number}: {error}") from None
        relations.append(relation)
    return relations


def write_relations(path: Path, relations: Iterable[Relation]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(astuple(relation) for relation in relations)


def _not_empty(remapping: Remapping, why: str) -> Remapping:
    if all(to == IGNORE for to in remapping.table):
        raise MultisegError(
            f"no class of '{remapping.source.name}' maps to one of '{remapping.target.name}': {why}. "
            "Give the relations as a TSV."
        )
    return remapping
