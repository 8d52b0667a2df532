"""Typed classes: names, colours, and which of them are countable."""

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from multiseg.commands.word_classes import add_typed
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace

STREET = LabelSpace("street", (LabelClass("Sky", (0,), (128, 0, 0)), LabelClass("car", (1,), (0, 0, 9), thing=True)))


class Listener:
    """Stands for a method that understands words; keeps what it was told."""

    open_vocabulary = True
    spaces: ClassVar = {"street": STREET}

    def add_taxonomy(self, space: LabelSpace, names: dict[str, list[str]]) -> None:
        self.space, self.names = space, names


def typed(text: str, things: str | None = None) -> Listener:
    method = Listener()
    predictor: Any = SimpleNamespace(method=method)
    assert add_typed(predictor, text, things) == "words"
    return method


def test_names_colours_and_things_are_those_of_the_training_datasets_where_they_are_known() -> None:
    heard = typed("sky, car | automobile, ship, tree")
    assert heard.names == {"sky": ["sky"], "car": ["car", "automobile"], "ship": ["ship"], "tree": ["tree"]}
    assert heard.space.names == ("sky", "car", "ship", "tree")
    assert heard.space.things.tolist() == [False, True, False, False]
    assert heard.space.colors[:2].tolist() == [[128, 0, 0], [0, 0, 9]]


def test_no_two_classes_have_one_colour() -> None:
    colors = typed("sky, " + ", ".join(f"word{n}" for n in range(40))).space.colors
    assert len(np.unique(colors, axis=0)) == 41


def test_things_that_are_said_count_and_no_others() -> None:
    assert typed("sky, car, ship", "ship").space.things.tolist() == [False, False, True]
    with pytest.raises(MultisegError, match="'boat' is none of the classes sky, ship"):
        typed("sky, ship", "boat")


def test_a_method_without_words_says_so() -> None:
    predictor: Any = SimpleNamespace(method=SimpleNamespace(open_vocabulary=False))
    with pytest.raises(MultisegError, match="knows only the classes it was trained on"):
        add_typed(predictor, "sky")
