"""`multiseg evaluate --ensemble`: several runs as one model, beside each of them alone."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from multiseg.commands.evaluating import (
    choose_taxonomy,
    labelled_entries,
    make_predictor,
    own_datasets,
    show_norms,
    show_unreached,
)
from multiseg.commands.norm_options import apply_norms, dataset_images, file_images
from multiseg.commands.opening import open_named, require_labels
from multiseg.commands.tables import show_side_by_side
from multiseg.console import counting_bar, results, say
from multiseg.datasets import SegmentationDataset
from multiseg.ensemble import Ensemble, EnsembleEvaluation, naming
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import means
from multiseg.label_space import IGNORE
from multiseg.norm_choice import trained_sets
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder
from multiseg.taxonomy.relations import Remapping


def evaluate_ensemble(given: Namespace) -> int:
    """Score several runs together and each alone, and print it."""
    if given.out:
        raise MultisegError("--out writes segments, which cannot be averaged: --ensemble averages class probabilities.")
    paths, arguments = split_runs([str(given.run), *given.datasets])
    if len(paths) < 2:
        raise MultisegError(f"--ensemble needs several runs; there is only {paths[0]}.")
    runs = {name: RunFolder(Path(path)) for name, path in zip(_unlike_names(paths), paths, strict=True)}
    ensemble = Ensemble({name: make_predictor(run, given) for name, run in runs.items()})
    members = ensemble.members
    if panoptic := [name for name, member in members.items() if member.method.panoptic]:
        say(f"segments cannot be averaged: of {', '.join(panoptic)} only the classes are judged.")
    datasets = open_named(arguments, given.split or "val") if arguments else common_datasets(runs, members, given)
    require_labels(datasets.values(), "evaluate on")
    evaluations = {}
    for name, dataset in datasets.items():
        taxonomies, remapping = choose_taxonomies(members, dataset, given.taxonomy, given.relations)
        _apply_norms(members, taxonomies, dataset, given)
        with counting_bar(name, len(dataset)) as count:
            evaluations[name] = ensemble.evaluate(dataset, taxonomies, remapping, progress=count)
    _print(evaluations, list(members), given.json)
    return 0


def split_runs(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Runs, and datasets as NAME=ROOT; a folder whose name has an equals sign is a run."""
    runs: list[str] = []
    datasets: list[str] = []
    for argument in arguments:
        (datasets if "=" in argument and not Path(argument).is_dir() else runs).append(argument)
    return runs, datasets


def _unlike_names(paths: Sequence[str]) -> list[str]:
    """Runs as they were given; one given again has its number behind it."""
    again = [paths[:place].count(path) for place, path in enumerate(paths)]
    return [path if not count else f"{path} ({count + 1})" for path, count in zip(paths, again, strict=True)]


def common_datasets(
    runs: Mapping[str, RunFolder], members: Mapping[str, Predictor], given: Namespace
) -> dict[str, SegmentationDataset]:
    """The datasets that all runs were trained on, where the first run has them; what is left out is said aloud.

    Raises:
        MultisegError: there is none.
    """
    known: dict[str, list[str]] = {}
    for name, run in runs.items():
        taxonomies = members[name].taxonomies
        known[name] = [entry for entry in labelled_entries(run) if given.taxonomy or entry in taxonomies]
    first = next(iter(runs))
    shared = [entry for entry in known[first] if all(entry in own for own in known.values())]
    if not shared:
        told = "; ".join(f"{name} has {', '.join(own) or 'none'}" for name, own in known.items())
        raise MultisegError(f"no dataset is common to all runs: {told}. Name one as NAME=ROOT.")
    for entry in dict.fromkeys(entry for own in known.values() for entry in own):
        if lacking := [name for name, own in known.items() if entry not in own]:
            say(f"{entry} is left out: {', '.join(lacking)} was not trained on it.")
    return own_datasets(runs[first], given.split, shared)


