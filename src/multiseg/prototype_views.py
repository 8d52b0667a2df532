"""The prototypes of a run's model, and embeddings of pixels around them: what reports and relations are made of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from multiseg.configuration import Config
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.embedding_charts import Cloud, Mark, Match, RunPrototypes, among, in_the_plane, load_tsne
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.loading.transforms import ResizeImage
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.mdp import MDP
from multiseg.networks.segmentation_network import labels_at
from multiseg.predictor import Predictor
from multiseg.run_folder import RunFolder
from multiseg.taxonomy.name_conflicts import ends
from multiseg.taxonomy.prototype_relations import ClassPrototypes, PrototypeComparison, compare_prototypes

#: Images of each dataset on which pixels are looked for, and pixels of each dataset.
IMAGES, PIXELS = 24, 300

#: Of all datasets together: t-SNE takes seconds for these, and a picture of more shows no more.
_MOST_PIXELS = 1500


@dataclass(frozen=True, eq=False)
class Pixels:
    """Embedded pixels of a dataset.

    Args:
        space: the dataset's classes.
        vectors: (N, D) of unit length.
        labels: (N,) contiguous ids.
    """

    space: LabelSpace
    vectors: NDArray[np.float64]
    labels: NDArray[np.int64]


def has_prototypes(weights: os.PathLike[str]) -> bool:
    """Whether a model.safetensors holds prototypes, as its tensors' names tell; False where it cannot be read."""
    try:
        with safe_open(os.fspath(weights), "pt") as file:
            return {"prototypes", "known"} <= set(file.keys())
    except (OSError, SafetensorError):
        return False


def class_prototypes(method: SegmentationMethod, datasets: Sequence[str] | None = None) -> list[ClassPrototypes]:
    """The prototypes of the classes of each labelled dataset.

    Args:
        method: trained.
        datasets: of these only, in this order; all by default.

    Raises:
        MultisegError: the method has no prototypes, or they are not finite.
    """
    if not isinstance(method, MDP):
        raise MultisegError(
            f"{type(method).__name__} has no prototypes of classes; MDP has: `multiseg train mdp` makes such a run."
        )
    vectors = method.prototypes.double().cpu().numpy()
    known = method.known.cpu().numpy()
    if not np.isfinite(vectors).all():
        raise MultisegError("the model's prototypes are not finite numbers; did its training diverge?")
    found = []
    for name in method.taxonomies if datasets is None else datasets:
        space = method.taxonomies[name]
        ids = method.tables[method.places[name], : len(space)].cpu().numpy()
        found.append(ClassPrototypes(space, vectors[ids], known[ids], ids))
    return found


