"""`multiseg report`: what several run folders hold, and what their models make of the same images, on one page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from multiseg.batch import Sample
from multiseg.configuration import Config
from multiseg.console import progress_bar
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import Scores
from multiseg.evaluation.report import Gallery, Panel, RunSummary, render_report
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.log import read_log
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder, write_text


def write_report(runs: Sequence[RunFolder], out: Path, title: str = "multiseg report", panels: int = 4) -> None:
    """Compare runs on one HTML page. What a run lacks (scores, log, model, its data) is said there.

    Args:
        runs: finished or not; one given twice counts once.
        out: the file; its folder is made.
        title: heading.
        panels: pictures from each dataset's validation split, spread evenly over it, the same for all runs.

    Raises:
        MultisegError: one of the folders is no run.
    """
    runs = list({run.path.resolve(): run for run in runs}.values())
    configs = [run.read_config() for run in runs]
    names = short_names([run.path for run in runs])
    summaries = [read_run(run, name, config) for run, name, config in zip(runs, names, configs, strict=True)]
    galleries, notes = make_galleries(dict(zip(names, runs, strict=True)), configs, panels)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render_report(title, summaries, galleries, notes))


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of different paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(entry[-length:]) for entry in parts]
        if len(set(names)) == len(names):
            return names
    return [os.fspath(path) for path in paths]


def read_run(run: RunFolder, name: str, config: Config) -> RunSummary:
    """What lies in a run's folder."""
    notes = []
    metrics: dict[str, Any] = {}
    try:
        metrics = run.read_metrics()
    except MultisegError as error:
        notes.append(str(error))
    curves: dict[str, list[tuple[float, float]]] = {}
    try:
        curves = read_curves(run.log_path)
    except OSError as error:
        notes.append(f"{run.log_path} cannot be read: {error.strerror}.")
    return RunSummary(
        name=name,
        path=os.fspath(run.path),
        config=run.config_path.read_text(encoding="utf-8"),
        trained_on=tuple(config["data"]["datasets"]),
        method=metrics.get("method", ""),
        step=metrics.get("step"),
        seconds=metrics.get("seconds"),
        scores={dataset: read_scores(entry) for dataset, entry in metrics.get("datasets", {}).items()},
        curves=curves,
        notes=tuple(notes),
    )


def read_scores(entry: Mapping[str, Any]) -> Scores:
    """One dataset of a metrics.json; what it lacks is NaN."""
    keys = ("mIoU", "mean_accuracy", "pixel_accuracy")
    miou, mean_accuracy, pixel_accuracy = (math.nan if entry.get(key) is None else float(entry[key]) for key in keys)
    return Scores(miou, mean_accuracy, pixel_accuracy, entry.get("per_class", {}), tuple(entry.get("absent", ())))


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The finite values of a log with their steps, by column.

    Raises:
        OSError: it cannot be read.
    """
    columns, rows = read_log(path)
    curves: dict[str, list[tuple[float, float]]] = {}
    for column in columns:
        points = [(float(row["step"]), _to_number(row[column])) for row in rows if column != "step"]
        if known := [(step, value) for step, value in points if math.isfinite(value)]:
            curves[column] = known
    return curves


def make_galleries(
    runs: Mapping[str, RunFolder], configs: Sequence[Config], panels: int
) -> tuple[list[Gallery], list[str]]:
    """Some images of every dataset, predicted by every run that knows its classes.

    Args:
        runs: by the name they have on the page.
        configs: of the runs.
        panels: images of each dataset.

    Returns:
        the galleries, and sentences on what they lack.
    """
    galleries, notes = [], []
    samples: dict[str, list[Sample]] = {}
    datasets: dict[str, SegmentationDataset] = {}
    for name in dict.fromkeys(name for config in configs for name in config["data"]["datasets"]) if panels else ():
        entries = [config["data"]["datasets"][name] for config in configs if name in config["data"]["datasets"]]
        try:
            datasets[name] = open_dataset(name, DatasetEntry(**entries[0]), "val")
            samples[name] = [datasets[name][index] for index in spread(len(datasets[name]), panels)]
        except MultisegError as error:
            notes.append(f"No pictures of {name}: {error}")
    predictions, failures = predict_samples(runs, {name: samples[name] for name in samples})
    for name, chosen in samples.items():
        galleries.append(
            Gallery(
                datasets[name].label_space,
                datasets[name].split,
                [
                    Panel(
                        sample.key,
                        sample.image.numpy(),
                        sample.labels.numpy(),
                        {run: made[name][index] for run, made in predictions.items() if name in made},
                    )
                    for index, sample in enumerate(chosen)
                ],
            )
        )
    return galleries, notes + failures


def predict_samples(
    runs: Mapping[str, RunFolder], samples: Mapping[str, Sequence[Sample]]
) -> tuple[dict[str, dict[str, list[NDArray[Any]]]], list[str]]:
    """Label maps of the images of each dataset by run and dataset, and sentences on runs that cannot predict.

    One model is in memory at a time.
    """
    predictions: dict[str, dict[str, list[NDArray[Any]]]] = {}
    failures = []
    with progress_bar("pictures", len(runs)) as advance:
        for done, (name, run) in enumerate(runs.items() if samples else (), 1):
            try:
                predictor = Predictor.from_run(run)
                predictions[name] = {
                    dataset: [predictor.predict(sample.image, dataset).numpy() for sample in chosen]
                    for dataset, chosen in samples.items()
                    if dataset in predictor.taxonomies and predictor.taxonomies[dataset].names == chosen[0].space.names
                }
            except MultisegError as error:
                failures.append(f"No predictions of {name}: {error}")
            advance(done)
    return predictions, failures


def spread(length: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `range(length)`; all of it where it is shorter."""
    count = min(length, count)
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def _to_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # blank, or cut short by a crash
        return math.nan
