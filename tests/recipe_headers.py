"""What the comment at the top of a recipe says: lines, and the command that composes it; and how two such differ."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from multiseg.cli import make_parser, split_overrides
from multiseg.configuration import SHORT_OPTIONS, compose


def header(path: Path) -> list[str]:
    """The comment lines at the top, without their marks."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.lstrip("# ").rstrip() for line in lines[:end]]


def command_of(path: Path) -> list[str]:
    """The arguments of the command in the header; it may go on over lines that end in a backslash."""
    text = "\n".join(header(path))
    _, found, command = text.partition("\ncommand: ")
    assert found, f"{path.name} has no line '# command: multiseg train …'"
    line = command.replace("\\\n", " ").splitlines()[0]
    program, train, *arguments = shlex.split(line)
    assert (program, train) == ("multiseg", "train"), line
    return arguments


class Composition(NamedTuple):
    """What a command composes.

    Args:
        recipes: names.
        data: as after `--data`.
        overrides: dotted keys and YAML values.
    """

    recipes: list[str]
    data: list[str]
    overrides: list[tuple[str, str]]

    def config(self, data: list[str] | None = None) -> dict[str, Any]:
        """The configuration, perhaps with data from elsewhere."""
        return compose(self.recipes, self.data if data is None else data, self.overrides)


def composition_of(path: Path) -> Composition:
    """What the command in the header of a recipe composes."""
    plain, overrides = split_overrides(make_parser(), ["train", *command_of(path)])
    given = make_parser().parse_args(plain)
    short = [(key, getattr(given, name)) for name, key in SHORT_OPTIONS.items() if getattr(given, name) is not None]
    return Composition(given.recipes, given.data, [*short, *overrides])


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a configuration by dotted key."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else name)
    else:
        yield key, node


def differing(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys in which two configurations differ, and the values of both; None where one does not say."""
    one, two = dict(leaves(first)), dict(leaves(second))
    return {key: (one.get(key), two.get(key)) for key in {**one, **two} if one.get(key) != two.get(key)}