def choose_taxonomies(
    members: Mapping[str, Predictor], dataset: SegmentationDataset, taxonomy: str | None, relations: Path | None
) -> tuple[dict[str, str], Remapping | None]:
    """In which taxonomy each model predicts on a dataset, and how the first one's classes become the dataset's; see
    `choose_taxonomy`.

    Raises:
        MultisegError: a model can be given no taxonomy, or the models' classes become the dataset's in unlike ways.
    """
    taxonomies: dict[str, str] = {}
    remappings: dict[str, Remapping | None] = {}
    for name, member in members.items():
        own = member.taxonomies.get(dataset.name)
        # of a dataset it knows, classes in another order are no other classes, and others the ensemble complains of
        same = own is not None and sorted(own.names) == sorted(dataset.label_space.names)
        if taxonomy is None and own is not None and (same or not member.method.open_vocabulary):
            taxonomies[name], remappings[name] = dataset.name, None
        else:
            with naming(name):
                taxonomies[name], remappings[name] = choose_taxonomy(member, dataset, taxonomy, relations)
    first, *others = members
    wanted = _moves(remappings[first], dataset)
    for name in others:
        found = _moves(remappings[name], dataset)
        if any(found[entry] != wanted[entry] for entry in found.keys() & wanted):  # of others the ensemble complains
            raise MultisegError(
                f"{name} relates its classes to those of {dataset.name} otherwise than {first}: only over the same "
                "classes can runs be averaged."
            )
    return taxonomies, remappings[first]


def _moves(remapping: Remapping | None, dataset: SegmentationDataset) -> dict[str, str | None]:
    """Which class of the dataset each class becomes, if any, in whatever order they are."""
    names = dataset.label_space.names
    if remapping is None:
        return {name: name for name in names}
    return {
        name: None if to == IGNORE else names[to]
        for name, to in zip(remapping.source.names, remapping.table, strict=True)
    }


def _apply_norms(
    members: Mapping[str, Predictor], taxonomies: Mapping[str, str], dataset: SegmentationDataset, given: Namespace
) -> None:
    """As of a single run; `--norms` is for the runs that have norms to choose from, if any has."""
    choosing = any(trained_sets(member) for member in members.values())
    for name, member in members.items():
        if choosing and not trained_sets(member):
            continue
        size = member.model.input_size(taxonomies[name]).long_side
        unlabelled = file_images(given.norm_images, size) if given.norm_images else dataset_images(dataset, size)
        with naming(name):
            apply_norms(member, dataset.name, f"images of {dataset.name} ({name})", given, unlabelled)


def _print(evaluations: Mapping[str, EnsembleEvaluation], runs: Sequence[str], as_json: bool) -> None:
    together = {name: evaluation.together.to_json() for name, evaluation in evaluations.items()}
    alone = {run: {name: entry.alone[run].to_json() for name, entry in evaluations.items()} for run in runs}
    if as_json:
        own = {run: {"datasets": data, "mean": means(data.values())} for run, data in alone.items()}
        data = {"datasets": together, "mean": means(together.values()), "runs": own}
        print(json.dumps(data, ensure_ascii=False))
        return
    for name, entry in together.items():
        models = {"ensemble": entry, **{run: alone[run][name] for run in runs}}
        show_side_by_side(f"{name} {entry['split']}", models)
        if entry["absent"]:
            results.print(f"absent classes: {', '.join(entry['absent'])}", markup=False, soft_wrap=True)
        for run in runs:
            show_norms(f"{name}, {run}:", name, alone[run][name])
        show_unreached(entry)
        if entry["mIoU"] is not None:
            best = max(runs, key=lambda run: float(alone[run][name]["mIoU"]))
            gain = entry["mIoU"] - alone[best][name]["mIoU"]
            results.print(f"{name}: {gain:+.1f} mIoU over the best run, {best}", markup=False, soft_wrap=True)
        results.print()
