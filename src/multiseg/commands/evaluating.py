"""`multiseg evaluate` and `multiseg predict`: a run on datasets and on images."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from multiseg.batch import Segments
from multiseg.commands.image_files import image_files
from multiseg.commands.norm_options import apply_norms, dataset_images, file_images
from multiseg.commands.opening import open_named, require_labels
from multiseg.commands.tables import show_classes, show_metrics
from multiseg.commands.word_classes import add_dataset, add_typed
from multiseg.configuration import Config
from multiseg.console import counting_bar, progress_bar, results, say
from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base import read_image
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import means
from multiseg.evaluation.overlays import legend, overlay, panoptic_overlay, with_legend
from multiseg.evaluation.panoptic_files import PanopticWriter
from multiseg.label_space import LabelSpace
from multiseg.loading.datamodule import DatasetEntry, is_labelled, open_dataset
from multiseg.methods.base import SegmentationMethod
from multiseg.predictor import Evaluation, Predictor
from multiseg.run_folder import RunFolder, load_model
from multiseg.taxonomy.relations import (
    Relation,
    Remapping,
    read_relations,
    relations_by_name,
    remap_by_name,
    remap_by_relations,
)
from multiseg.taxonomy.universal_space import implied_relations


def evaluate_run(run: RunFolder, given: Namespace) -> int:
    """Score a run on its own datasets, or on the given ones, and print it."""
    predictor = make_predictor(run, given)
    datasets = open_named(given.datasets, given.split or "val") if given.datasets else own_datasets(run, given.split)
    require_labels(datasets.values(), "evaluate on")
    evaluations = {}
    for name, dataset in datasets.items():
        taxonomy, remapping = choose_taxonomy(predictor, dataset, given.taxonomy, given.relations)
        size = predictor.model.input_size(taxonomy).long_side
        unlabelled = file_images(given.norm_images, size) if given.norm_images else dataset_images(dataset, size)
        apply_norms(predictor, name, f"images of {name}", given, unlabelled)
        with counting_bar(name, len(dataset)) as count:
            writer = PanopticWriter(given.out / name, dataset.label_space) if given.out else None
            file_names = _file_names(dataset)

            def write(key: str, segments: Segments, writer: Any = writer, file_names: Any = file_names) -> None:
                if writer:
                    writer.add(file_names[key], segments)

            evaluations[name] = predictor.evaluate(dataset, taxonomy, remapping, progress=count, found=write)
        if writer:
            if evaluations[name].scores.panoptic is None:
                raise MultisegError(f"--out: {name} was not judged by segments, so there are none to write.")
            say(f"{name}: segments written to {writer.write()}")
    _print_evaluations(evaluations, given.json)
    return 0


def make_predictor(run: RunFolder, given: Namespace) -> Predictor:
    """The run's model, to predict as the command line says.

    Raises:
        MultisegError: its method learns no classes.
    """
    model = load_model(run)
    if not model.method.taxonomies:
        name = type(model.method).__name__
        raise MultisegError(f"{name} predicts no classes: train another method from it with --init.weights {run.path}.")
    inference = model.method.inference
    if given.scales:
        inference = replace(inference, scales=tuple(given.scales))
    if given.flip:
        inference = replace(inference, flip=True)
    return Predictor(model, given.device, inference, given.sliding)


def own_datasets(
    run: RunFolder, split: str | None = None, among: Collection[str] | None = None
) -> dict[str, SegmentationDataset]:
    """The datasets a run was trained on, in the splits it is evaluated on; those without labels are left out.

    Args:
        run: the run.
        split: another split.
        among: only these; by default all.

    Raises:
        MultisegError: they are not where they were in training, or there is no such split.
    """
    entries = labelled_entries(run)
    wanted = entries if among is None else among
    return {name: open_dataset(name, entry, split or "val") for name, entry in entries.items() if name in wanted}


def labelled_entries(run: RunFolder) -> dict[str, DatasetEntry]:
    """The datasets with labels that a run was trained on, by name; whether they are still there is not looked at."""
    config: Config = run.read_config()["data"]["datasets"]
    entries = {name: DatasetEntry(**entry) for name, entry in config.items()}
    return {name: entry for name, entry in entries.items() if is_labelled(name, entry)}


def choose_taxonomy(
    predictor: Predictor, dataset: SegmentationDataset, taxonomy: str | None, relations: Path | None
) -> tuple[str, Remapping | None]:
    """In which taxonomy to predict on a dataset, and how its classes become the dataset's. Never chosen silently.

    Raises:
        MultisegError: the dataset is none of the model's and no taxonomy is named, or no class maps.
    """
    if relations and taxonomy is None:
        raise MultisegError("--relations map a taxonomy to the dataset: name it with --taxonomy.")
    if taxonomy is None and dataset.name in predictor.taxonomies:
        space = predictor.taxonomies[dataset.name]
        if space.names == dataset.label_space.names:
            return dataset.name, None
    if taxonomy is None and predictor.method.open_vocabulary:
        say(f"{dataset.name}: never trained on; predicted by the words of its {len(dataset.label_space)} classes.")
        return add_dataset(predictor, dataset), None
    if taxonomy is None:
        known = dataset.name in predictor.taxonomies
        why = f"knows '{dataset.name}' with other classes" if known else f"was not trained on '{dataset.name}'"
        raise MultisegError(
            f"the model {why}: name the taxonomy to predict in with --taxonomy ({', '.join(predictor.taxonomies)})."
        )
    source = predictor.taxonomy(taxonomy)
    if source.names == dataset.label_space.names:
        return taxonomy, None
    target, method = dataset.label_space, predictor.method
    if relations is None and source.name in method.spaces:
        return taxonomy, remap_by_name(source, target)
    implied = implied_relations(source, target, _facts(method, source, target, relations))
    return taxonomy, remap_by_relations(source, target, implied)


def _facts(method: SegmentationMethod, source: LabelSpace, target: LabelSpace, path: Path | None) -> list[Relation]:
    """What is known of how a taxonomy relates to a dataset, be it by way of the datasets the model was trained on: from
    a TSV, else by name.
    """
    seen = method.spaces.get(target.name)
    known = [fact for fact in method.known_relations() if seen == target or fact.to_dataset != target.name]
    between = [space for space in method.spaces.values() if space.name not in (source.name, target.name)]
    if path is not None:
        return [*known, *read_relations(path, [source, *between, target])]
    if known and seen == target:
        return known
    named = between if known else [source]
    return [*known, *(fact for space in named for fact in relations_by_name([space, target]))]


def _file_names(dataset: SegmentationDataset) -> dict[str, str]:
    """The name of each image, by its key, as a benchmark has it: without folders, unless two would be the same."""
    paths = [Path(dataset.pairs[index][0]) for index in range(len(dataset))]
    apart = len({path.stem for path in paths}) == len(paths)
    return {path.with_suffix("").as_posix(): path.name if apart else path.as_posix() for path in paths}


def predict_images(run: RunFolder, given: Namespace) -> int:
    """Write, for each image, an overlay with a legend and a PNG of class ids."""
    predictor = make_predictor(run, given)
    if given.things and not given.classes:
        raise MultisegError("--things says which of the words of --classes are countable.")
    if given.classes and given.taxonomy:
        raise MultisegError("--taxonomy names classes the model has, --classes gives others: use one of the two.")
    files = image_files(given.images)
    typed = add_typed(predictor, given.classes, given.things) if given.classes else None
    taxonomy = predictor.taxonomy(typed or given.taxonomy)
    size = predictor.model.input_size(taxonomy.name).long_side
    apply_norms(predictor, taxonomy.name, "the images", given, file_images(given.norm_images or files, size))
    if predictor.method.norm_sets and given.norms is None:
        say(f"batch norms are {taxonomy.name}; for images of another kind see --norms.")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MultisegError(f"cannot write to {given.out}: {error.strerror}.") from None
    names = _output_names(files)
    writer = PanopticWriter(given.out, taxonomy) if predictor.method.panoptic else None
    written: dict[str, Any] = {}
    with progress_bar("predicting", len(files)) as advance:
        for number, (file, name) in enumerate(zip(files, names, strict=True), 1):
            image = read_image(file)
            predictor.norms_used.clear()
            if writer is None:
                labels, segments = predictor.predict(image, taxonomy.name), None
            else:
                labels, segments = predictor.predict_segments(image, taxonomy.name)
            entry = written[str(file)] = write_prediction(image, labels, taxonomy, given.out / name, segments)
            if writer is not None and segments is not None:
                entry["segments"] = str(writer.add(f"{name}{file.suffix}", segments))
            for norms in predictor.norms_used:  # of a single image: one, or none
                entry["norms"] = norms
            advance(number)
    if writer is not None:
        say(f"segments in COCO's format: {writer.write()}")
    if given.json:
        print(json.dumps(written, ensure_ascii=False))
    else:
        say(f"{len(files)} images in the taxonomy '{taxonomy.name}':")
        if given.norms:
            say(_passed(Counter(entry["norms"] for entry in written.values())))
        for entry in written.values():
            results.print(entry["overlay"], markup=False, soft_wrap=True)
    return 0


def write_prediction(
    image: Tensor, labels: Tensor, taxonomy: LabelSpace, stem: Path, segments: Segments | None = None
) -> dict[str, Any]:
    """Write STEM_overlay.png, of the segments where there are any, and STEM_labels.png (contiguous ids); returns their
    paths and the share of each class.
    """
    array = labels.numpy()
    if segments is None:
        picture, seen = overlay(image, array, taxonomy), array
    else:
        picture, seen = panoptic_overlay(image, segments, taxonomy), segments.labels.numpy()
    picture = with_legend(picture, legend(taxonomy, [seen], image.shape[-2]))
    overlay_path, labels_path = Path(f"{stem}_overlay.png"), Path(f"{stem}_labels.png")
    picture.save(overlay_path)
    Image.fromarray(array.astype(np.uint8 if len(taxonomy) <= 256 else np.uint16)).save(labels_path)
    shares = np.bincount(array.ravel(), minlength=len(taxonomy)) / array.size
    return {
        "overlay": str(overlay_path),
        "labels": str(labels_path),
        "shares": {name: round(float(share), 4) for name, share in zip(taxonomy.names, shares, strict=True) if share},
    }


def _output_names(files: Sequence[Path]) -> list[str]:
    """Stems, numbered where two files share one."""
    stems = [file.stem for file in files]
    return [stem if stems.count(stem) == 1 else f"{number:04d}_{stem}" for number, stem in enumerate(stems)]


def _passed(norms: Mapping[str, int]) -> str:
    return f"images by the batch norms they passed: {', '.join(f'{name} {count}' for name, count in norms.items())}"


def _print_evaluations(evaluations: dict[str, Evaluation], as_json: bool) -> None:
    data = {name: evaluation.to_json() for name, evaluation in evaluations.items()}
    if as_json:
        print(json.dumps({"datasets": data, "mean": means(data.values())}, ensure_ascii=False))
        return
    show_metrics({"datasets": data})
    for name, entry in data.items():
        show_norms(name, name, entry)
        results.print()
        show_classes(f"{name} {entry['split']}", entry)
        show_unreached(entry)


def show_norms(what: str, own: str, entry: Mapping[str, Any]) -> None:
    """Whose batch norms the images passed, where it was not those of their own dataset."""
    norms = entry.get("norms", {})
    if norms and set(norms) != {own}:
        results.print(f"{what} {_passed(norms)}", markup=False, soft_wrap=True)


def show_unreached(entry: Mapping[str, Any]) -> None:
    """The classes of a dataset that are not judged."""
    if entry["unreached"]:
        results.print(
            f"left out, since taxonomy '{entry['taxonomy']}' has no counterpart: {', '.join(entry['unreached'])}",
            markup=False,
            soft_wrap=True,
        )
