"""Reads the names of classes from files that lie beside masks: the forms in which people and tools write them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from multiseg.yaml_node import load_yaml

Color = tuple[int, int, int]

#: Larger files hold more than names.
_MOST_BYTES = 2_000_000
_MOST_LINES = 5000
_LONGEST = 200


@dataclass(frozen=True)
class NamedClass:
    """What a file says about one class.

    Args:
        name: as the file spells it.
        id: as stated, or else the place in the file, from 0.
        is_stated: whether the file states the id.
        color: None where it has none.
        thing: whether it can be counted; None where the file does not say.
        ignored: whether the file leaves it out of evaluation.
    """

    name: str
    id: int
    is_stated: bool = False
    color: Color | None = None
    thing: bool | None = None
    ignored: bool = False


def may_hold_names(path: str) -> bool:
    """Whether the name of a file suggests that it has the names of classes."""
    name = path.rsplit("/", 1)[-1]
    about = re.search(r"class|label|categor|names|color|colour|palette|legend|ontology|config|taxonomy", name, re.I)
    return bool(about or name.lower() in ("data.yaml", "data.yml", "info.json")) and name != "dataset.yaml"


def read_class_names(path: Path) -> list[NamedClass]:
    """The classes that a file names, in its order; none where it is of no form known here."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return []
        text = path.read_text("utf-8-sig")
        suffix = path.suffix.lower()
        if suffix == ".json":
            found = _from_data(json.loads(text))
        elif suffix in (".yaml", ".yml"):
            found = _from_data(load_yaml(text))
        else:
            table = _from_table(text)
            found = _from_lines(text) if table is None else table
    except (OSError, ValueError, RecursionError, yaml.YAMLError, csv.Error):
        return []
    return found if all(map(_is_name, found)) else []


def _is_name(entry: NamedClass) -> bool:
    """Whether it is neither a number nor a file."""
    is_file = re.search(r"\.(png|jpe?g|tiff?|bmp)$", entry.name, re.I)
    return not is_file and any(letter.isalpha() for letter in entry.name)


# JSON and YAML


def _from_data(data: Any) -> list[NamedClass]:
    """`[names]`, `[{id, name, color}]`, `{name: id}`, `{id: name}`, `{name: color}`, or one of these below a key."""
    if isinstance(data, Mapping):
        for key in ("classes", "categories", "labels", "names", "class_names", "items"):
            if isinstance(data.get(key), list | dict) and (found := _from_data(data[key])):
                return found
        return _all_or_none(_from_item(key, value, place) for place, (key, value) in enumerate(data.items()))
    if isinstance(data, list):
        if data and all(isinstance(entry, str) for entry in data):
            return [NamedClass(name, number) for number, name in enumerate(data)]
        return _all_or_none(_from_record(entry, number) for number, entry in enumerate(data))
    return []


def _all_or_none(entries: Iterable[NamedClass | None]) -> list[NamedClass]:
    found = list(entries)
    return [entry for entry in found if entry] if all(found) else []


def _from_item(key: object, value: object, place: int) -> NamedClass | None:
    number = _whole(key)
    if isinstance(value, str):
        if number is not None:
            return NamedClass(value, number, True)
        if color := _color(key):
            return NamedClass(value, place, False, color)
    if isinstance(value, Mapping):
        return _from_record({**value, "id": number} if number is not None else {"name": key, **value}, place)
    if isinstance(key, str):
        if (number := _whole(value)) is not None:
            return NamedClass(key, number, True)
        if color := _color(value):
            return NamedClass(key, place, False, color)
    return None


def _from_record(record: object, place: int) -> NamedClass | None:
    if not isinstance(record, Mapping):
        return None
    fields = {str(key).lower(): value for key, value in record.items()}
    name = next((fields[key] for key in _NAME if isinstance(fields.get(key), str)), None)
    if name is None:
        return None
    number = next((number for key in _ID if (number := _whole(fields.get(key))) is not None), None)
    color = next((color for key in _COLOR if (color := _color(fields.get(key)))), None) or _channels(fields)
    thing = next(
        (bool(fields[key]) for key in ("isthing", "thing", "instances", "hasinstances") if key in fields), None
    )
    ignored = fields.get("evaluate") is False or fields.get("ignoreineval") is True
    stated = number is not None
    return NamedClass(name.strip(), place if number is None else number, stated, color, thing, ignored)


