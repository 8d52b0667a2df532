"""One label space of disjoint classes for datasets whose classes are not: what each dataset's label may stand for.

Relations say which classes are the same, contain one another or overlap (see `multiseg.taxonomy.relations`). From them
follow the *atoms*, the cells that the classes of all datasets cut the visual world into, and for each class the set of
atoms it stands for (Bevandić et al.: "Multi-domain semantic segmentation with overlapping labels", WACV 2022). Their
universal taxonomy was made by hand; here it is computed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace, same_name
from multiseg.taxonomy.relations import Relation

#: The name of every universal label space.
UNIVERSAL = "universal"

#: Labels are int16.
_MOST_ATOMS = np.iinfo(np.int16).max

#: A class: its dataset's name and its own.
_Class = tuple[str, str]


@dataclass(frozen=True)
class UniversalSpace:
    """A label space of atoms, and what the classes of each dataset are in it.

    Args:
        space: the atoms.
        members: for each dataset by name, (K, U) bool: the atoms that each of its classes stands for. Every row has
            one at least, and the rows of one dataset are disjoint.
        sources: the datasets' label spaces.
    """

    space: LabelSpace
    members: Mapping[str, NDArray[np.bool_]]
    sources: tuple[LabelSpace, ...]

    def relations(self) -> list[Relation]:
        """Each atom as a part of every class that it belongs to; as the same where the class is nothing else."""
        return [
            Relation(self.space.name, self.space.names[atom], kind, source.name, source.names[row])
            for source in self.sources
            for row, members in enumerate(self.members[source.name])
            for kind in ["same" if members.sum() == 1 else "part of"]
            for atom in np.flatnonzero(members)
        ]


def universal_space(spaces: Sequence[LabelSpace], relations: Iterable[Relation]) -> UniversalSpace:
    """The atoms of several label spaces.

    - Classes connected by `same`, directly or not, are one class.
    - Every class has an atom of its own: what of it no other atom covers. It belongs to all classes that contain the
      class, directly or not.
    - `A overlaps B` gives an atom "A & B" unless one contains the other; it belongs to A, B and all that contain
      either. So do three or more classes of which each two overlap: a pixel may lie in all of them.
    - Relations may name datasets that are not among `spaces`: what follows from them holds, so that all datasets can be
      related to one common taxonomy. A class of such a dataset has an atom of its own only where it is a common part of
      classes that share none otherwise.

    No relations give the disjoint union; those of `relations_by_name` the union by name.

    Args:
        spaces: of the datasets, in the order in which they give names and colours to what they share.
        relations: between their classes.

    Raises:
        MultisegError: a relation names an unknown class, classes contain each other in a circle, two classes of one
            dataset share an atom, or there are more atoms than labels can tell apart.
    """
    relations = list(relations)
    _check_names(spaces, relations)
    own = [(space.name, name) for space in spaces for name in space.names]
    mentioned = [end for relation in relations for end in _ends(relation)]
    inclusions = _Inclusions(dict.fromkeys([*own, *mentioned]), relations)
    atoms = _atoms(own, inclusions, _overlaps(inclusions, relations))
    members = {space.name: np.zeros((len(space), len(atoms)), np.bool_) for space in spaces}
    classes = {(space.name, name): (space.name, index) for space in spaces for index, name in enumerate(space.names)}
    for place, atom in enumerate(atoms):
        for entry in atom.classes:
            dataset, index = classes[entry]
            members[dataset][index, place] = True
    return UniversalSpace(_label_space(atoms, spaces), members, tuple(spaces))


def implied_relations(source: LabelSpace, target: LabelSpace, relations: Iterable[Relation]) -> list[Relation]:
    """Which classes of one label space are, by way of any others, part of which of another; one that is the same is a
    part, too.

    Raises:
        MultisegError: classes contain each other in a circle.
    """
    relations = list(relations)
    mentioned = [end for relation in relations for end in _ends(relation)]
    inclusions = _Inclusions(dict.fromkeys(mentioned), relations)
    return [
        Relation(source.name, name, "part of", target.name, whole)
        for name in source.names
        for dataset, whole in sorted(inclusions.wholes.get((source.name, name), ()))
        if dataset == target.name
    ]


class _Inclusions:
    """Which classes lie inside which: the reflexive and transitive closure of `part of` and `same`.

    Args:
        classes: all there are, in order.
        relations: between them.

    Attributes:
        wholes: for each class, itself and all that contain it or are the same.
    """

    def __init__(self, classes: Iterable[_Class], relations: Iterable[Relation]) -> None:
        self._steps: dict[_Class, dict[_Class, Relation]] = {entry: {} for entry in classes}
        told = [(fact, relation) for relation in relations for fact in (relation, relation.turned())]
        for fact, relation in told:
            if fact.relation in ("same", "part of"):
                part, whole = _ends(fact)
                self._steps[part].setdefault(whole, relation)
        self.wholes = {entry: frozenset(self._reached(entry)) for entry in self._steps}
        self._first: dict[frozenset[_Class], _Class] = {}
        for entry, wholes in self.wholes.items():
            self._first.setdefault(wholes, entry)
        for fact, relation in told:
            part, whole = _ends(fact)
            if fact.relation == "part of" and part in self.wholes[whole]:
                raise MultisegError(
                    f"'{_text(part)}' and '{_text(whole)}' contain each other by "
                    f"{_quoted([relation, *self.chain(whole, part)])}; if they are the same, write 'same' only."
                )

    def first_same(self, entry: _Class) -> _Class:
        """Of all classes that are the same, the first."""
        return self._first[self.wholes[entry]]  # only what is the same lies inside just the same

    def chain(self, part: _Class, whole: _Class) -> list[Relation]:
        """The relations, as they were told, by which one class lies inside another."""
        came = self._reached(part)
        chain: list[Relation] = []
        while whole != part:
            before = came[whole]
            chain.insert(0, self._steps[before][whole])
            whole = before
        return chain

    def _reached(self, start: _Class) -> dict[_Class, _Class]:
        """Every class that contains a class, with the one before it on the way there."""
        came = {start: start}
        queue = [start]
        for entry in queue:
            for following in self._steps[entry]:
                if following not in came:
                    came[following] = entry
                    queue.append(following)
        return came


@dataclass(frozen=True)
class _Atom:
    """A cell of the visual world.

    Args:
        corners: the classes whose common part it is: one or, for an overlap, several.
        classes: of the datasets, all it belongs to.
    """

    corners: tuple[_Class, ...]
    classes: frozenset[_Class]


#: For each class those it overlaps, with the relation that says so.
_Overlaps = Mapping[_Class, Mapping[_Class, Relation]]


def _overlaps(inclusions: _Inclusions, relations: Iterable[Relation]) -> _Overlaps:
    found: dict[_Class, dict[_Class, Relation]] = {}
    for relation in relations:
        if relation.relation != "overlaps":
            continue
        start, end = (inclusions.first_same(entry) for entry in _ends(relation))
        found.setdefault(start, {})[end] = relation
        found.setdefault(end, {})[start] = relation
    return found


def _atoms(own: Sequence[_Class], inclusions: _Inclusions, overlaps: _Overlaps) -> list[_Atom]:
    """Every distinct set of the datasets' classes that a pixel can belong to."""
    known = frozenset(own)
    order = list(dict.fromkeys(inclusions.first_same(entry) for entry in inclusions.wholes))
    mine = ((entry,) for entry in order if entry in known)
    others = ((entry,) for entry in order if entry not in known)
    found: dict[frozenset[_Class], _Atom] = {}
    for number, corners in enumerate(chain(mine, _cliques(order, overlaps), others)):
        if number >= _MOST_ATOMS:
            raise MultisegError(f"the relations make more than {_MOST_ATOMS} classes: too much overlaps.")
        classes = known & frozenset[_Class]().union(*(inclusions.wholes[entry] for entry in corners))
        if classes and classes not in found:
            found[classes] = _Atom(corners, classes)
            _check_disjoint(found[classes], inclusions, overlaps)
    return list(found.values())


