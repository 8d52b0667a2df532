"""What the names of classes say about how taxonomies relate, and where they mislead."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations, product

from multiseg.label_space import LabelSpace, same_name
from multiseg.taxonomy.relations import Relation

#: Words by which datasets tell their own classes apart, and which say nothing of what is shown.
_FILLERS = frozenset({"a", "and", "fallback", "general", "in", "merged", "of", "on", "other", "others", "stuff", "the"})

#: Words that turn a name into its opposite: "non-drivable" is no kind of "drivable".
_NEGATIONS = frozenset({"no", "non", "not", "un", "without"})

#: Names at least this long, with the same first letter, are compared letter by letter.
_SHORTEST = 6

#: Share of letters that two spellings of a name have in common at least.
_SPELLING = 0.82


@dataclass(frozen=True, order=True)
class DatasetClass:
    """A class of a dataset, written `dataset/class`."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.name}"


@dataclass(frozen=True)
class UnionClass:
    """Classes that are one.

    Args:
        name: as the first dataset spells it.
        members: in the order of the datasets.
    """

    name: str
    members: tuple[DatasetClass, ...]

    @property
    def shared(self) -> bool:
        """Whether several datasets have it."""
        return len({member.dataset for member in self.members}) > 1


@dataclass(frozen=True)
class Homonym:
    """Two classes that share a name, and why they may not be the same thing.

    Args:
        first, second: the classes.
        reason: reads from the first to the second, as in "is part of".
    """

    first: DatasetClass
    second: DatasetClass
    reason: str


@dataclass(frozen=True)
class SimilarName:
    """Two classes whose names look alike but are not equal, so that names do not unite them.

    Args:
        first, second: `first` has the shorter name.
        kind: "spelling", or "contained" where the longer name has all words of the shorter one.
    """

    first: DatasetClass
    second: DatasetClass
    kind: str


def classes_of(spaces: Iterable[LabelSpace]) -> list[DatasetClass]:
    """All classes, dataset by dataset."""
    return [DatasetClass(space.name, name) for space in spaces for name in space.names]


def ends(relation: Relation) -> tuple[DatasetClass, DatasetClass]:
    """The class on its left and the one on its right."""
    start = DatasetClass(relation.from_dataset, relation.from_class)
    return start, DatasetClass(relation.to_dataset, relation.to_class)


def union_by_relations(spaces: Sequence[LabelSpace], relations: Iterable[Relation]) -> list[UnionClass]:
    """The classes of all datasets, those that `same` links, directly or through others, as one."""
    group_of = {entry: [entry] for entry in classes_of(spaces)}
    for relation in relations:
        first, second = (group_of[entry] for entry in ends(relation))
        if relation.relation == "same" and first is not second:
            first += second
            for entry in second:
                group_of[entry] = first
    place = {entry: number for number, entry in enumerate(group_of)}
    union = []
    for entry, group in group_of.items():
        members = tuple(sorted(group, key=place.__getitem__))
        if members[0] == entry:
            union.append(UnionClass(entry.name, members))
    return union


def without_partner(spaces: Sequence[LabelSpace], relations: Iterable[Relation]) -> dict[str, list[str]]:
    """The classes of each dataset that no relation names."""
    related = {entry for relation in relations for entry in ends(relation)}
    return {s.name: [name for name in s.names if DatasetClass(s.name, name) not in related] for s in spaces}


def homonyms_by_flags(spaces: Sequence[LabelSpace]) -> list[Homonym]:
    """Namesakes that are countable things in one dataset and stuff in another: suspects only, but "light" that is
    counted is a lamp and "light" that is not is a surface.

    Datasets without any thing say nothing: they were never meant to count.
    """
    flags = {DatasetClass(s.name, c.name): c.thing for s in spaces if s.things.any() for c in s.classes}
    found = []
    for first, second in namesakes(spaces):
        if first in flags and second in flags and flags[first] != flags[second]:
            reason = "is a thing, but stuff in" if flags[first] else "is stuff, but a thing in"
            found.append(Homonym(first, second, reason))
    return found