_NAME = ("readable", "name", "class", "label", "class_name", "classname", "label_name", "category", "title")
_ID = ("id", "idx", "index", "value", "label_id", "class_id", "train_id", "pixel_value", "category_id")
_COLOR = ("color", "colour", "rgb", "hex", "color_rgb", "hexcolor")


def _channels(fields: Mapping[str, object]) -> Color | None:
    for keys in (("r", "g", "b"), ("red", "green", "blue")):
        if all(key in fields for key in keys):
            return _color([_whole(fields[key]) for key in keys])
    return None


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value) else None


def _color(value: object) -> Color | None:
    """`[r, g, b]`, `"r, g, b"` or `"#rrggbb"`."""
    if isinstance(value, str):
        if match := re.fullmatch(r"\s*#([0-9a-fA-F]{6})\s*", value):
            return _color(list(bytes.fromhex(match[1])))
        parts = re.fullmatch(r"[\s(\[]*(\d+)\s*[,\s]\s*(\d+)\s*[,\s]\s*(\d+)[\s)\]]*", value)
        return _color([int(part) for part in parts.groups()]) if parts else None
    if isinstance(value, Sequence) and len(value) in (3, 4):
        red, green, blue = value[:3]
        if all(isinstance(part, int) and 0 <= part <= 255 for part in (red, green, blue)):
            return red, green, blue
    return None


# Tables with a heading


def _from_table(text: str) -> list[NamedClass] | None:
    """None where the first line is no heading."""
    lines = [line for line in text.splitlines() if line.strip()]
    for separator in "\t,;":
        heading = (
            [cell.strip().strip('"').lower().lstrip("#").strip() for cell in lines[0].split(separator)] if lines else []
        )
        if len(heading) > 1 and set(heading) & set(_NAME) and len(set(heading)) == len(heading):
            rows = list(csv.reader(lines[1:], delimiter=separator))
            if any(len(row) != len(heading) for row in rows):
                return []
            return _all_or_none(_from_record(dict(zip(heading, row, strict=True)), i) for i, row in enumerate(rows))
    return None


# Plain lines

_GAP = r"\s*[\s,;:|=]\s*"
_NUMBER = r"\d{1,9}"
_NAME_PART = r"(?P<name>\S(?:.*?\S)?)"
_RGB = rf"[(\[]?(?P<r>\d{{1,3}}){_GAP}(?P<g>\d{{1,3}}){_GAP}(?P<b>\d{{1,3}})[)\]]?"
_HEX = r"(?P<hex>#[0-9a-fA-F]{6})"

#: The forms of a line, the more telling ones first: a file is of the first form that all its lines have.
_FORMS = [
    re.compile(form)
    for form in (
        rf"(?P<id>{_NUMBER}){_GAP}{_NAME_PART}{_GAP}{_RGB}",
        rf"(?P<id>{_NUMBER}){_GAP}{_RGB}{_GAP}{_NAME_PART}",
        rf"{_NAME_PART}{_GAP}{_RGB}(?::.*)?",  # the rest as in `car:0,0,128::` of CVAT
        rf"{_RGB}{_GAP}{_NAME_PART}",
        rf"(?P<id>{_NUMBER}){_GAP}{_NAME_PART}{_GAP}{_HEX}",
        rf"{_NAME_PART}{_GAP}{_HEX}",
        rf"{_HEX}{_GAP}{_NAME_PART}",
        rf"(?P<id>{_NUMBER}){_GAP}{_NAME_PART}",
        rf"{_NAME_PART}{_GAP}(?P<id>{_NUMBER})",
        _NAME_PART,
    )
]


def _from_lines(text: str) -> list[NamedClass]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not re.match(r"#(?![0-9a-fA-F]{6}\b)|//", line)]
    if len(lines) == 1 and lines[0].count(",") > 1:
        lines = [part.strip() for part in lines[0].split(",")]
    if len(lines) > _MOST_LINES or any(len(line) > _LONGEST for line in lines):
        return []
    for form in _FORMS:
        matches = [form.fullmatch(line) for line in lines]
        if lines and all(matches):
            return _all_or_none(_from_match(match, place) for place, match in enumerate(matches) if match)
    return []


def _from_match(match: re.Match[str], place: int) -> NamedClass | None:
    parts = match.groupdict()
    name = parts["name"].strip("\"'")
    color = _color(parts.get("hex")) or (_color([int(parts[part]) for part in "rgb"]) if "r" in parts else None)
    if color is None and ("r" in parts or "hex" in parts):
        return None
    return NamedClass(name, int(parts.get("id", place)), "id" in parts, color)