@torch.no_grad()
def sample_pixels(
    predictor: Predictor, dataset: SegmentationDataset, count: int = PIXELS, images: int = IMAGES, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Embeddings of labelled pixels of a dataset's images, as many of each class as there are, drawn at random.

    Args:
        predictor: of a model of MDP.
        dataset: one of those it was trained on.
        count: pixels at most.
        images: spread evenly over the dataset; each enters the network as in evaluation.
        seed: of the draw.

    Returns:
        embeddings (N, D) of unit length and contiguous ids (N,).

    Raises:
        MultisegError: an image cannot be read.
    """
    method = predictor.method
    assert isinstance(method, MDP)
    random = np.random.default_rng(seed)
    space = dataset.label_space
    resize = ResizeImage(predictor.model.input_size(space.name).long_side)
    vectors: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int)):
        sample = dataset[int(index)]
        image = resize(sample.image)
        with predictor.precision():
            embeddings = method.embed(image[None].to(predictor.device), [space])[0]
        ids = _labels_of(sample.labels, image.shape[-2:], embeddings, method.network.stride).numpy().ravel()
        # no more of a class from one image than would be shown: few pixels of many images are wanted
        chosen = balanced(ids, count, random)
        vectors.append(embeddings.flatten(1).T[torch.from_numpy(chosen).to(embeddings.device)].cpu().numpy())
        labels.append(ids[chosen])
    if not vectors:
        return np.zeros((0, method.projection.channels)), np.zeros(0, np.int64)
    all_labels = np.concatenate(labels)
    kept = balanced(all_labels, count, random)
    return np.concatenate(vectors)[kept].astype(np.float64), all_labels[kept]


def balanced(labels: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Places of at most `count` labels drawn at random, none of them `IGNORE`: of every class as many as of any other,
    or all it has.

    Shape:
        labels: (N,); returns: (at most count,), sorted.
    """
    order = random.permutation(len(labels))
    order = order[labels[order] != IGNORE]
    of_class = labels[order]
    turn = np.zeros(len(order), np.int64)  # the first of each class, then the second of each, …
    for index in np.unique(of_class):
        own = of_class == index
        turn[own] = np.arange(own.sum())
    chosen: NDArray[np.int64] = np.sort(order[np.argsort(turn, kind="stable")[:count]])
    return chosen


def view_run(run: RunFolder, name: str, entries: Config) -> RunPrototypes:
    """What a report shows of a run's prototypes.

    Args:
        run: with a model that has prototypes.
        name: of the run, on the page.
        entries: its datasets, as in its config.yaml.

    Raises:
        MultisegError: the model cannot be loaded, or has no prototypes that can be compared.
    """
    predictor = Predictor.from_run(run)
    prototypes = class_prototypes(predictor.method)
    marks: list[Mark] = []
    clouds: list[Cloud] = []
    notes: list[str] = []
    try:
        load_tsne()  # before pixels are embedded in vain
    except MultisegError as error:
        notes.append(f"No picture of the prototypes of {name}: {error}")
    else:
        pixels, notes = _pixels(predictor, prototypes, entries)
        marks, clouds = _in_the_plane(prototypes, pixels)
    classes = {own.space.name: own.space.names for own in prototypes}
    return RunPrototypes(name, classes, clouds, marks, nearest_matches(compare_prototypes(prototypes)), tuple(notes))


def _pixels(
    predictor: Predictor, prototypes: Sequence[ClassPrototypes], entries: Config
) -> tuple[list[Pixels], list[str]]:
    """Of the datasets that are still where they were in training, and sentences on the others."""
    found, notes = [], []
    count = min(PIXELS, _MOST_PIXELS // max(1, len(prototypes)))
    for space in (own.space for own in prototypes):
        try:
            if space.name not in entries:
                raise MultisegError("the run's configuration does not name it.")
            dataset = open_dataset(space.name, DatasetEntry(**entries[space.name]), "val")
            if dataset.label_space.names != space.names:
                raise MultisegError("its classes are no longer those that the model was trained on.")
            drawn = Pixels(space, *sample_pixels(predictor, dataset, count))
            if not len(drawn.labels):
                raise MultisegError("none of those looked at is labelled.")
            found.append(drawn)
        except MultisegError as error:
            notes.append(f"No pixels of {space.name}: {error}")
    return found, notes


def _in_the_plane(prototypes: Sequence[ClassPrototypes], pixels: Sequence[Pixels]) -> tuple[list[Mark], list[Cloud]]:
    """Each prototype once, under name and colour of the first dataset that has it, and the pixels by class."""
    owners: dict[int, list[tuple[ClassPrototypes, int]]] = {}
    for own in prototypes:
        for place in np.flatnonzero(own.known):
            owners.setdefault(int(own.union_ids[place]), []).append((own, int(place)))
    if not owners:
        return [], []
    vectors = np.array([owner.vectors[place] for (owner, place), *_ in owners.values()])
    if pixels:
        embedded = np.concatenate([entry.vectors for entry in pixels])
        plane = in_the_plane(embedded)
        places = among(vectors, embedded, plane)
        parts = np.split(plane, np.cumsum([len(entry.labels) for entry in pixels]))
    else:
        places, parts = in_the_plane(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), []
    marks = []
    for members, (x, y) in zip(owners.values(), places, strict=True):
        entry = members[0][0].space.classes[members[0][1]]
        datasets = tuple(owner.space.name for owner, _ in members)
        marks.append(Mark(datasets, entry.name, entry.color, (float(x), float(y))))
    clouds = [
        Cloud(entry.space.name, entry.space.names[index], entry.space.classes[index].color, part[entry.labels == index])
        for entry, part in zip(pixels, parts, strict=False)
        for index in np.unique(entry.labels)
    ]
    return marks, clouds


def _labels_of(labels: Tensor, size: Sequence[int], embeddings: Tensor, stride: int) -> Tensor:
    """The labels of a file at the places of embeddings.

    Args:
        labels: (H, W) of the file.
        size: of the image as it entered the network.
        embeddings: (D, h, w).
        stride: of the network.

    Returns:
        (h, w) int64 on the CPU.
    """
    plain = labels.as_subclass(Tensor)[None, None].float()
    resized = F.interpolate(plain, (int(size[0]), int(size[1])), mode="nearest-exact")[0, 0].long()
    return labels_at(resized, stride, (embeddings.shape[-2], embeddings.shape[-1]), IGNORE)


def nearest_matches(comparison: PrototypeComparison) -> Mapping[tuple[str, str], Mapping[str, Match]]:
    """By dataset and class the nearest class of each other dataset."""
    relations = [suggestion.relation for suggestion in comparison.suggestions]
    suggested = {ends(fact) for relation in relations for fact in (relation, relation.turned())}
    matches: dict[tuple[str, str], dict[str, Match]] = {}
    for found in comparison.neighbours:
        match = Match(found.names[0], found.similarities[0], (found.entry, found.nearest) in suggested, found.shared)
        matches.setdefault((found.entry.dataset, found.entry.name), {})[found.dataset] = match
    return matches
