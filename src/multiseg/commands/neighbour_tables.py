"""Tables of which classes are near each other, by prototypes or by names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from itertools import groupby

from rich.table import Table

from multiseg.console import results
from multiseg.taxonomy.name_conflicts import ends
from multiseg.taxonomy.prototype_relations import Neighbours, PrototypeSuggestion

#: Of a class, the nearest so many are shown, and of a dataset so many classes, unless all are wanted.
_NEAREST, _MOST_CLASSES = 3, 20

#: So many suggestions are shown, unless all are wanted.
_MOST_SUGGESTIONS = 30


def neighbours_to_json(found: Neighbours, show_all: bool) -> dict[str, object]:
    """One class; the nearest of the other dataset first, all of them only where they are wanted."""
    shown = len(found.names) if show_all else _NEAREST
    pairs = zip(found.names[:shown], found.similarities, strict=False)
    return {
        "class": list(astuple(found.entry)),
        "dataset": found.dataset,
        "nearest": [[name, round(similarity, 3)] for name, similarity in pairs],
        "lead": None if math.isnan(found.lead) else round(found.lead, 3),
        "mutual": found.mutual,
        "shared": found.shared,
    }


def print_neighbours(heading: str, neighbours: Sequence[Neighbours], shared: str, show_all: bool) -> None:
    """A table; of each two datasets the first classes, unless all are wanted.

    Args:
        heading: of the table.
        neighbours: one a line.
        shared: what is said instead of a similarity where two classes are one.
        show_all: also where there are many.
    """
    results.print(f"\n{heading}, with cosine similarity (* each is the other's nearest):")
    table = Table("", "in", "nearest", "second", "third", box=None, pad_edge=False)
    table.add_column("leads by", justify="right")
    hidden = 0
    for _, group in groupby(neighbours, key=lambda found: (found.entry.dataset, found.dataset)):
        own = list(group)
        shown = own if show_all else own[:_MOST_CLASSES]
        hidden += len(own) - len(shown)
        for found in shown:
            pairs = list(zip(found.names, found.similarities, strict=True))[:_NEAREST]
            cells = [f"{name} {similarity:.2f}" for name, similarity in pairs]
            cells[0] = f"{found.names[0]} ({shared})" if found.shared else cells[0] + " *" * found.mutual
            cells += [""] * (_NEAREST - len(cells))
            table.add_row(str(found.entry), found.dataset, *cells, _figure(found.lead))
    results.print(table)
    if hidden:
        results.print(f"  … and {hidden} more: --all shows them", markup=False)


def print_suggestions(heading: str, suggestions: Sequence[PrototypeSuggestion], show_all: bool) -> None:
    """How many there are, and a table of them.

    Args:
        heading: follows their number.
        suggestions: one a line.
        show_all: also where there are many.
    """
    results.print(f"\n{len(suggestions)} {heading}:", markup=False)
    table = Table("", "", "", box=None, pad_edge=False)
    for column in ("similarity", "next best", "leads by"):
        table.add_column(column, justify="right")
    shown = suggestions if show_all else suggestions[:_MOST_SUGGESTIONS]
    for suggestion in shown:
        first, second = ends(suggestion.relation)
        figures = [f"{suggestion.similarity:.2f}", _pair(suggestion.second), _pair(suggestion.leads)]
        if suggestion.shared:
            figures = ["by name", "", ""]
        table.add_row(str(first), suggestion.relation.relation, str(second), *figures)
    if suggestions:
        results.print(table)
    if len(suggestions) > len(shown):
        results.print(f"  … and {len(suggestions) - len(shown)} more: --all shows them", markup=False)


def _pair(values: tuple[float, float]) -> str:
    return ", ".join(_figure(value) for value in values)


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
