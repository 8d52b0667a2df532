"""Valid files, damaged at random: bits, pieces, and every value of a JSON or YAML file by one of another type."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import yaml

#: What a value is replaced by: each type, and what is odd about it.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, -1e300, float("nan"), float("inf")),
    *("", "x", "\0", "a\nb", "../../x", "/etc/passwd", "C:\\x", "\ud800", "é" * 300, "{a: 1}", "a.b.C", "-1", "1e9"),
    *([], [[]], [None], [1, "a"], ["a", "a"], {}, {"": {}}, {"class_path": "os.system"}, {"a": [{"b": 1}]}),
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Some bits flipped, or a piece cut off, taken out, put in, repeated or filled with one value."""
    out = bytearray(data)
    start = chance.randrange(len(out))
    stop = min(len(out), start + chance.choice((1, 2, 4, 8, 64, 1000)))
    match chance.randrange(6):
        case 0:
            for _ in range(chance.choice((1, 1, 2, 8, 64))):
                out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
        case 1:
            del out[start:]
        case 2:
            del out[start:stop]
        case 3:
            out[start:start] = chance.randbytes(stop - start)
        case 4:
            out[start:start] = out[start:stop]
        case _:
            out[start:stop] = chance.choice((b"\0", b"\xff", b"\x7f", b"-", b"9")) * (stop - start)
    return bytes(out)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value within one, and to itself."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def swapped(value: Any, chance: random.Random) -> Any:
    """A copy with one value replaced, left out, or put under another key."""
    out = copy.deepcopy(value)
    path = chance.choice(list(places(value)))
    if not path:
        return copy.deepcopy(chance.choice(VALUES))
    parent = out
    for key in path[:-1]:
        parent = parent[key]
    match chance.randrange(8):
        case 0:
            del parent[path[-1]]
        case 1 if isinstance(parent, dict):
            parent[chance.choice(("x", "", "class_path", "../x"))] = parent.pop(path[-1])
        case 2 if isinstance(parent, list):
            parent.append(parent[path[-1]])
        case _:
            parent[path[-1]] = copy.deepcopy(chance.choice(VALUES))
    return out


def swapped_json(data: bytes, chance: random.Random) -> bytes:
    return json.dumps(swapped(json.loads(data), chance)).encode()


def swapped_yaml(data: bytes, chance: random.Random) -> bytes:
    # what YAML cannot hold is written as it comes: such a file is no YAML
    return yaml.safe_dump(swapped(yaml.safe_load(data), chance), allow_unicode=True).encode("utf-8", "surrogatepass")
