"""`multiseg taxonomy --prototypes`: the nearest prototypes across datasets, and relations that they suggest."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import astuple
from itertools import groupby

from rich.table import Table

from multiseg.commands.opening import open_named
from multiseg.commands.taxonomy_report import (
    Findings,
    print_homonyms,
    print_summary,
    print_unrelated,
    refuse_format_alone,
    refuse_measuring,
    write_findings,
)
from multiseg.console import results, say
from multiseg.errors import MultisegError, did_you_mean
from multiseg.prototype_views import class_prototypes
from multiseg.run_folder import RunFolder, load_model
from multiseg.taxonomy.name_conflicts import ends
from multiseg.taxonomy.prototype_relations import (
    LEAD,
    MIN_CLASSES,
    ClassPrototypes,
    Neighbours,
    PrototypeComparison,
    PrototypeSuggestion,
    check_lead,
    compare_prototypes,
    prototype_homonyms,
)

#: Of a class, the nearest so many are shown, and of a dataset so many classes, unless all are wanted.
_NEAREST, _MOST_CLASSES = 3, 20


def show_prototypes(given: Namespace) -> int:
    """Print what the prototypes of --prototypes say of the run's datasets, or of those of them that are given, and
    write it where --out says. No image is read.

    Raises:
        MultisegError: an option is wrong, the run's method has no prototypes, or there are no two datasets.
    """
    refuse_format_alone(given)
    if given.by != "name" or given.columns:
        raise MultisegError("--prototypes compares classes, --by reads relations: give one of the two.")
    refuse_measuring(given)
    threshold = LEAD if given.threshold is None else given.threshold
    check_lead(threshold)
    prototypes = class_prototypes(load_model(RunFolder(given.prototypes)).method)
    prototypes = _chosen(prototypes, given.datasets)
    comparison = compare_prototypes(prototypes, threshold)
    spaces = [own.space for own in prototypes]
    relations = [suggestion.relation for suggestion in comparison.suggestions]
    findings = Findings(spaces, relations, prototype_homonyms(prototypes, comparison))
    evidence = [suggestion.evidence() for suggestion in comparison.suggestions]
    _say_limits(prototypes, comparison)
    write_findings(given, findings, evidence)
    if given.json:
        data = {
            **findings.to_json(),
            "evidence": evidence,
            "nearest": [_to_json(found, given.all) for found in comparison.neighbours],
            "not_enough_evidence": [[*astuple(entry.entry), entry.reason] for entry in comparison.unjudged],
            "threshold": threshold,
        }
        print(json.dumps(data, ensure_ascii=False))
        return 0
    print_summary(findings)
    _print_neighbours(comparison.neighbours, given.all)
    _print_suggestions(comparison.suggestions)
    print_homonyms(findings.homonyms, given.all)
    print_unrelated(findings, comparison.unjudged, ("not judged", "no relation suggested for"), given.all)
    return 0


def _chosen(prototypes: Sequence[ClassPrototypes], arguments: Sequence[str]) -> list[ClassPrototypes]:
    """Those of the datasets given as NAME=ROOT; all where none is.

    Raises:
        MultisegError: the model does not know a dataset, or knows it with other classes, or fewer than two are left.
    """
    by_name = {own.space.name: own for own in prototypes}
    given = open_named(arguments, "train")
    for name, dataset in given.items():
        if name not in by_name:
            raise MultisegError(f"the model has no prototypes of '{name}'; {did_you_mean(name, by_name)}")
        if by_name[name].space.names != dataset.label_space.names:
            raise MultisegError(f"the model knows '{name}' with other classes than the dataset given.")
    chosen = [by_name[name] for name in given or by_name]
    if len(chosen) < 2:
        whose = "give two at least, or none for all of the run's" if arguments else f"the run has {len(chosen)} only"
        raise MultisegError(f"relations are between datasets: {whose}.")
    return chosen


def _say_limits(prototypes: Sequence[ClassPrototypes], comparison: PrototypeComparison) -> None:
    if shared := sum(suggestion.shared for suggestion in comparison.suggestions):
        say(
            f"The run took classes of one name for one (union: by_name). {shared} pairs therefore have one prototype: "
            "they are the same by name, which no prototype confirms."
        )
    for own in prototypes:
        if (count := int(own.known.sum())) < MIN_CLASSES:
            say(f"{own.space.name} has {count} classes with a prototype: too few to tell what is near.")


def _to_json(found: Neighbours, show_all: bool) -> dict[str, object]:
    shown = len(found.names) if show_all else _NEAREST
    pairs = zip(found.names[:shown], found.similarities, strict=False)
    return {
        "class": list(astuple(found.entry)),
        "dataset": found.dataset,
        "nearest": [[name, round(similarity, 3)] for name, similarity in pairs],
        "lead": None if math.isnan(found.lead) else round(found.lead, 3),
        "mutual": found.mutual,
        "shared": found.shared,
    }


def _print_neighbours(neighbours: Sequence[Neighbours], show_all: bool) -> None:
    """A table; of each two datasets the first classes, unless all are wanted."""
    results.print("\nnearest prototypes in other datasets, with cosine similarity (* each is the other's nearest):")
    table = Table("", "in", "nearest", "second", "third", box=None, pad_edge=False)
    table.add_column("leads by", justify="right")
    hidden = 0
    for _, group in groupby(neighbours, key=lambda found: (found.entry.dataset, found.dataset)):
        own = list(group)
        shown = own if show_all else own[:_MOST_CLASSES]
        hidden += len(own) - len(shown)
        for found in shown:
            pairs = list(zip(found.names, found.similarities, strict=True))[:_NEAREST]
            cells = [f"{name} {similarity:.2f}" for name, similarity in pairs]
            cells[0] = f"{found.names[0]} (shared)" if found.shared else cells[0] + " *" * found.mutual
            cells += [""] * (_NEAREST - len(cells))
            table.add_row(str(found.entry), found.dataset, *cells, _figure(found.lead))
    results.print(table)
    if hidden:
        results.print(f"  … and {hidden} more: --all shows them", markup=False)


def _print_suggestions(suggestions: Sequence[PrototypeSuggestion]) -> None:
    results.print(f"\n{len(suggestions)} relations suggested, for you to check:")
    table = Table("", "", "", box=None, pad_edge=False)
    for heading in ("similarity", "next best", "leads by"):
        table.add_column(heading, justify="right")
    for suggestion in suggestions:
        first, second = ends(suggestion.relation)
        figures = [f"{suggestion.similarity:.2f}", _pair(suggestion.second), _pair(suggestion.leads)]
        if suggestion.shared:
            figures = ["by name", "", ""]
        table.add_row(str(first), suggestion.relation.relation, str(second), *figures)
    if suggestions:
        results.print(table)


def _pair(values: tuple[float, float]) -> str:
    return ", ".join(_figure(value) for value in values)


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
