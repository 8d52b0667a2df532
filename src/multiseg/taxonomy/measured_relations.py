"""Relations between taxonomies, read off a model that predicts in all of them.

On the images of dataset A, whose classes are labelled, the model predicts in the taxonomy of B, and the other way
round. If nearly all pixels of A's "Tree" are taken for B's "far objects", but only half of the pixels of "far objects"
for "Tree", then "far objects" contains "Tree". What the model suggests in this way is for a person to check.

Its mistakes are allowed for. How often it takes each class of B for each other is known from B's own images; so the
share of a class of A that *is* each class of B is estimated as the mixture of B's classes whose known predictions
explain the predictions on A best. That is how Lipton et al. ("Detecting and correcting for label shift with black box
predictors", ICML 2018, section 4) estimate how often each class occurs in unlabelled data; they invert the confusion
matrix, while the likelihood is maximised here, so that no share is negative. It rests on the model making the same
mistakes on both datasets, which holds the less, the less alike they look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.name_conflicts import DatasetClass, Homonym, classes_of, ends, namesakes
from multiseg.taxonomy.relations import Relation

#: A class on fewer images, or with fewer pixels on all of them, is not judged.
MIN_IMAGES, MIN_PIXELS = 5, 1000

#: Nor is one of which the model finds less on its own dataset: of what it overlooks, it cannot say what else it is.
MIN_RECALL = 0.3

#: Share of a class from which on it is a part of another, unless said otherwise.
THRESHOLD = 0.7

#: A part must be found in the whole, too: at least this share of it. A class for which the other taxonomy has nothing,
#: and that only had to be called something, is not.
_TRACE = 0.02

#: Share of either class that the other has at least where they overlap.
_OVERLAP = 0.1

#: Shares, (K, K') with the classes of one taxonomy in rows and of another in columns.
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """What a model predicts where the classes of a dataset are labelled.

    Args:
        space: the dataset's classes.
        images: (K,) on how many images each is labelled.
        predicted: for each taxonomy of the model, (K, K') labelled pixels by class and prediction; also for its own.
    """

    space: LabelSpace
    images: NDArray[np.int64]
    predicted: Mapping[str, NDArray[np.int64]]

    @property
    def own(self) -> NDArray[np.int64]:
        """Shape: (K, K)."""
        return self.predicted[self.space.name]

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Labelled pixels of each class. Shape: (K,)."""
        pixels: NDArray[np.int64] = self.own.sum(1)
        return pixels

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of each class that the model finds. Shape: (K,)."""
        return row_shares(self.own).diagonal()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which classes can be judged. Shape: (K,)."""
        enough = (self.images >= MIN_IMAGES) & (self.pixels >= MIN_PIXELS)
        return enough & (self.recall >= MIN_RECALL)


@dataclass(frozen=True)
class Suggestion:
    """A relation with its evidence.

    Args:
        relation: a whole stands left of its parts.
        shares: estimated share of the left class that is the right one, and of the right class that is the left one.
        predicted: the share of the left class that the model takes for the right one, and the other way round, before
            its mistakes are allowed for.
        pixels: labelled, of the left and of the right class.
        images: on which they are labelled.
    """

    relation: Relation
    shares: tuple[float, float]
    predicted: tuple[float, float]
    pixels: tuple[int, int]
    images: tuple[int, int]

    def evidence(self) -> dict[str, float | int]:
        """As columns of a TSV."""
        return {
            "share_of_from": round(self.shares[0], 3),
            "share_of_to": round(self.shares[1], 3),
            "predicted_of_from": round(self.predicted[0], 3),
            "predicted_of_to": round(self.predicted[1], 3),
            "pixels_from": self.pixels[0],
            "pixels_to": self.pixels[1],
            "images_from": self.images[0],
            "images_to": self.images[1],
        }


@dataclass(frozen=True)
class Unjudged:
    """A class for which there is not enough evidence, and why."""

    entry: DatasetClass
    reason: str


@dataclass(frozen=True)
class Measurement:
    """What a model says about several taxonomies.

    Args:
        suggestions: the relations it suggests.
        unjudged: classes about which it cannot tell.
        shares: for every two datasets (A, B), (K_A, K_B) the estimated share of each class of A that is each class of
            B; zero where one of the two is not judged.
    """

    suggestions: list[Suggestion]
    unjudged: list[Unjudged]
    shares: Mapping[tuple[str, str], Shares]


def measure_relations(counts: Sequence[ClassCounts], threshold: float = THRESHOLD) -> Measurement:
    """Relations between the classes of every two datasets.

    A class is a part of another if at least `threshold` of it is the other, and a trace of the other is the class. Two
    that are parts of each other are the same if both shares are nearer to 1 than to the threshold and neither class
    holds a second one of the other dataset; otherwise the one that does, or the one with the smaller share, is the
    whole. Two classes overlap if neither is a part of the other, but a tenth of both is, and of one as much as the
    threshold leaves open.

    Args:
        counts: of each dataset, in all the others' taxonomies.
        threshold: above 0.5, so that a class is part of one other at most, and below 1.

    Raises:
        MultisegError: the threshold is out of range.
    """
    check_threshold(threshold)
    shares = {(a.space.name, b.space.name): _estimated_shares(a, b) for a, b in permutations(counts, 2)}
    suggestions = []
    for first, second in combinations(counts, 2):
        forth = shares[first.space.name, second.space.name]
        back = shares[second.space.name, first.space.name]
        kinds = relation_kinds(forth, back, threshold)
        suggestions += [_suggestion(first, second, pair, kind, forth, back) for pair, kind in kinds.items()]
    order = {entry: number for number, entry in enumerate(classes_of([count.space for count in counts]))}
    suggestions.sort(key=lambda suggestion: [order[end] for end in ends(suggestion.relation)])
    return Measurement(suggestions, [entry for count in counts for entry in _unjudged(count)], shares)


def check_threshold(threshold: float) -> None:
    """
    Raises:
        MultisegError: it is not between 0.5 and 1.
    """
    if not 0.5 < threshold < 1:
        raise MultisegError(f"the threshold must lie between 0.5 and 1, not at {threshold:g}.")


def relation_kinds(forth: Shares, back: Shares, threshold: float) -> dict[tuple[int, int], str]:
    """The relation of each class of A to each class of B that it has one to; see `measure_relations`.

    Args:
        forth: (K_A, K_B) share of each class of A that is each class of B.
        back: (K_B, K_A) the other way round.
        threshold: share from which on a class is part of another.
    """
    back = back.T
    part = (forth >= threshold) & (back >= _TRACE)
    whole = (back >= threshold) & (forth >= _TRACE)
    several_wholes = whole.sum(1, keepdims=True) - whole > 0  # the class of A holds another class of B besides
    several_parts = part.sum(0, keepdims=True) - part > 0
    same = (np.minimum(forth, back) >= (1 + threshold) / 2) & ~several_wholes & ~several_parts
    common = (np.minimum(forth, back) >= _OVERLAP) & (np.maximum(forth, back) >= 1 - threshold)
    kinds = {}
    for row, column in np.argwhere(part | whole | common):
        pair = int(row), int(column)
        if same[pair]:
            kinds[pair] = "same"
        elif part[pair] and whole[pair]:
            differ = several_parts[pair] != several_wholes[pair]
            inner = several_parts[pair] if differ else forth[pair] >= back[pair]
            kinds[pair] = "part of" if inner else "contains"
        else:
            kinds[pair] = "part of" if part[pair] else "contains" if whole[pair] else "overlaps"
    return kinds


def measured_homonyms(counts: Sequence[ClassCounts], measurement: Measurement) -> list[Homonym]:
    """Namesakes that can be judged and do not come out as the same."""
    facts = [fact for s in measurement.suggestions for fact in (s.relation, s.relation.turned())]
    kinds = {ends(fact): fact.relation for fact in facts}
    places = {DatasetClass(c.space.name, name): (c, k) for c in counts for k, name in enumerate(c.space.names)}
    found = []
    for first, second in namesakes([count.space for count in counts]):
        (count, row), (other, column) = places[first], places[second]
        kind = kinds.get((first, second), "is not related to")
        if kind != "same" and count.known[row] and other.known[column]:
            forth = measurement.shares[first.dataset, second.dataset][row, column]
            back = measurement.shares[second.dataset, first.dataset][column, row]
            found.append(Homonym(first, second, f"{kind} ({forth:.0%}, {back:.0%})"))
    return found


def row_shares(counts: NDArray[np.int64]) -> Shares:
    """Each row divided by its sum; zero where that is zero. Shape: (K, K') to (K, K')."""
    shares: Shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def explain_by_mixtures(observed: Shares, components: Shares, rounds: int = 1000) -> Shares:
    """The mixtures of known distributions under which observed ones are most likely, by expectation maximisation.

    Args:
        observed: (R, C) distributions.
        components: (K, C) distributions.
        rounds: at most.

    Returns:
        (R, K) shares of the components, each row summing to 1.
    """
    tiny = 1e-6  # what no component ever yields was observed all the same: all explain it equally badly
    components = (components + tiny) / (components + tiny).sum(1, keepdims=True)
    shares = np.full((len(observed), len(components)), 1 / len(components))
    for _ in range(rounds):
        before = shares
        shares = shares * (observed / (shares @ components) @ components.T)
        shares /= np.maximum(shares.sum(1, keepdims=True), tiny)
        if np.abs(shares - before).max() < 1e-5:
            break
    return shares


def _estimated_shares(first: ClassCounts, second: ClassCounts) -> Shares:
    """The share of each class of one dataset that is each class of another, of those that can be judged."""
    rows, columns = first.known, second.known
    shares = np.zeros((len(rows), len(columns)))
    if rows.any() and columns.any():
        observed = row_shares(first.predicted[second.space.name])[rows]
        shares[np.ix_(rows, columns)] = explain_by_mixtures(observed, row_shares(second.own)[columns])
    return shares


def _suggestion(
    first: ClassCounts, second: ClassCounts, pair: tuple[int, int], kind: str, forth: Shares, back: Shares
) -> Suggestion:
    if kind == "part of":  # told from the whole
        return _suggestion(second, first, (pair[1], pair[0]), "contains", back, forth)
    row, column = pair
    relation = Relation(first.space.name, first.space.names[row], kind, second.space.name, second.space.names[column])
    taken = row_shares(first.predicted[second.space.name])[row, column]
    taken_back = row_shares(second.predicted[first.space.name])[column, row]
    return Suggestion(
        relation,
        (float(forth[row, column]), float(back[column, row])),
        (float(taken), float(taken_back)),
        (int(first.pixels[row]), int(second.pixels[column])),
        (int(first.images[row]), int(second.images[column])),
    )


def _unjudged(count: ClassCounts) -> list[Unjudged]:
    found = []
    for row in np.flatnonzero(~count.known):
        if count.images[row] < MIN_IMAGES:
            reason = f"on {count.images[row]} images"
        elif count.pixels[row] < MIN_PIXELS:
            reason = f"{count.pixels[row]} pixels"
        else:
            taken = count.space.names[int(count.own[row].argmax())]
            reason = f"{count.recall[row]:.0%} found, mostly taken for {taken}"
        found.append(Unjudged(DatasetClass(count.space.name, count.space.names[row]), reason))
    return found
