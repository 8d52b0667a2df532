"""`multiseg report`: what several run folders hold, and what their models make of the same images, on one page."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from multiseg.batch import Sample
from multiseg.color_views import view_colors
from multiseg.configuration import Config
from multiseg.console import progress_bar
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.color_panels import RunColors
from multiseg.evaluation.embedding_charts import RunPrototypes
from multiseg.evaluation.iou import Scores
from multiseg.evaluation.panoptic_quality import PanopticScores
from multiseg.evaluation.patch_charts import PatchSet
from multiseg.evaluation.query_panels import RunQueries
from multiseg.evaluation.report import Gallery, Panel, render_report
from multiseg.evaluation.run_summary import RunSummary
from multiseg.evaluation.tuning_charts import Tuning
from multiseg.evaluation.weight_charts import RunNorms
from multiseg.evaluation.word_charts import RunWords
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.log import read_log
from multiseg.norm_statistics import read_norms
from multiseg.patch_views import view_patches
from multiseg.predictor import Predictor
from multiseg.prototype_views import has_prototypes, view_run
from multiseg.query_views import view_queries
from multiseg.run_folder import RunFolder, write_text
from multiseg.training_cost import images_per_update
from multiseg.tuning_lineage import find_tunings, read_tuning
from multiseg.word_views import has_words, view_words


def write_report(runs: Sequence[RunFolder], out: Path, title: str = "multiseg report", panels: int = 4) -> None:
    """Compare runs on one HTML page. What a run lacks (scores, log, model, its data) is said there.

    Args:
        runs: finished or not; one given twice counts once.
        out: the file; its folder is made.
        title: heading.
        panels: pictures from each dataset's validation split, spread evenly over it, the same for all runs.

    Raises:
        MultisegError: one of the folders is no run, or none is given.
    """
    runs = list({run.path.resolve(): run for run in runs}.values())
    if not runs:
        raise MultisegError("no run to report on.")
    entries = [dataset_entries(run) for run in runs]
    names = short_names([run.path for run in runs])
    summaries = [read_run(run, name, tuple(own)) for run, name, own in zip(runs, names, entries, strict=True)]
    by_name = dict(zip(names, runs, strict=True))
    galleries, seen, notes = make_galleries(by_name, entries, panels)
    norms, norm_notes = collect_norms(by_name, entries)
    prototypes, words = collect_prototypes(by_name, entries), collect_words(by_name)
    page = render_report(
        title,
        summaries,
        galleries,
        notes,
        norms,
        norm_notes,
        prototypes,
        seen.queries,
        words,
        seen.colors,
        collect_patches(by_name, entries),
        collect_tunings(by_name),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)


def dataset_entries(run: RunFolder) -> Config:
    """The datasets that a run was trained on, as in its config.yaml.

    Raises:
        MultisegError: it is no run.
    """
    try:
        entries: Config = dict(run.read_config()["data"]["datasets"])
    except (KeyError, TypeError):
        raise MultisegError(f"{run.config_path} names no data.datasets; is {run.path} the folder of a run?") from None
    return entries


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of different paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(entry[-length:]) for entry in parts]
        if len(set(names)) == len(names):
            return names
    return [os.fspath(path) for path in paths]


def read_run(run: RunFolder, name: str, trained_on: tuple[str, ...]) -> RunSummary:
    """What lies in a run's folder, under the name it has on the page."""
    notes = []
    metrics: dict[str, Any] = {}
    try:
        metrics = run.read_metrics()
    except MultisegError as error:
        notes.append(str(error))
    return RunSummary(
        name=name,
        path=os.fspath(run.path),
        config=run.config_path.read_text(encoding="utf-8"),
        trained_on=trained_on,
        images=images_seen(run.read_config(), metrics.get("step")),
        method=metrics.get("method", ""),
        step=metrics.get("step"),
        seconds=metrics.get("seconds"),
        scores={dataset: read_scores(entry) for dataset, entry in metrics.get("datasets", {}).items()},
        curves=read_curves(run.log_path),
        notes=tuple(notes),
        proxy=read_proxy(metrics),
    )


