"""`multiseg taxonomy --prototypes`: the nearest prototypes across datasets, and relations that they suggest."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import astuple

from multiseg.commands.neighbour_tables import neighbours_to_json, print_neighbours, print_suggestions
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
from multiseg.console import say
from multiseg.errors import MultisegError, did_you_mean
from multiseg.prototype_views import class_prototypes
from multiseg.run_folder import RunFolder, load_model
from multiseg.taxonomy.prototype_relations import (
    LEAD,
    MIN_CLASSES,
    ClassPrototypes,
    PrototypeComparison,
    check_lead,
    compare_prototypes,
    prototype_homonyms,
)


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
            "nearest": [neighbours_to_json(found, given.all) for found in comparison.neighbours],
            "not_enough_evidence": [[*astuple(entry.entry), entry.reason] for entry in comparison.unjudged],
            "threshold": threshold,
        }
        print(json.dumps(data, ensure_ascii=False))
        return 0
    print_summary(findings)
    print_neighbours("nearest prototypes in other datasets", comparison.neighbours, "shared", given.all)
    print_suggestions("relations suggested, for you to check", comparison.suggestions, show_all=True)
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