def homonyms_by_relations(spaces: Sequence[LabelSpace], relations: Sequence[Relation]) -> list[Homonym]:
    """Namesakes that the relations do not call the same."""
    united = {member: number for number, u in enumerate(union_by_relations(spaces, relations)) for member in u.members}
    said = {ends(fact): fact.relation for relation in relations for fact in (relation, relation.turned())}
    return [
        Homonym(first, second, said.get((first, second), "is not related to"))
        for first, second in namesakes(spaces)
        if united[first] != united[second]
    ]


def namesakes(spaces: Sequence[LabelSpace]) -> list[tuple[DatasetClass, DatasetClass]]:
    """Every two classes of different datasets with the same name."""
    bearers: dict[str, list[DatasetClass]] = defaultdict(list)
    for entry in classes_of(spaces):
        bearers[same_name(entry.name)].append(entry)
    return [(a, b) for group in bearers.values() for a, b in combinations(group, 2) if a.dataset != b.dataset]


def similar_names(spaces: Sequence[LabelSpace], relations: Iterable[Relation] = ()) -> list[SimilarName]:
    """Names of different datasets that differ in number, spelling or words such as "other", or of which one contains
    the other: "cars" and "car", "aeroplane" and "airplane", "wall" and "wall-brick". Related classes are left out.
    """
    related = {ends(fact) for relation in relations for fact in (relation, relation.turned())}
    bearers: dict[tuple[str, ...], list[DatasetClass]] = defaultdict(list)
    for entry in classes_of(spaces):
        bearers[_words(entry.name)].append(entry)
    found: dict[frozenset[DatasetClass], SimilarName] = {}
    for (short, long), kind in _similar_words(bearers).items():
        for pair in product(bearers[short], bearers[long]):
            first, second = sorted(pair, key=lambda entry: len(entry.name))
            equal = same_name(first.name) == same_name(second.name)
            if first.dataset != second.dataset and not equal and (first, second) not in related:
                found.setdefault(frozenset(pair), SimilarName(first, second, kind))
    return list(found.values())


def _words(name: str) -> tuple[str, ...]:
    """The telling words of a name in lower case and singular: ("traffic", "sign") of "TrafficSigns-other"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    words = [_singular(word) for word in re.split(r"[\W_]+", apart) if word]
    return tuple(word for word in words if word not in _FILLERS) or tuple(words) or (name,)


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and re.search(r"[^siu]s$", word) else word


def _similar_words(names: Iterable[tuple[str, ...]]) -> Mapping[tuple[tuple[str, ...], tuple[str, ...]], str]:
    """Pairs of similar names, the shorter first, and how they are similar; a name is also similar to itself."""
    ordered = sorted(names, key=lambda words: (len(words), words))
    with_word: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    with_letter: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for words in ordered:
        with_letter["".join(words)[:1]].append(words)
        for word in words:
            with_word[word].add(words)
    kinds = {(words, words): "spelling" for words in ordered}
    for words in ordered:
        for longer in sorted(set.intersection(*(with_word[word] for word in words)) - {words}):
            if len(longer) > len(words) and not _NEGATIONS & set(longer) - set(words):
                kinds[words, longer] = "contained"
    for group in with_letter.values():
        for number, words in enumerate(group):
            for other in group[number + 1 :]:
                if _is_spelt_like("".join(words), "".join(other)):
                    kinds.setdefault((words, other), "spelling")
    return kinds


def _is_spelt_like(first: str, second: str) -> bool:
    if first == second:
        return True
    if min(len(first), len(second)) < _SHORTEST or abs(len(first) - len(second)) > 2:
        return False
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.quick_ratio() >= _SPELLING and matcher.ratio() >= _SPELLING
