"""`multiseg taxonomy --model`: relations that a trained model suggests, with their evidence."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import astuple

from rich.table import Table

from multiseg.commands.evaluating import make_predictor, own_datasets
from multiseg.commands.opening import open_named, require_labels
from multiseg.commands.taxonomy_report import (
    Findings,
    print_homonyms,
    print_summary,
    print_unrelated,
    refuse_format_alone,
    write_findings,
)
from multiseg.console import progress_bar, results
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError, did_you_mean
from multiseg.inspection.cross_prediction import count_predictions
from multiseg.label_space import LabelSpace
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder
from multiseg.taxonomy.measured_relations import (
    THRESHOLD,
    ClassCounts,
    Measurement,
    Suggestion,
    check_threshold,
    measure_relations,
    measured_homonyms,
)
from multiseg.taxonomy.name_conflicts import ends


def show_measured_taxonomy(given: Namespace) -> int:
    """Print what the model of --model says of its own datasets, or of the given ones, and write it where --out says.

    Raises:
        MultisegError: an option is wrong, or there are no two datasets that the model knows.
    """
    refuse_format_alone(given)
    if given.by != "name" or given.columns:
        raise MultisegError("--model measures relations, --by reads them: give one of the two.")
    if given.limit is not None and given.limit < 1:
        raise MultisegError(f"--limit must be at least 1, not {given.limit}.")
    threshold = THRESHOLD if given.threshold is None else given.threshold
    check_threshold(threshold)
    run = RunFolder(given.model)
    predictor = make_predictor(run, given)
    _refuse_single(predictor)
    datasets = open_named(given.datasets, given.split or "val") if given.datasets else own_datasets(run, given.split)
    require_labels(datasets.values(), "relate")
    _check_known(predictor, list(datasets.values()))
    spaces = [dataset.label_space for dataset in datasets.values()]
    counts = [_count(predictor, dataset, spaces, given.limit) for dataset in datasets.values()]
    measurement = measure_relations(counts, threshold)
    relations = [suggestion.relation for suggestion in measurement.suggestions]
    findings = Findings(spaces, relations, measured_homonyms(counts, measurement))
    evidence = [suggestion.evidence() for suggestion in measurement.suggestions]
    write_findings(given, findings, evidence)
    if given.json:
        unjudged = [[*astuple(entry.entry), entry.reason] for entry in measurement.unjudged]
        data = {**findings.to_json(), "evidence": evidence, "not_enough_evidence": unjudged, "threshold": threshold}
        print(json.dumps(data, ensure_ascii=False))
        return 0
    _print_measurement(findings, measurement, given.all)
    return 0


def _count(
    predictor: Predictor, dataset: SegmentationDataset, taxonomies: Sequence[LabelSpace], limit: int | None
) -> ClassCounts:
    images = min(limit or len(dataset), len(dataset))
    with progress_bar(f"{dataset.name} {dataset.split}", images) as advance:
        return count_predictions(predictor, dataset, taxonomies, limit, progress=advance)


def _refuse_single(predictor: Predictor) -> None:
    """
    Raises:
        MultisegError: the model predicts in fewer than two datasets' taxonomies.
    """
    names = [name for name in predictor.taxonomies if name in predictor.method.spaces]
    if len(names) < 2:
        raise MultisegError(
            f"this model predicts in the taxonomy of one dataset only ({', '.join(names)}): to measure relations takes "
            "a model of several, as `multiseg train multi_head` makes."
        )


def _check_known(predictor: Predictor, datasets: Sequence[SegmentationDataset]) -> None:
    """
    Raises:
        MultisegError: there are fewer than two datasets, or the model does not know one or knows it with other classes.
    """
    for dataset in datasets:
        names = [name for name in predictor.taxonomies if name in predictor.method.spaces]
        if dataset.name not in names:
            raise MultisegError(f"the model was not trained on '{dataset.name}'; {did_you_mean(dataset.name, names)}")
        if predictor.taxonomies[dataset.name].names != dataset.label_space.names:
            raise MultisegError(f"the model knows '{dataset.name}' with other classes than the dataset given.")
    if len(datasets) < 2:
        raise MultisegError("relations are between datasets: give two at least, or none for all of the run's.")


def _print_measurement(findings: Findings, measurement: Measurement, show_all: bool) -> None:
    print_summary(findings)
    _print_suggestions(measurement.suggestions)
    print_homonyms(findings.homonyms, show_all)
    print_unrelated(findings, measurement.unjudged, ("not enough evidence for", "no relation found for"), show_all)


def _print_suggestions(suggestions: Sequence[Suggestion]) -> None:
    results.print(f"\n{len(suggestions)} relations suggested, for you to check:")
    table = Table("", "", "", box=None, pad_edge=False)
    for heading in ("of the left", "of the right", "taken for each other", "images"):
        table.add_column(heading, justify="right")
    for suggestion in suggestions:
        first, second = ends(suggestion.relation)
        shares = [f"{share:.0%}" for share in suggestion.shares]
        predicted = ", ".join(f"{share:.0%}" for share in suggestion.predicted)
        images = ", ".join(str(number) for number in suggestion.images)
        table.add_row(str(first), suggestion.relation.relation, str(second), *shares, predicted, images)
    results.print(table)
