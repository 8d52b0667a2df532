"""Classes that a user types, for a model that understands words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from multiseg.datasets import SegmentationDataset
from multiseg.datasets.base.colors import numbered_color
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace, same_name
from multiseg.predictor import Predictor

#: What a taxonomy of typed classes is called.
TYPED = "words"


def add_typed(predictor: Predictor, typed: str, things: str | None = None) -> str:
    """Makes the classes of `--classes` a taxonomy; returns its name.

    Args:
        predictor: of a model that understands words.
        typed: classes separated by commas, names of the same class by bars: "road, car|automobile, tree".
        things: those of the classes that are countable, separated by commas; by default those that a training dataset
            says are.

    Raises:
        MultisegError: the model understands no words, or a class is empty, twice there, or not among the classes.
    """
    _require_words(predictor, "--classes")
    names = [[name.strip() for name in entry.split("|")] for entry in typed.split(",")]
    if not all(name for entry in names for name in entry):
        raise MultisegError(f"--classes: a class of '{typed}' is empty.")
    countable = _countable(predictor) if things is None else {same_name(name) for name in things.split(",")}
    first = [entry[0] for entry in names]
    for name in things.split(",") if things else ():
        if same_name(name) not in map(same_name, first):
            raise MultisegError(f"--things: '{name.strip()}' is none of the classes {', '.join(first)}.")
    colors = _colors(predictor)
    taken = {colors[key] for key in map(same_name, first) if key in colors}
    unused = (color for color in map(numbered_color, count(1)) if color not in taken)
    classes = []
    for place, name in enumerate(first):
        key = same_name(name)
        classes.append(LabelClass(name, (place,), colors.get(key) or next(unused), key in countable))
    predictor.method.add_taxonomy(LabelSpace(TYPED, tuple(classes)), dict(zip(first, names, strict=True)))
    return TYPED


def add_dataset(predictor: Predictor, dataset: SegmentationDataset) -> str:
    """Makes the classes of a dataset that was not trained on a taxonomy; returns its name.

    Raises:
        MultisegError: the model understands no words.
    """
    _require_words(predictor, dataset.name)
    space = dataset.label_space
    name = space.name if space.name not in predictor.taxonomies else f"{space.name}-{TYPED}"
    predictor.method.add_taxonomy(space.renamed(name))
    return name


def _require_words(predictor: Predictor, what: str) -> None:
    if not predictor.method.open_vocabulary:
        kind = type(predictor.method).__name__
        raise MultisegError(f"{what}: {kind} knows only the classes it was trained on; LMSeg understands any words.")


def _spaces(predictor: Predictor) -> Sequence[LabelSpace]:
    return list(predictor.method.spaces.values())


def _countable(predictor: Predictor) -> set[str]:
    return {same_name(entry.name) for space in _spaces(predictor) for entry in space.classes if entry.thing}


def _colors(predictor: Predictor) -> dict[str, tuple[int, int, int]]:
    """Those of the training datasets, where classes are called the same; of several datasets the first one's."""
    spaces = reversed(_spaces(predictor))
    return {same_name(entry.name): entry.color for space in spaces for entry in space.classes}
