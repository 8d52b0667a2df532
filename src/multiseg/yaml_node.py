"""Reads a YAML file that people write, so that every complaint names the file, the key and what was expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from multiseg.errors import MultisegError, did_you_mean

Color = tuple[int, int, int]


class Node:
    """A value of a file that knows where it stands.

    Args:
        value: as YAML has it.
        file: the path of the file.
        key: the keys that lead to the value, as in `splits.train.images`; empty for the whole file.
    """

    def __init__(self, value: object, file: str, key: str = "") -> None:
        self.value = value
        self.file = file
        self.key = key

    def wrong(self, expected: str) -> MultisegError:
        """The error of a value that is not what was expected."""
        shown = repr(self.value)
        return self.error(f"expected {expected}, found {shown if len(shown) <= 60 else shown[:57] + '...'}.")

    def error(self, message: str) -> MultisegError:
        """An error that begins with file and key."""
        return MultisegError(f"{self.file}: {self.key}: {message}" if self.key else f"{self.file}: {message}")

    def mapping(self, required: tuple[str, ...], optional: tuple[str, ...] | None = ()) -> dict[str, Node]:
        """The values by key; with `optional=None` any key that is text will do."""
        if not isinstance(self.value, dict):
            raise self.wrong("keys " + ", ".join(f"'{key}'" for key in required))
        prefix = f"{self.key}." if self.key else ""
        for key in self.value:
            if not isinstance(key, str):
                raise self.wrong(f"only text as keys (quote {key!r} if it is meant)")
            if optional is not None and key not in required + optional:
                hint = did_you_mean(key, required + optional)
                raise MultisegError(f"{self.file}: there is no key '{prefix}{key}'; {hint}")
        for key in required:
            if key not in self.value:
                raise MultisegError(f"{self.file}: the key '{prefix}{key}' is missing.")
        return {key: Node(value, self.file, prefix + key) for key, value in self.value.items()}

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Node(value, self.file, f"{self.key}[{index}]") for index, value in enumerate(self.value)]

    def one_or_more(self) -> list[Node]:
        """The entries of a list that is not empty, or the value itself where it is no list."""
        nodes = self.items() if isinstance(self.value, list) else [self]
        if not nodes:
            raise self.wrong("at least one entry")
        return nodes

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("text (in quotes, where YAML takes it for something else)")
        return self.value

    def choice(self, valid: tuple[str, ...]) -> str:
        if self.value not in valid:
            raise self.error(f"there is no '{self.value}'; {did_you_mean(str(self.value), valid)}")
        return self.text()

    def truth(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.value

    def share(self) -> float:
        """A number above 0, at most 1."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not 0 < self.value <= 1:
            raise self.wrong("a share above 0 and at most 1")
        return float(self.value)

    def color(self) -> Color:
        if not isinstance(self.value, list) or len(self.value) != 3:
            raise self.wrong("a colour [red, green, blue]")
        red, green, blue = (part.integer(0, 255) for part in self.items())
        return red, green, blue

    def pattern(self) -> re.Pattern[str]:
        """A regular expression."""
        try:
            return re.compile(self.text())
        except re.error as error:
            raise self.error(f"'{self.value}' is no regular expression: {error}.") from None


def read_yaml(path: Path) -> Node:
    """The whole of a file.

    Raises:
        MultisegError: it cannot be read or is no YAML, or a key occurs twice.
    """
    try:
        return Node(yaml.load(path.read_text("utf-8-sig"), _Loader), str(path))
    except OSError as error:
        raise MultisegError(f"{path} cannot be read: {error.strerror}.") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise MultisegError(f"{path}{line}: {error.problem or 'no valid YAML'}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # bytes that are no text, brackets without end
        raise MultisegError(f"{path} is no YAML: {str(error).splitlines()[0]}.") from None


class _Loader(yaml.SafeLoader):
    """YAML allows a key to occur twice, and the last one silently wins; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)
