"""Relations between label spaces, and what can be done with them: relabelling one dataset in another's classes.

Relations live in a TSV that a person can edit:

    from_dataset  from_class  relation  to_dataset  to_class
    idd_lite      drivable    contains  camvid      Road

`relation` is one of `same`, `part of`, `contains`, `overlaps`, and reads from left to right. Further columns, such as
the evidence for a relation, are for people; lines that start with `#` are remarks.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import IGNORE, LabelArray, LabelSpace, same_name

RELATIONS = {"same": "same", "part of": "contains", "contains": "part of", "overlaps": "overlaps"}
#: With which the header of a TSV of relations starts.
COLUMNS = ("from_dataset", "from_class", "relation", "to_dataset", "to_class")


@dataclass(frozen=True)
class Relation:
    """`from_class` of `from_dataset` is the same as / part of / … `to_class` of `to_dataset`.

    Raises:
        MultisegError: there is no such relation.
    """

    from_dataset: str
    from_class: str
    relation: str
    to_dataset: str
    to_class: str

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise MultisegError(f"no relation '{self.relation}'; {did_you_mean(self.relation, RELATIONS)}")

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
        MultisegError: the file is missing, a line is wrong, or two lines say different things of the same two classes;
            the message names the line.
    """
    rows = read_tsv(path)
    number, header = next(rows, (1, []))
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        master = "universal" in header
        hint = " `multiseg taxonomy --by` makes relations of a master table." if master else ""
        raise MultisegError(f"{path}, line {number}: expected the tab-separated header {' '.join(COLUMNS)}.{hint}")
    known = {space.name: space for space in spaces} if spaces is not None else None
    relations: list[Relation] = []
    line_of: dict[Relation, int] = {}
    for number, row in rows:
        try:
            relation = _relation(row)
            if known is None or _is_known(relation, known):
                _refuse_contradiction(relation, line_of)
                line_of.setdefault(relation, number)
                relations.append(relation)
        except MultisegError as error:
            raise MultisegError(f"{path}, line {number}: {error}") from None
    return relations


def _relation(row: Sequence[str]) -> Relation:
    """
    Raises:
        MultisegError: a column is missing, or there is no such relation.
    """
    if len(row) < len(COLUMNS):
        raise MultisegError(f"expected {len(COLUMNS)} tab-separated columns, found {len(row)}.")
    return Relation(*row[: len(COLUMNS)])


def _is_known(relation: Relation, spaces: Mapping[str, LabelSpace]) -> bool:
    """Whether both datasets are there.

    Raises:
        MultisegError: they are, but not the classes.
    """
    if relation.from_dataset not in spaces or relation.to_dataset not in spaces:
        return False
    spaces[relation.from_dataset].index(relation.from_class)
    spaces[relation.to_dataset].index(relation.to_class)
    return True


def _refuse_contradiction(relation: Relation, line_of: Mapping[Relation, int]) -> None:
    for kind in RELATIONS:
        other = replace(relation, relation=kind)
        line = line_of.get(other) or line_of.get(other.turned())
        if line and kind != relation.relation:
            start, end = f"{relation.from_dataset}/{relation.from_class}", f"{relation.to_dataset}/{relation.to_class}"
            raise MultisegError(f"'{start}' {relation.relation} '{end}', but line {line} says '{kind}'.")


def other_datasets(relations: Iterable[Relation], known: Iterable[str]) -> list[str]:
    """Datasets that relations name and that are none of the known ones; perhaps a name is misspelt."""
    named = {name for relation in relations for name in (relation.from_dataset, relation.to_dataset)}
    return sorted(named - set(known))


def read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is neither empty nor a remark; cells without blanks around them.

    Raises:
        MultisegError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark before it
    except OSError as error:
        raise MultisegError(f"cannot read {path}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise MultisegError(f"cannot read {path}: it is no text in UTF-8.") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            cells = next(csv.reader([line.rstrip("\r")], delimiter="\t"))
            yield number, [cell.strip() for cell in cells]


def write_tsv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Atomically: a reader, or a crash, finds the old file or the new one.

    Raises:
        MultisegError: the file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
        os.replace(partial, path)
    except OSError as error:
        raise MultisegError(f"cannot write {path}: {error.strerror or error}.") from None


def write_relations(
    path: Path,
    relations: Sequence[Relation],
    evidence: Sequence[Mapping[str, object]] | None = None,
    doubtful: Sequence[tuple[Relation, Mapping[str, object]]] = (),
) -> None:
    """Relations to a TSV.

    Args:
        path: of the file; its folder is made where there is none.
        relations: one a line.
        evidence: of each relation, as further columns; the same keys for all.
        doubtful: relations with evidence that are written as remarks, which count only once their `# ` is deleted.

    Raises:
        MultisegError: the file cannot be written.
    """
    known = evidence or [{}] * len(relations)
    all_known = [*known, *(shown for _, shown in doubtful)]
    header = [*COLUMNS, *(all_known[0] if all_known else ())]
    lines = [[*astuple(relation), *shown.values()] for relation, shown in zip(relations, known, strict=True)]
    remarks = [[f"# {relation.from_dataset}", *astuple(relation)[1:], *shown.values()] for relation, shown in doubtful]
    if remarks:
        remarks.insert(0, ["# Doubtful: correct the relation and delete the # in front, or leave it as a remark."])
    write_tsv(path, [header, *lines, *remarks])


def _not_empty(remapping: Remapping, why: str) -> Remapping:
    if all(to == IGNORE for to in remapping.table):
        raise MultisegError(
            f"no class of '{remapping.source.name}' maps to one of '{remapping.target.name}': {why}. "
            "Give the relations as a TSV."
        )
    return remapping
