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


#: Larger files are refused, in bytes: YAML is slow, and a description of ten thousand classes has half a million.
MAX_BYTES = 2**20

#: Values in a file, each counted as often as an alias repeats it: nine lines can stand for a thousand million.
MAX_VALUES = 10**6

#: Brackets within brackets.
MAX_DEPTH = 100


def read_yaml(path: Path) -> Node:
    """The whole of a file.

    Raises:
        MultisegError: it cannot be read, is absurdly large or no YAML, or a key occurs twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MultisegError(f"{path} has more than {MAX_BYTES:,} bytes, which no such file needs.")
        return Node(load_yaml(path.read_text("utf-8-sig")), str(path))
    except OSError as error:
        raise MultisegError(f"{path} cannot be read: {error.strerror}.") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise MultisegError(f"{path}{line}: {error.problem or 'no valid YAML'}.") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text
        raise MultisegError(f"{path} is no YAML: {(str(error).splitlines() or ['?'])[0]}.") from None


def load_yaml(text: str) -> Any:
    """Plain values from YAML that may come from anybody: no tag makes an object, no alias more than it says.

    Raises:
        yaml.YAMLError: it is no YAML, nested too deeply or too large.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
        # what PyYAML raises on `!!int x`, on the 31st of February and the like
        raise yaml.YAMLError(str(error) or type(error).__name__) from None


class _Loader(yaml.SafeLoader):
    """YAML allows a key to occur twice, and the last one silently wins; here that is an error."""

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level >= MAX_DEPTH:  # the scanner looks at every open bracket for each new one
            raise yaml.scanner.ScannerError(None, None, "brackets are nested too deeply", self.get_mark())
        super().fetch_flow_collection_start(token_class)

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _refuse_bomb(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' occurs twice", node.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _refuse_bomb(top: yaml.Node) -> None:
    """
    Raises:
        yaml.constructor.ConstructorError: written out, the aliases give too many values, or an alias stands for
            something that it is part of.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise yaml.constructor.ConstructorError(None, None, "an alias stands for what it is in", node.start_mark)
        open_nodes.add(id(node))
        inner = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
        parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
        sizes[id(node)] = total = 1 + sum(map(size, parts))
        open_nodes.discard(id(node))
        if total > MAX_VALUES:
            problem = f"it stands for more than {MAX_VALUES:,} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return total

    size(top)