def _cliques(order: Sequence[_Class], overlaps: _Overlaps) -> Iterator[tuple[_Class, ...]]:
    """Every set of two or more classes that all overlap one another, small sets first."""
    place = {entry: number for number, entry in enumerate(order)}
    queue: deque[tuple[_Class, ...]] = deque((entry,) for entry in order if entry in overlaps)
    while queue:
        clique = queue.popleft()
        common = set(overlaps[clique[0]]).intersection(*(overlaps[entry] for entry in clique[1:]))
        for entry in sorted(common, key=place.__getitem__):
            if place[entry] > place[clique[-1]]:
                yield (*clique, entry)
                queue.append((*clique, entry))


def _check_names(spaces: Sequence[LabelSpace], relations: Iterable[Relation]) -> None:
    by_name = {space.name: space for space in spaces}
    if len(by_name) < len(spaces):
        raise MultisegError(f"two of the datasets {', '.join(space.name for space in spaces)} have the same name.")
    for relation in relations:
        for dataset, name in _ends(relation):
            if dataset in by_name:
                try:
                    by_name[dataset].index(name)
                except MultisegError as error:
                    raise MultisegError(f"relation {_quoted([relation])}: {error}") from None


def _check_disjoint(atom: _Atom, inclusions: _Inclusions, overlaps: _Overlaps) -> None:
    for first, second in combinations(sorted(atom.classes), 2):
        if first[0] != second[0]:
            continue
        low, high = (
            next(corner for corner in atom.corners if entry in inclusions.wholes[corner]) for entry in (first, second)
        )
        facts = [*inclusions.chain(low, first), *inclusions.chain(high, second)]
        if low != high:
            overlap = overlaps[low][high]
            facts.append(overlap)
            for end in _ends(overlap):
                facts += inclusions.chain(end, inclusions.first_same(end))
        raise MultisegError(
            f"'{_text(first)}' and '{_text(second)}', of one dataset, cannot share pixels, but do by {_quoted(facts)}."
        )