def images_seen(config: Config, step: int | None) -> int | None:
    """How many images a run has trained on, each as often as it has; None where it is not known."""
    images = images_per_update(config)
    return None if step is None or images is None else step * images


def read_scores(entry: Mapping[str, Any]) -> Scores:
    """One dataset of a metrics.json; what it lacks is NaN."""
    keys = ("mIoU", "mean_accuracy", "pixel_accuracy")
    miou, mean_accuracy, pixel_accuracy = (math.nan if entry.get(key) is None else float(entry[key]) for key in keys)
    panoptic = PanopticScores.from_json(entry) if "PQ" in entry else None
    absent = tuple(entry.get("absent", ()))
    return Scores(miou, mean_accuracy, pixel_accuracy, entry.get("per_class", {}), absent, panoptic)


def read_proxy(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The scores of a proxy task by dataset; none of other runs."""
    entries = metrics.get("proxy") or {}
    return {dataset: {key: float(value) for key, value in entry.items()} for dataset, entry in entries.items()}


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The finite values of a log with their steps, by column; none where there is no log."""
    columns, rows = read_log(path) if path.is_file() else ([], [])
    curves: dict[str, list[tuple[float, float]]] = {}
    for column in columns:
        points = [(float(row["step"]), _to_number(row[column])) for row in rows if column != "step"]
        if known := [(step, value) for step, value in points if math.isfinite(value)]:
            curves[column] = known
    return curves


@dataclass(frozen=True)
class Views:
    """What models make of images.

    Args:
        predictions: label maps of the images of each dataset, by run and dataset.
        queries: of runs that have some.
        colors: of runs that colour images.
        failures: sentences on runs that cannot predict.
    """

    predictions: dict[str, dict[str, list[NDArray[Any]]]] = field(default_factory=dict)
    queries: list[RunQueries] = field(default_factory=list)
    colors: list[RunColors] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def make_galleries(
    runs: Mapping[str, RunFolder], entries: Sequence[Config], panels: int
) -> tuple[list[Gallery], Views, list[str]]:
    """Some images of every dataset, predicted by every run that knows its classes; fewer with the queries or the
    made-up colours of runs that have some.

    Args:
        runs: by the name they have on the page.
        entries: the datasets of each run; of several entries of one name the first counts.
        panels: images of each dataset.

    Returns:
        the galleries, all that models make of the images, and sentences on what is missing.
    """
    if panels < 1:
        return [], Views(), []
    first: Config = {}
    for name, entry in itertools.chain.from_iterable(own.items() for own in entries):
        first.setdefault(name, entry)
    notes = []
    datasets: dict[str, SegmentationDataset] = {}
    samples: dict[str, list[Sample]] = {}
    for name, entry in first.items():
        try:
            dataset = open_dataset(name, DatasetEntry(**entry), "val")
            samples[name] = [dataset[index] for index in spread(len(dataset), panels)]
            datasets[name] = dataset
        except MultisegError as error:
            notes.append(f"No pictures of {name}: {error}")
    seen = predict_samples(runs, samples)
    galleries = []
    for name, dataset in datasets.items():
        made = {run: by_dataset[name] for run, by_dataset in seen.predictions.items() if name in by_dataset}
        shown = [
            Panel(s.key, s.image.numpy(), s.labels.numpy(), {run: maps[index] for run, maps in made.items()})
            for index, s in enumerate(samples[name])
        ]
        galleries.append(Gallery(dataset.label_space, dataset.split, shown))
    return galleries, seen, notes + seen.failures


def predict_samples(runs: Mapping[str, RunFolder], samples: Mapping[str, Sequence[Sample]]) -> Views:
    """What each run's model makes of the images of each dataset. One model is in memory at a time."""
    views = Views()
    with progress_bar("pictures", len(runs)) as advance:
        for done, (name, run) in enumerate(runs.items() if samples else (), 1):
            try:
                predictor = Predictor.from_run(run)
                views.predictions[name] = {
                    dataset: [predictor.predict(sample.image, dataset).numpy() for sample in chosen]
                    for dataset, chosen in samples.items()
                    if dataset in predictor.taxonomies and predictor.taxonomies[dataset].names == chosen[0].space.names
                }
            except MultisegError as error:
                views.failures.append(f"No predictions of {name}: {error}")
                continue
            finally:
                advance(done)
            try:
                if queries := view_queries(predictor, name, samples):
                    views.queries.append(queries)
            except MultisegError as error:
                views.failures.append(f"No queries of {name}: {error}")
            try:
                if colors := view_colors(predictor, name, samples):
                    views.colors.append(colors)
            except MultisegError as error:
                views.failures.append(f"No colours of {name}: {error}")
    return views


def collect_norms(runs: Mapping[str, RunFolder], entries: Sequence[Config]) -> tuple[list[RunNorms], list[str]]:
    """The batch norms of every model, and sentences on runs of which others' are shown and theirs cannot be.

    Args:
        runs: by the name they have on the page.
        entries: the datasets of each run.
    """
    norms, notes = [], []
    for (name, run), own in zip(runs.items(), entries, strict=True):
        if not run.weights_path.is_file():
            notes.append(f"No batch norms of {name}: it has no model.")
            continue
        try:
            norms.append(read_norms(run.weights_path, name, tuple(own)))
        except MultisegError as error:
            notes.append(f"No batch norms of {name}: {error}")
    return norms, notes if any(entry.sets for entry in norms) else []


def collect_prototypes(runs: Mapping[str, RunFolder], entries: Sequence[Config]) -> list[RunPrototypes]:
    """The prototypes of the models that have some, with pixels around them. One model is in memory at a time.

    Args:
        runs: by the name they have on the page.
        entries: the datasets of each run.
    """
    with_some = [
        (*run, own) for run, own in zip(runs.items(), entries, strict=True) if has_prototypes(run[1].weights_path)
    ]
    found = []
    with progress_bar("prototypes", len(with_some)) as advance:
        for done, (name, run, own) in enumerate(with_some, 1):
            try:
                found.append(view_run(run, name, own))
            except MultisegError as error:
                found.append(RunPrototypes(name, {}, (), (), {}, (f"No prototypes of {name}: {error}",)))
            advance(done)
    return found


def collect_words(runs: Mapping[str, RunFolder]) -> list[RunWords]:
    """The words of the models that know classes by them. One model is in memory at a time.

    Args:
        runs: by the name they have on the page.
    """
    found = []
    with_some = [(name, run) for name, run in runs.items() if has_words(run.weights_path)]
    with progress_bar("words", len(with_some)) as advance:
        for done, (name, run) in enumerate(with_some, 1):
            try:
                found.append(view_words(run, name))
            except MultisegError as error:
                found.append(RunWords(name, {}, (), (), {}, (f"No words of {name}: {error}",)))
            advance(done)
    return found


def collect_patches(runs: Mapping[str, RunFolder], entries: Sequence[Config]) -> list[PatchSet]:
    """Patches in the backbones of the runs, where one was tuned with them.

    Args:
        runs: by the name they have on the page.
        entries: the datasets of each run.
    """
    with progress_bar("patches", len(runs)) as advance:
        found = []
        for done, seen in enumerate(view_patches(runs, entries), 1):
            advance(min(done, len(runs)))
            if seen is not None:
                found.append(seen)
    return found


def collect_tunings(runs: Mapping[str, RunFolder]) -> dict[str, Tuning]:
    """By the name of a run on the page, the mix-and-match tuning that it is or was fine-tuned from.

    Args:
        runs: by the name they have on the page.
    """
    on_page = {run.path.resolve(): name for name, run in runs.items()}
    return {name: read_tuning(tuning, on_page) for name, tuning in find_tunings(runs).items()}


def spread(length: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `range(length)`; all of it where it is shorter."""
    count = min(length, count)
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def _to_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # blank, or cut short by a crash
        return math.nan
