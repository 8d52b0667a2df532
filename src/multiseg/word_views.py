"""The embedded names of classes in a run's model: what a report shows of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multiseg.errors import MultisegError
from multiseg.evaluation.embedding_charts import Mark, in_the_plane, load_tsne
from multiseg.evaluation.word_charts import RunWords
from multiseg.label_space import LabelSpace
from multiseg.methods.lmseg import LMSeg
from multiseg.networks.class_words import class_means
from multiseg.prototype_views import nearest_matches
from multiseg.run_folder import RunFolder, load_model
from multiseg.taxonomy.prototype_relations import compare_prototypes
from multiseg.taxonomy.text_relations import classes_as_texts

Floats = NDArray[np.float64]


def has_words(weights: os.PathLike[str]) -> bool:
    """Whether a model.safetensors holds words, as its tensors' names tell; False where it cannot be read."""
    try:
        with safe_open(os.fspath(weights), "pt") as file:
            return "class_words.adapter.weight" in file.keys()  # noqa: SIM118  (a file, no mapping)
    except (OSError, SafetensorError):
        return False


@torch.no_grad()
def word_embeddings(method: LMSeg) -> dict[str, tuple[Floats, Floats]]:
    """Of each training dataset the embeddings of its classes, as the text encoder gives them and behind the adapter: of
    a class with several names their mean. The text encoder is not loaded.

    Args:
        method: trained.

    Returns:
        by dataset (K, W) and (K, D), in the order of its classes.

    Raises:
        MultisegError: they are not finite.
    """
    found = {}
    for name in method.spaces:
        rows, vocabulary = method.get_buffer(f"text_{name}"), method.vocabularies[name]
        both = [rows, method.class_words(rows)]
        if vocabulary.synonyms == "best":  # a row a name; of "mean" the rows are means already
            both = [class_means(part, vocabulary) for part in both]
        encoded, adapted = (_to_array(part[:-1]) for part in both)  # the last is "no object"
        found[name] = encoded, adapted
    return found


def view_words(run: RunFolder, name: str) -> RunWords:
    """What a report shows of a run's words.

    Args:
        run: with a model that has words.
        name: of the run, on the page.

    Raises:
        MultisegError: the model cannot be loaded, or has no words that can be compared.
    """
    method = load_model(run).method
    if not isinstance(method, LMSeg):
        raise MultisegError(f"{type(method).__name__} knows classes by no words.")
    vectors = word_embeddings(method)
    spaces = list(method.spaces.values())
    comparison = compare_prototypes(classes_as_texts(spaces, [adapted for _, adapted in vectors.values()]))
    notes: list[str] = []
    encoded: Sequence[Mark] = ()
    adapted: Sequence[Mark] = ()
    try:
        load_tsne()
    except MultisegError as error:
        notes.append(f"No picture of the words of {name}: {error}")
    else:
        texts = {own.name: _texts_of(method, own) for own in spaces}
        encoded = _marks(spaces, texts, {own: pair[0] for own, pair in vectors.items()})
        adapted = _marks(spaces, texts, {own: pair[1] for own, pair in vectors.items()})
    classes = {space.name: space.names for space in spaces}
    return RunWords(name, classes, encoded, adapted, nearest_matches(comparison), tuple(notes))


def _texts_of(method: LMSeg, space: LabelSpace) -> list[tuple[str, ...]]:
    """What is said for each class."""
    vocabulary = method.vocabularies[space.name]
    texts: list[tuple[str, ...]] = [()] * len(space)
    for text, place in zip(vocabulary.texts, vocabulary.classes, strict=True):
        texts[place] += (text,)
    return texts


def _marks(
    spaces: Sequence[LabelSpace], texts: Mapping[str, Sequence[tuple[str, ...]]], vectors: Mapping[str, Floats]
) -> list[Mark]:
    """A mark for each class, one for classes of which the same is said: their embeddings are one, and would hide each
    other.
    """
    owners: dict[tuple[str, ...], list[tuple[LabelSpace, int]]] = {}
    for space in spaces:
        for place, said in enumerate(texts[space.name]):
            owners.setdefault(said, []).append((space, place))
    rows = np.array([vectors[space.name][place] for (space, place), *_ in owners.values()])
    places = in_the_plane(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12))
    marks = []
    for (said, members), (x, y) in zip(owners.items(), places, strict=True):
        datasets = tuple(dict.fromkeys(space.name for space, _ in members))
        first, place = members[0]
        marks.append(Mark(datasets, said[0], first.classes[place].color, (float(x), float(y))))
    return marks


def _to_array(rows: Tensor) -> Floats:
    array: Floats = rows.double().cpu().numpy()
    if not np.isfinite(array).all():
        raise MultisegError("the model's words are not finite numbers; did its training diverge?")
    return array
