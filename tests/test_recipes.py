"""Every shipped recipe says what it is for, gives a command that works as printed, and resolves to a fixed point."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import fake_trees
from multiseg.configuration import find_recipe, parse_data, read_recipe, recipe_purpose, shipped_recipes
from multiseg.errors import MultisegError
from multiseg.instantiation import build, resolve
from multiseg.run_folder import RunFolder
from recipe_headers import command_of, composition_of

RECIPES = shipped_recipes()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each tiny dataset is written once, for all recipes."""
    return tmp_path_factory.mktemp("trees")


def composed(path: Path, folder: Path) -> dict[str, Any]:
    """What the command of a recipe composes, with every dataset replaced by a tiny one."""
    composition = composition_of(path)
    data = [tiny(name, entry.get("reader"), folder) for name, entry in parse_data(composition.data).items()]
    return random_weights(composition.config(data))


def tiny(name: str, reader: str | None, folder: Path) -> str:
    reader = reader or (name if fake_trees.has_writer(name) else "folder")
    return f"{name}:{reader}={tree(reader, folder / reader / name)}"


@cache
def tree(reader: str, root: Path) -> Path:
    return fake_trees.write(reader, root)


def random_weights(config: Any) -> Any:
    """The same without weights from elsewhere: tests have no network."""
    if isinstance(config, dict):
        return {key: None if key == "weights" and value else random_weights(value) for key, value in config.items()}
    return [random_weights(entry) for entry in config] if isinstance(config, list) else config


def test_there_are_recipes():
    assert {"supervised", "multi_head", "by_name", "label_remap"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_it_parses_and_is_found_by_its_name(name):
    assert read_recipe(RECIPES[name])
    assert find_recipe(name) == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_states_purpose_and_command(name):
    purpose = recipe_purpose(RECIPES[name])
    assert 10 < len(purpose) <= 120
    assert not purpose.startswith("command")
    assert name in command_of(RECIPES[name]), "the command does not use the recipe it stands in"


@pytest.mark.parametrize("name", RECIPES)
def test_its_command_resolves_and_resolving_again_changes_nothing(name, trees):
    once = resolve(composed(RECIPES[name], trees))
    assert resolve(once) == once
    assert set(once) == {"data", "method", "init", "trainer"}


@pytest.mark.parametrize("name", RECIPES)
def test_its_command_builds(name, trees):
    # rows of papers without drawing weights or taking memory: there are many, and a bank of prototypes has gigabytes
    with torch.device("meta" if "/" in name else "cpu"):
        experiment = build(composed(RECIPES[name], trees))
    trained_on = {space.name for space in experiment.data.spaces}
    assert set(experiment.method.spaces) == trained_on
    # a union has classes, but only its own datasets are judged; self-supervised pretraining has none
    assert trained_on & set(experiment.method.taxonomies) or not experiment.method.taxonomies


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: {", "line 1"),
        ("method: {}\nmethod: {}", "the key 'method' occurs twice"),
        ("just words", "must hold the sections"),
        ("\x00", "is no YAML"),
    ],
)
def test_a_damaged_recipe_and_a_damaged_run_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for read in (lambda: read_recipe(path), RunFolder(tmp_path).read_config):
        with pytest.raises(MultisegError, match=message) as error:
            read()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