def _label_space(atoms: Sequence[_Atom], spaces: Sequence[LabelSpace]) -> LabelSpace:
    known = {(space.name, entry.name): entry for space in spaces for entry in space.classes}
    corners = dict.fromkeys(corner for atom in atoms for corner in atom.corners)
    uses = Counter(same_name(name) for _, name in corners)
    shown = {corner: corner[1] if uses[same_name(corner[1])] == 1 else _text(corner) for corner in corners}
    sizes = Counter(entry for atom in atoms for entry in atom.classes)
    names: dict[str, None] = {}
    for atom in atoms:
        name = " & ".join(shown[corner] for corner in atom.corners)
        if len(atom.corners) == 1 and sizes[atom.corners[0]] > 1:
            name += " (other)"
        while name in names:  # a dataset has a class of just this name
            name += "'"
        names[name] = None
    # an overlap, or a class of another dataset, takes after the classes it is a part of
    models = [
        [known[entry] for entry in (atom.corners if known.keys() >= set(atom.corners) else sorted(atom.classes))]
        for atom in atoms
    ]
    wishes = np.array([np.mean([entry.color for entry in model], 0) for model in models])
    colors = _distinct(wishes, [sizes[atom.corners[0]] == 1 for atom in atoms])
    return LabelSpace(
        UNIVERSAL,
        tuple(
            LabelClass(name, (place,), color, all(entry.thing for entry in model))
            for place, (name, color, model) in enumerate(zip(names, colors, models, strict=True))
        ),
    )


def _distinct(wishes: NDArray[np.float64], whole: Sequence[bool]) -> list[tuple[int, int, int]]:
    """Colours near the wished ones that can be told apart, while there are enough; black stands for ignored pixels.

    Args:
        wishes: (N, 3) in 0..255.
        whole: whether it is the colour of a whole class: these are served first, and are left alone where they can be.
    """
    levels = np.linspace(0, 255, 6)
    palette = np.array(list(product(levels, levels, levels)))
    taken = np.zeros((1, 3))
    free = _distances(palette, np.zeros(3))  # from the nearest that is taken
    colors = np.zeros_like(wishes)
    for place in sorted(range(len(wishes)), key=lambda place: not whole[place]):
        color = wishes[place].round()
        if _distances(taken, color).min() < (16 if whole[place] else 48):
            near = np.where(free >= 48, -_distances(palette, color), free - 1000)
            color = palette[near.argmax()]
        colors[place] = color
        taken = np.concatenate([taken, color[None]])
        free = np.minimum(free, _distances(palette, color))
    return [(int(red), int(green), int(blue)) for red, green, blue in colors]


def _distances(colors: NDArray[np.float64], color: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape: (N, 3) and (3,) to (N,)."""
    distances: NDArray[np.float64] = np.linalg.norm(colors - color, axis=-1)
    return distances


def _ends(relation: Relation) -> tuple[_Class, _Class]:
    return (relation.from_dataset, relation.from_class), (relation.to_dataset, relation.to_class)


def _text(entry: _Class) -> str:
    return "/".join(entry)


def _quoted(relations: Iterable[Relation]) -> str:
    """Relations for a message, each once."""
    lines = (f"'{_text(start)} {fact.relation} {_text(end)}'" for fact in relations for start, end in [_ends(fact)])
    return ", ".join(dict.fromkeys(lines))
