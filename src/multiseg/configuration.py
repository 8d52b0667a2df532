"""From recipes and the command line to one checked configuration.

A recipe is a YAML file with the sections `data`, `method`, `init` and `trainer`. Recipes compose left to right: each
one overrides the keys it names. Then come data and keys of the command line. What comes out is complete, is written
into the run's folder, and can be trained again as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from multiseg.errors import MultisegError, did_you_mean
from multiseg.roots import absolute, as_written
from multiseg.yaml_node import load_yaml, read_yaml

Config = dict[str, Any]

SECTIONS = ("data", "method", "init", "trainer")

#: What the short options of `multiseg train` stand for.
SHORT_OPTIONS = {
    "steps": "trainer.steps",
    "batch_size": "data.batch_size",
    "seed": "trainer.seed",
    "devices": "trainer.devices",
}


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name: PAPER/ROW for those of a paper, for others the last part of the path
    below `recipes/`, or all of it where two share that.
    """
    root = Path(str(resources.files("multiseg") / "recipes"))
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}
    rows = {name.removeprefix("papers/"): path for name, path in found.items() if name.startswith("papers/")}
    others = {name: path for name, path in found.items() if not name.startswith("papers/")}
    last = [name.rsplit("/", 1)[-1] for name in others]
    short = [part if last.count(part) == 1 else name for part, name in zip(last, others, strict=True)]
    return dict(zip(short, others.values(), strict=True)) | rows


def shipped_scripts() -> dict[str, Path]:
    """Job scripts that come with the package, by file name: `multiseg recipes show NAME` prints them, to be edited."""
    return {path.name: path for path in sorted(Path(str(resources.files("multiseg") / "recipes")).rglob("*.sh"))}


def find_recipe(name_or_file: str) -> Path:
    """A shipped recipe by name, or a file by path.

    Raises:
        MultisegError: there is neither; the message names the nearest recipe.
    """
    shipped = shipped_recipes()
    if name_or_file in shipped:
        return shipped[name_or_file]
    path = Path(name_or_file)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise MultisegError(f"the recipe file {path} does not exist.")
    raise MultisegError(f"no recipe '{name_or_file}'; {did_you_mean(name_or_file, shipped)}")


def read_recipe(path: Path) -> Config:
    """
    Raises:
        MultisegError: the file cannot be read, is no YAML, or has an unknown section.
    """
    recipe = read_yaml(path).value or {}
    if not isinstance(recipe, dict):
        raise MultisegError(f"{path} must hold the sections {', '.join(SECTIONS)}.")
    for section in recipe:
        if section not in SECTIONS:
            raise MultisegError(f"{path} has an unknown section '{section}'; {did_you_mean(str(section), SECTIONS)}")
        content = recipe[section] if recipe[section] is not None else {}
        if not isinstance(content, dict):
            raise MultisegError(f"{path}: section '{section}' must hold keys, not '{content}'.")
        recipe[section] = content
    datasets = recipe.get("data", {}).get("datasets") or {}
    if not isinstance(datasets, dict) or not all(isinstance(entry, dict) for entry in datasets.values()):
        raise MultisegError(f"{path}: data.datasets must hold entries of the form NAME: {{root: DIR}}.")
    return recipe


def compose(recipes: Sequence[str], data: Sequence[str] = (), overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """Recipes, left to right, then `--data`, then `--KEY VALUE`.

    Args:
        recipes: names or files.
        data: `NAME=ROOT` or `NAME:READER=ROOT`; replaces the recipes' datasets, but keeps what they say of the same
            name.
        overrides: dotted keys and YAML values.
    """
    config: Config = {}
    for name in recipes:
        config = merge(config, read_recipe(find_recipe(name)))
    if data:
        section = config.setdefault("data", {})
        said = section.get("datasets") or {}
        section["datasets"] = {name: {**said.get(name, {}), **entry} for name, entry in parse_data(data).items()}
    for key, text in overrides:
        set_key(config, key, text)
    return config


def parse_data(arguments: Iterable[str]) -> dict[str, Config]:
    """`NAME=ROOT` and `NAME:READER=ROOT` to entries of `data.datasets`.

    Raises:
        MultisegError: an argument is of another form, or a name comes twice.
    """
    entries: dict[str, Config] = {}
    for argument in arguments:
        match = re.fullmatch(r"([^:=]+)(?::([^=]+))?=(.+)", argument)
        if not match:
            raise MultisegError(f"'{argument}' is not of the form NAME=ROOT or NAME:READER=ROOT.")
        name, reader, root = match.groups()
        if name in entries:
            raise MultisegError(f"the dataset '{name}' is given twice.")
        entries[name] = {"root": as_written(root), **({"reader": reader} if reader else {})}
    return entries


def with_absolute_roots(config: Config) -> Config:
    """The configuration with roots that hold from any working directory: a run is evaluated from anywhere."""
    out = deepcopy(config)
    for entry in out["data"]["datasets"].values():
        entry["root"] = absolute(str(entry["root"]))
    return out


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """A copy of `base` with the keys of `over`. Where `over` names another class, the old one's arguments go."""
    out = deepcopy(dict(base))
    if "class_path" in over and over["class_path"] != out.get("class_path", over["class_path"]):
        out = {}
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = deepcopy(value)
    return out


def set_key(config: Config, dotted: str, text: str) -> None:
    """Set `a.b.c` to a YAML value; `init_args` between a class and its argument may be left out.

    Raises:
        MultisegError: the section is unknown, or the value is no YAML.
    """
    first, *rest = dotted.split(".")
    if first not in SECTIONS:
        valid = [
            *(f"--{name.replace('_', '-')}" for name in SHORT_OPTIONS),
            *(f"--{section}.…" for section in SECTIONS),
        ]
        raise MultisegError(f"no option '--{dotted}'; {did_you_mean(f'--{dotted}', valid)}")
    if not rest:
        raise MultisegError(f"'--{dotted}' is a whole section; set its keys, as in --{dotted}.KEY VALUE.")
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        raise MultisegError(f"--{dotted}: '{text}' is no valid YAML value.") from None
    node = config.setdefault(first, {})
    for part in rest[:-1]:
        node = _below(node)
        if isinstance(node.get(part), str):  # a class without arguments, written short
            node[part] = {"class_path": node[part]}
        elif not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    node = node if rest[-1] in ("class_path", "init_args") else _below(node)
    if rest[-1] == "class_path" and node.get("class_path") != value:
        node.clear()
    node[rest[-1]] = value


def _below(node: Config) -> Config:
    if "class_path" in node:
        arguments: Config = node.setdefault("init_args", {})
        return arguments
    return node


def dump(config: Config) -> str:
    """YAML of a configuration."""
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)
    return text


def recipe_purpose(path: Path) -> str:
    """The first line of a recipe's header comment."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""
