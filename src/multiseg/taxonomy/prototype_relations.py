"""Relations between taxonomies, read off the prototypes of a model's classes.

A prototype is the mean embedding of a class. Prototypes of two datasets that lie close together show things that look
alike to the model, so two classes that are each other's nearest may be the same thing. A similarity is the same from
both sides: it cannot say that one class contains another, nor how much of it. What it suggests is for a person to
check.

Similarities of embeddings are compressed, and by how much depends on model and datasets: 0.9 may be near in one run and
far in the next. Some classes are near to nearly all of another dataset, too. So what a class has in common with all is
taken away, in rows and columns of the similarities s between two datasets,

    e_ij = s_ij - mean_j(s_ij) - mean_i(s_ij) + mean(s),

which is the same as to take the mean prototype of each dataset away; and then a class is judged against the others of
its dataset only. The nearest class j to i leads by

    (e_ij - max_{k≠j} e_ik) / (e_ij - mean_{k≠j} e_ik), at least 0:

0 where another is as near, 1 where the second is as far as all are on average. Neither a factor on all similarities nor
a shift of all of them changes that.

Any vectors of classes can be compared in this way, also embeddings of their names (`multiseg.taxonomy.text_relations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.measured_relations import Unjudged
from multiseg.taxonomy.name_conflicts import DatasetClass, Homonym, ends, namesakes
from multiseg.taxonomy.relations import Relation

#: By so much the nearest must lead, unless said otherwise.
LEAD = 0.3

#: Where a dataset has fewer classes with a prototype, nothing shows what is near.
MIN_CLASSES = 3

#: By so much a class that is the same by name is nearer than one whose vector is the same.
_PREFERENCE = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassPrototypes:
    """The prototypes of a dataset's classes.

    Args:
        space: the dataset's classes.
        vectors: (K, D), of any length.
        known: (K,) whether each has a prototype; one that training never saw has none.
        union_ids: (K,) the class of the model's union that each is. Classes that a union by name made one have one
            prototype.
    """

    space: LabelSpace
    vectors: Floats
    known: NDArray[np.bool_]
    union_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """The classes of another dataset by how near they are to a class.

    Args:
        entry: the class.
        dataset: the other one.
        names: its classes that have prototypes, the nearest first.
        similarities: of each, the cosine between prototypes.
        lead: of the nearest, 0 to 1; NaN where either dataset has fewer than three classes with prototypes.
        mutual: whether the class is the nearest of its nearest, too.
        shared: whether the two have one prototype, since the union made them one by name.
    """

    entry: DatasetClass
    dataset: str
    names: tuple[str, ...]
    similarities: tuple[float, ...]
    lead: float
    mutual: bool
    shared: bool

    @property
    def nearest(self) -> DatasetClass:
        return DatasetClass(self.dataset, self.names[0])


@dataclass(frozen=True)
class PrototypeSuggestion:
    """A relation with its evidence.

    Args:
        relation: between the two classes; `same`, or a guess of `near_misses`.
        similarity: the cosine between their prototypes.
        second: the similarity of the left class to the nearest one besides, and of the right class to its own.
        leads: by how much the right class leads among those near the left one, and the other way round; 0 where it is
            not the nearest.
        shared: they have one prototype: the model was told that they are the same, and found nothing.
    """

    relation: Relation
    similarity: float
    second: tuple[float, float]
    leads: tuple[float, float]
    shared: bool

    def evidence(self, source: str = "prototypes") -> dict[str, float | str | None]:
        """As columns of a TSV; None where there is nothing to compare with.

        Args:
            source: of the vectors, for the column `by`.
        """
        return {
            "similarity": _rounded(self.similarity),
            "second_of_from": _rounded(self.second[0]),
            "second_of_to": _rounded(self.second[1]),
            "lead_of_from": _rounded(self.leads[0]),
            "lead_of_to": _rounded(self.leads[1]),
            "by": "name" if self.shared else source,
        }


@dataclass(frozen=True)
class PrototypeComparison:
    """What prototypes say about several taxonomies.

    Args:
        neighbours: for each class that has a prototype those in every other dataset that has any.
        suggestions: the relations they suggest.
        unjudged: classes without a prototype.
    """

    neighbours: list[Neighbours]
    suggestions: list[PrototypeSuggestion]
    unjudged: list[Unjudged]


def compare_prototypes(datasets: Sequence[ClassPrototypes], threshold: float = LEAD) -> PrototypeComparison:
    """Nearest prototypes across datasets, and what they suggest.

    Two classes are suggested to be the same if each is the other's nearest in its dataset and leads there by the
    threshold. Being each other's nearest alone says little: of classes placed at random, half are. Where one of two
    datasets has fewer than three classes with prototypes, nothing is suggested; but classes that share a prototype are
    the same, as the union has it.

    Args:
        datasets: with prototypes of one model.
        threshold: at least 0, where only being each other's nearest counts, and below 1.

    Raises:
        MultisegError: the threshold is out of range.
    """
    check_lead(threshold)
    neighbours = [found for a, b in permutations(datasets, 2) for found in _neighbours(a, b)]
    by_pair = {(found.entry, found.dataset): found for found in neighbours}
    suggestions = []
    for first, second in combinations([entry.space for entry in datasets], 2):
        for name in first.names:
            forth = by_pair.get((DatasetClass(first.name, name), second.name))
            if forth and forth.mutual:
                back = by_pair[forth.nearest, first.name]
                if forth.shared or (forth.lead >= threshold and back.lead >= threshold):  # never where one is NaN
                    suggestions.append(_suggestion(forth, back))
    return PrototypeComparison(neighbours, suggestions, [entry for one in datasets for entry in _unjudged(one)])


def near_misses(comparison: PrototypeComparison, threshold: float = LEAD) -> list[PrototypeSuggestion]:
    """What is near but not suggested, the most similar first, with a guess of what it may be.

    Two classes that are each other's nearest, but do not both lead by the threshold, may be the same. Where only one is
    the other's nearest, and leads by the threshold, it may be a part of it, as *dog* and *cow* are of *animal*, which
    has one nearest only. A class that is suggested to be the same as one of a dataset is missed nowhere in it.

    Args:
        comparison: of `compare_prototypes`.
        threshold: the same as there.
    """
    by_pair = {(found.entry, found.dataset): found for found in comparison.neighbours}
    suggested = {end for own in comparison.suggestions for end in (ends(own.relation), ends(own.relation)[::-1])}
    place = {dataset: number for number, dataset in enumerate(dict.fromkeys(entry.dataset for entry, _ in by_pair))}
    missed = []
    for found in comparison.neighbours:
        back = by_pair[found.nearest, found.entry.dataset]
        if (found.entry, found.nearest) in suggested or np.isnan(found.lead):
            continue
        if found.mutual and place[found.entry.dataset] > place[found.dataset]:  # once is enough
            missed.append(_suggestion(back, found))
        elif not found.mutual and found.lead >= threshold:
            missed.append(_one_sided(found, back))
    return sorted(missed, key=lambda own: -own.similarity)


def check_lead(threshold: float) -> None:
    """
    Raises:
        MultisegError: it is not between 0 and 1.
    """
    if not 0 <= threshold < 1:
        raise MultisegError(f"the lead to ask for (--threshold) must be at least 0 and below 1, not {threshold:g}.")


def cosine_similarities(first: Floats, second: Floats) -> Floats:
    """Cosines between vectors; 0 where one has no length. Shape: (K, D), (K', D) to (K, K')."""
    scaled = [
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) for vectors in (first, second)
    ]
    similarities: Floats = np.clip(scaled[0] @ scaled[1].T, -1, 1)
    return similarities


def leads(similarities: Floats) -> Floats:
    """By how much the largest of each row leads; see above. NaN where there are fewer than three rows or columns.

    Shape:
        (K, K') to (K,).
    """
    count, others = similarities.shape
    if min(count, others) < MIN_CLASSES:
        return np.full(count, np.nan)
    by_row, by_column = similarities.mean(1, keepdims=True), similarities.mean(0, keepdims=True)
    standing_out = similarities - by_row - by_column + similarities.mean()
    nearest = similarities.argmax(1)[:, None]
    own = np.take_along_axis(standing_out, nearest, 1)[:, 0]
    np.put_along_axis(standing_out, nearest, -np.inf, 1)
    over_second = own - standing_out.max(1)
    np.put_along_axis(standing_out, nearest, 0, 1)
    over_others = own - standing_out.sum(1) / (others - 1)
    found: Floats = np.maximum(over_second, 0) / np.maximum(over_others, 1e-12)  # the second is at least the mean
    return found


def prototype_homonyms(datasets: Sequence[ClassPrototypes], comparison: PrototypeComparison) -> list[Homonym]:
    """Namesakes that are not each other's nearest."""
    said = {(found.entry, found.dataset): found for found in comparison.neighbours}
    homonyms = []
    for first, second in namesakes([entry.space for entry in datasets]):
        found = said.get((first, second.dataset))
        if found and second.name in found.names and not (found.mutual and found.nearest == second):
            similarity = found.similarities[found.names.index(second.name)]
            homonyms.append(Homonym(first, second, f"is not nearest to ({similarity:.2f})"))
    return homonyms


def _neighbours(first: ClassPrototypes, second: ClassPrototypes) -> list[Neighbours]:
    """Of the classes of the first dataset in the second."""
    rows, columns = np.flatnonzero(first.known), np.flatnonzero(second.known)
    if not len(rows) or not len(columns):
        return []
    shared = first.union_ids[rows][:, None] == second.union_ids[columns]
    similarities = cosine_similarities(first.vectors[rows], second.vectors[columns])
    ranked = similarities + _PREFERENCE * shared
    by_row, by_column = ranked.argmax(1), ranked.argmax(0)
    found = []
    for place, (row, own, lead) in enumerate(zip(rows, similarities, leads(ranked), strict=True)):
        order = np.argsort(-ranked[place], kind="stable")
        nearest = int(by_row[place])
        found.append(
            Neighbours(
                DatasetClass(first.space.name, first.space.names[row]),
                second.space.name,
                tuple(second.space.names[columns[at]] for at in order),
                tuple(float(own[at]) for at in order),
                float(lead),
                bool(by_column[nearest] == place),
                bool(shared[place, nearest]),
            )
        )
    return found


def _suggestion(forth: Neighbours, back: Neighbours) -> PrototypeSuggestion:
    start, end = forth.entry, back.entry
    return PrototypeSuggestion(
        Relation(start.dataset, start.name, "same", end.dataset, end.name),
        forth.similarities[0],
        (_second(forth), _second(back)),
        (forth.lead, back.lead),
        forth.shared,
    )


def _one_sided(forth: Neighbours, back: Neighbours) -> PrototypeSuggestion:
    found = _suggestion(forth, back)
    return replace(
        found,
        relation=replace(found.relation, relation="part of"),
        second=(_second(forth), back.similarities[0]),
        leads=(forth.lead, 0.0),
    )


def _second(found: Neighbours) -> float:
    return found.similarities[1] if len(found.similarities) > 1 else float("nan")


def _unjudged(dataset: ClassPrototypes) -> list[Unjudged]:
    names = [dataset.space.names[row] for row in np.flatnonzero(~dataset.known)]
    return [Unjudged(DatasetClass(dataset.space.name, name), "never seen in training") for name in names]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
