"""Master tables of taxonomies: one row a universal class, one column a dataset, as MSeg has them.

Lambert et al.: "MSeg: a composite dataset for multi-domain semantic segmentation", CVPR 2020. A cell names the class of
the dataset that the universal class belongs to; a class may stand in several rows. In braces stand, separated by
commas, classes that are only parts of the universal class. Columns that are no dataset's (definitions, synonyms) do no
harm, and of the row `unlabeled` nothing follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.relations import Relation, read_tsv, write_tsv
from multiseg.taxonomy.universal_space import universal_space

#: The column that names the rows, by which a master table is recognised.
_UNIVERSAL = "universal"

#: Rows that only say which classes belong nowhere.
_NOWHERE = frozenset({"unlabel", "unlabeled", "unlabelled"})

#: Letters that the name of a column and that of its dataset have in common at least, from the first one on.
_PREFIX = 3

#: Rows in which a class stands, and whether it has the row for itself (True) or is in braces (False).
Rows = Mapping[int, bool]


@dataclass(frozen=True)
class MasterTable:
    """
    Args:
        path: of the file, for messages.
        columns: for each column its classes, by their names as written; those that belong nowhere have no rows.
    """

    path: Path
    columns: Mapping[str, Mapping[str, Rows]]

    def rows_of(self, space: LabelSpace, column: str) -> dict[str, Rows]:
        """The rows of each class of a label space that the column knows; punctuation and case do not matter."""
        known = {_key(name): rows for name, rows in self.columns[column].items()}
        return {name: known[_key(name)] for name in space.names if _key(name) in known}


@dataclass(frozen=True)
class Match:
    """The column of a dataset.

    Args:
        column: its name.
        missing: classes of the dataset that it does not know.
    """

    column: str
    missing: tuple[str, ...]


def is_master_table(path: Path) -> bool:
    """Whether the header of a TSV is that of a master table.

    Raises:
        MultisegError: the file cannot be read.
    """
    return _UNIVERSAL in next(read_tsv(path), (1, []))[1]


def read_master_table(path: Path) -> MasterTable:
    """
    Raises:
        MultisegError: the file cannot be read, has no column `universal`, or a row is longer than the header.
    """
    lines = read_tsv(path)
    _, header = next(lines, (1, []))
    if _UNIVERSAL not in header:
        raise MultisegError(f"{path} is no master table: it has no column '{_UNIVERSAL}'.")
    columns: dict[str, dict[str, dict[int, bool]]] = {name: {} for name in header}
    for number, cells in lines:
        if len(cells) > len(header):
            raise MultisegError(f"{path}, line {number}: {len(cells)} cells, but the header has {len(header)}.")
        row = dict(zip(header, cells, strict=False))
        somewhere = row.get(_UNIVERSAL, "").casefold() not in _NOWHERE
        for name, cell in row.items():
            for entry, whole in _entries(cell):
                columns[name].setdefault(entry, {}).update({number: whole} if somewhere else {})
    return MasterTable(path, columns)


def match_columns(
    table: MasterTable, spaces: Sequence[LabelSpace], chosen: Mapping[str, str], readers: Mapping[str, str]
) -> dict[str, Match]:
    """The column of each dataset.

    A column that is not chosen by hand is the one whose name agrees for longest with the name of the dataset, or of its
    reader, from the first letter on; of several the one that knows most of its classes, and of those the one that knows
    fewest others. It must know half of the dataset's classes.

    Args:
        table: the master table.
        spaces: of the datasets.
        chosen: columns by dataset.
        readers: the reader of each dataset, whose name is tried, too.

    Returns:
        By dataset; one without a column is left out.

    Raises:
        MultisegError: a chosen column or its dataset does not exist.
    """
    names = [space.name for space in spaces]
    for dataset, wanted in chosen.items():
        if dataset not in names:
            raise MultisegError(f"--columns: no dataset '{dataset}'; {did_you_mean(dataset, names)}")
        if wanted not in table.columns:
            raise MultisegError(f"{table.path} has no column '{wanted}'; {did_you_mean(wanted, table.columns)}")
    found = {}
    for space in spaces:
        labels = (space.name, readers.get(space.name, space.name))
        column = chosen.get(space.name) or _best_column(table, space, labels)
        if column:
            known = table.rows_of(space, column)
            found[space.name] = Match(column, tuple(name for name in space.names if name not in known))
    return found


def relations_of_table(
    table: MasterTable, spaces: Sequence[LabelSpace], matches: Mapping[str, Match]
) -> list[Relation]:
    """How the classes of every two datasets relate: the same where they make up the same universal classes, part of
    where all of one's belong to the other, and overlapping where some do.

    Classes that share a row in braces may share pixels or not: they overlap.
    """
    rows = {s.name: table.rows_of(s, matches[s.name].column) for s in spaces if s.name in matches}
    found = []
    for number, (first, classes) in enumerate(rows.items()):
        for second, others in list(rows.items())[number + 1 :]:
            for name, own in classes.items():
                for other, theirs in others.items():
                    kind = _relation(own, theirs)
                    if kind:
                        found.append(Relation(first, name, kind, second, other))
    return found


def write_master_table(path: Path, spaces: Sequence[LabelSpace], relations: Iterable[Relation]) -> int:
    """The atoms of several label spaces (`multiseg.taxonomy.universal_space`) as a master table.

    Commas and braces, which separate classes in a cell, become semicolons and parentheses; reading ignores both.

    Returns:
        The number of rows.

    Raises:
        MultisegError: the relations contradict each other, or the file cannot be written.
    """
    universe = universal_space(spaces, relations)
    table = []
    for atom, name in enumerate(universe.space.names):
        places = {space.name: np.flatnonzero(universe.members[space.name][:, atom]) for space in spaces}
        cells = [space.names[places[space.name][0]] if len(places[space.name]) else "" for space in spaces]
        table.append([*map(_plain, cells), name])
    write_tsv(path, [[*(space.name for space in spaces), _UNIVERSAL], *table])
    return len(table)


def _best_column(table: MasterTable, space: LabelSpace, labels: Iterable[str]) -> str | None:
    best: tuple[int, int, int] | None = None
    chosen = None
    for column, classes in table.columns.items():
        prefix = max(_common_prefix(_key(column), _key(label)) for label in labels)
        known = len(table.rows_of(space, column))
        rank = (prefix, known, known - len(classes))
        if column != _UNIVERSAL and prefix >= _PREFIX and 2 * known >= len(space) and (best is None or rank > best):
            best, chosen = rank, column
    return chosen


def _common_prefix(first: str, second: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _relation(own: Rows, theirs: Rows) -> str | None:
    if not own.keys() & theirs.keys():
        return None
    inside = all(theirs.get(row, False) for row in own)
    around = all(own.get(row, False) for row in theirs)
    if inside and around:
        return "same"
    return "part of" if inside else "contains" if around else "overlaps"


def _entries(cell: str) -> list[tuple[str, bool]]:
    """The classes of a cell, and whether each is all of the universal class."""
    if cell.startswith("{") and cell.endswith("}"):
        return [(name.strip(), False) for name in cell[1:-1].split(",") if name.strip()]
    return [(cell, True)] if cell else []


def _plain(name: str) -> str:
    return name.translate(str.maketrans(",{}", ";()"))


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
