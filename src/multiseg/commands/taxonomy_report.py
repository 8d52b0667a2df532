"""`multiseg taxonomy`: how the label spaces of several datasets relate, by names or by a table that a person wrote."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from multiseg.commands.opening import open_named, require_labels
from multiseg.console import results, say
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.master_table import (
    is_master_table,
    match_columns,
    read_master_table,
    relations_of_table,
    write_master_table,
)
from multiseg.taxonomy.measured_relations import Unjudged
from multiseg.taxonomy.name_conflicts import (
    DatasetClass,
    Homonym,
    SimilarName,
    UnionClass,
    ends,
    homonyms_by_flags,
    homonyms_by_relations,
    similar_names,
    union_by_relations,
    without_partner,
)
from multiseg.taxonomy.relations import (
    Relation,
    other_datasets,
    read_relations,
    relations_by_name,
    write_relations,
)

_K = TypeVar("_K")
_V = TypeVar("_V")

#: Lines that a section shows, and names that a line shows, unless all are wanted.
_MOST_LINES, _MOST_NAMES = 20, 30

#: Options that only a measurement takes.
_MEASURING = ("split", "limit", "scales", "flip", "sliding", "device")


@dataclass(frozen=True)
class Findings:
    """What is to be said of several label spaces.

    Args:
        spaces: of the datasets.
        relations: between their classes.
        homonyms: classes that share a name, but perhaps nothing else.
    """

    spaces: Sequence[LabelSpace]
    relations: Sequence[Relation]
    homonyms: Sequence[Homonym]

    @cached_property
    def union(self) -> list[UnionClass]:
        return union_by_relations(self.spaces, self.relations)

    @cached_property
    def similar(self) -> list[SimilarName]:
        return similar_names(self.spaces, self.relations)

    @cached_property
    def without_partner(self) -> dict[str, list[str]]:
        return without_partner(self.spaces, self.relations)

    def to_json(self) -> dict[str, Any]:
        return {
            "relations": [list(astuple(relation)) for relation in self.relations],
            "union": [
                {"name": entry.name, "classes": [list(astuple(member)) for member in entry.members]}
                for entry in self.union
            ],
            "homonyms": [
                {"classes": [list(astuple(pair.first)), list(astuple(pair.second))], "reason": pair.reason}
                for pair in self.homonyms
            ],
            "similar_names": [
                {"classes": [list(astuple(pair.first)), list(astuple(pair.second))], "kind": pair.kind}
                for pair in self.similar
            ],
            "without_partner": self.without_partner,
        }


def show_taxonomy(given: Namespace) -> int:
    """Print how the given datasets relate, and write it where --out says."""
    refuse_format_alone(given)
    refuse_measuring(given)
    if given.threshold is not None:
        raise MultisegError("--threshold is for measuring: it needs --model RUN, --prototypes RUN or --by text.")
    datasets = open_related(given.datasets)
    spaces = [dataset.label_space for dataset in datasets.values()]
    relations = _relations(given, datasets)
    by_name = given.by == "name"
    homonyms = homonyms_by_flags(spaces) if by_name else homonyms_by_relations(spaces, relations)
    findings = Findings(spaces, relations, homonyms)
    write_findings(given, findings)
    if given.json:
        print(json.dumps(findings.to_json(), ensure_ascii=False))
        return 0
    print_summary(findings)
    print_lines("in several datasets", _union_lines(findings.union), given.all)
    print_lines("containing or overlapping each other", _relation_lines(relations), given.all)
    print_homonyms(findings.homonyms, given.all)
    print_lines("similar names, not related", _similar_lines(findings.similar), given.all)
    print_names("without partner", findings.without_partner, given.all)
    return 0


def open_related(arguments: Sequence[str]) -> dict[str, SegmentationDataset]:
    """Datasets given as NAME=ROOT.

    Raises:
        MultisegError: one cannot be opened or has no labels, or there are fewer than two.
    """
    datasets = open_named(arguments, "train")
    require_labels(datasets.values(), "relate")
    if len(datasets) < 2:
        raise MultisegError(
            "relations are between datasets: give two at least as NAME=ROOT, or --model RUN or --prototypes RUN."
        )
    return datasets


def refuse_format_alone(given: Namespace) -> None:
    """
    Raises:
        MultisegError: --format without --out, which would do nothing.
    """
    if given.format == "mseg" and not given.out:
        raise MultisegError("--format mseg is the format of a file: it needs --out FILE.")


def refuse_measuring(given: Namespace) -> None:
    """
    Raises:
        MultisegError: an option that only measuring with --model takes.
    """
    for name in _MEASURING:
        if getattr(given, name) not in (None, False):
            raise MultisegError(f"--{name} is for measuring: it needs --model RUN.")


def write_findings(
    given: Namespace,
    findings: Findings,
    evidence: Sequence[Mapping[str, object]] | None = None,
    doubtful: Sequence[tuple[Relation, Mapping[str, object]]] = (),
) -> None:
    """Write the relations to --out, as --format says, and doubtful ones as remarks where it can hold them.

    Raises:
        MultisegError: the file cannot be written, or the relations contradict each other, which a master table cannot
            hold.
    """
    if given.out and given.format == "mseg":
        rows = write_master_table(given.out, findings.spaces, findings.relations)
        say(f"wrote a master table of {rows} universal classes to {given.out}")
    elif given.out:
        write_relations(given.out, findings.relations, evidence, doubtful)
        more = f", and {len(doubtful)} doubtful ones as remarks" if doubtful else ""
        say(f"wrote {len(findings.relations)} relations to {given.out}{more}")


def print_summary(findings: Findings) -> None:
    """How many classes each dataset has, and how many of them are related to others."""
    alone = findings.without_partner
    table = Table("dataset", box=None, pad_edge=False)
    table.add_column("classes", justify="right")
    table.add_column("with partner", justify="right")
    for space in findings.spaces:
        table.add_row(space.name, str(len(space)), str(len(space) - len(alone[space.name])))
    table.add_row("union", str(len(findings.union)), str(sum(entry.shared for entry in findings.union)))
    results.print(table)


def print_homonyms(homonyms: Sequence[Homonym], show_all: bool) -> None:
    groups = _grouped(((str(pair.first), pair.reason), str(pair.second)) for pair in homonyms)
    lines = [f"{first}  {reason}  {', '.join(others)}" for (first, reason), others in groups.items()]
    print_lines("the same name, perhaps for something else", lines, show_all)


def print_lines(heading: str, lines: Sequence[str], show_all: bool) -> None:
    """A section; nothing where it is empty.

    Args:
        heading: of the section.
        lines: of the section.
        show_all: also where there are many.
    """
    if not lines:
        return
    results.print(f"\n{heading} ({len(lines)}):", markup=False)
    shown = len(lines) if show_all else _MOST_LINES
    for line in lines[:shown]:
        results.print(f"  {line}", markup=False, soft_wrap=True)
    if len(lines) > shown:
        results.print(f"  … and {len(lines) - shown} more: --all shows them", markup=False)


def print_names(heading: str, names: Mapping[str, Sequence[str]], show_all: bool) -> None:
    """A section with a line for each dataset that has such classes."""
    if not any(names.values()):
        return
    results.print(f"\n{heading}:", markup=False)
    for dataset, classes in names.items():
        if classes:
            shown = len(classes) if show_all else _MOST_NAMES
            more = f", … and {len(classes) - shown} more" if len(classes) > shown else ""
            text = f"  {dataset} ({len(classes)}): {', '.join(classes[:shown])}{more}"
            results.print(text, markup=False, soft_wrap=True)


def print_unrelated(
    findings: Findings, unjudged: Sequence[Unjudged], headings: tuple[str, str], show_all: bool
) -> None:
    """Two sections: classes that were not judged, with the reasons, and those that were and have no partner."""
    reasons: dict[str, list[str]] = {space.name: [] for space in findings.spaces}
    for entry in unjudged:
        reasons[entry.entry.dataset].append(f"{entry.entry.name} ({entry.reason})")
    print_names(headings[0], reasons, show_all)
    left_out = {entry.entry for entry in unjudged}
    alone = {
        dataset: [name for name in names if DatasetClass(dataset, name) not in left_out]
        for dataset, names in findings.without_partner.items()
    }
    print_names(headings[1], alone, show_all)


def _relations(given: Namespace, datasets: Mapping[str, SegmentationDataset]) -> list[Relation]:
    spaces = [dataset.label_space for dataset in datasets.values()]
    master = given.by != "name" and is_master_table(Path(given.by))
    if given.columns and not master:
        raise MultisegError("--columns is for a master table: it needs --by FILE with a column 'universal'.")
    if given.by == "name":
        return relations_by_name(spaces)
    if not master:
        return _relations_of_table(Path(given.by), spaces)
    return _relations_of_master_table(Path(given.by), datasets, dict(_columns(given.columns)))


def _relations_of_table(path: Path, spaces: Sequence[LabelSpace]) -> list[Relation]:
    """Those between the spaces. A table may tell of more datasets; that a misspelt one is passed over, too, is said."""
    relations = read_relations(path, spaces)
    if others := other_datasets(read_relations(path), [space.name for space in spaces]):
        say(f"{path}: lines about datasets that are not given are left out: {', '.join(others)}")
    return relations


def _columns(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        dataset, equals, column = argument.partition("=")
        if not (dataset and equals and column):
            raise MultisegError(f"--columns {argument}: expected NAME=COLUMN.")
        yield dataset, column


def _relations_of_master_table(
    path: Path, datasets: Mapping[str, SegmentationDataset], chosen: Mapping[str, str]
) -> list[Relation]:
    table = read_master_table(path)
    spaces = [dataset.label_space for dataset in datasets.values()]
    matches = match_columns(table, spaces, chosen, {name: dataset.reader for name, dataset in datasets.items()})
    for space in spaces:
        if space.name not in matches:
            say(f"{space.name}: no column of {path.name} fits; name one with --columns {space.name}=COLUMN")
            continue
        match = matches[space.name]
        known = len(space) - len(match.missing)
        unknown = f"; it does not know {', '.join(match.missing)}" if match.missing else ""
        say(f"{space.name}: column '{match.column}', {known} of {len(space)} classes{unknown}")
    if len(matches) < 2:
        raise MultisegError(f"{path} has columns for fewer than two of the datasets {', '.join(datasets)}.")
    return relations_of_table(table, spaces, matches)


def _union_lines(union: Iterable[UnionClass]) -> list[str]:
    """Those that most datasets have first; names that are spelt otherwise are shown."""
    shared = sorted((entry for entry in union if entry.shared), key=lambda entry: -len(entry.members))
    width = max((len(entry.name) for entry in shared), default=0)
    return [f"{entry.name:{width}}  {', '.join(_members(entry))}" for entry in shared]


def _members(entry: UnionClass) -> Iterator[str]:
    for dataset, members in _grouped((member.dataset, member) for member in entry.members).items():
        names = [member.name for member in members]
        yield dataset if names == [entry.name] else f"{dataset} ({', '.join(names)})"


def _relation_lines(relations: Iterable[Relation]) -> list[str]:
    """The relations other than `same`, those of one class to a dataset on one line, the whole before its parts."""
    told = [relation.turned() if relation.relation == "part of" else relation for relation in relations]
    groups = _grouped(
        ((str(ends(relation)[0]), relation.relation, relation.to_dataset), relation.to_class)
        for relation in told
        if relation.relation != "same"
    )
    return [f"{start}  {kind}  {dataset}: {', '.join(names)}" for (start, kind, dataset), names in groups.items()]


def _similar_lines(pairs: Iterable[SimilarName]) -> list[str]:
    """By the shorter name, with all that are like it; no line says less than an earlier one."""
    groups = _grouped((pair.first.name.casefold(), pair) for pair in pairs)
    lines: dict[frozenset[str], str] = {}
    for found in sorted(groups.values(), key=lambda found: (len(found[0].first.name), found[0].first.name)):
        bearers = _grouped((entry.name, entry.dataset) for pair in found for entry in (pair.first, pair.second))
        names = frozenset(name.casefold() for name in bearers)
        if not any(names <= earlier for earlier in lines):
            shown = (f"{name} ({', '.join(dict.fromkeys(datasets))})" for name, datasets in bearers.items())
            lines[names] = " · ".join(shown)
    return list(lines.values())


def _grouped(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, list[_V]]:
    groups: dict[_K, list[_V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
