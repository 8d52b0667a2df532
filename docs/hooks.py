"""Pages that MkDocs makes at build time from the package itself, so that they cannot fall behind it."""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import multiseg
from multiseg.cli import command_parsers, make_parser
from multiseg.configuration import recipe_purpose, shipped_recipes
from multiseg.datasets import all_readers

REPOSITORY = Path(__file__).parents[1]

#: Title of each page of the Python reference, and the parts of the package on it.
API = {
    "label-spaces": ("Label spaces and batches", ("label_space", "taxonomy", "batch", "errors")),
    "datasets": ("Datasets", ("datasets", "inspection", "wizard", "packing")),
    "loading": ("Loading", ("loading",)),
    "networks": ("Networks", ("networks", "weights")),
    "losses": ("Losses", ("losses",)),
    "methods": ("Methods", ("methods",)),
    "optimization": ("Optimisers and schedules", ("optim",)),
    "evaluation": ("Evaluation", ("evaluation",)),
    "runs": ("Runs", ("configuration", "instantiation", "training", "run_folder", "predictor", "ensemble")),
    "synthetic": ("Synthetic data", ("synthetic.domains", "synthetic.writers")),
}


def on_files(files: Any, config: Any) -> Any:
    """MkDocs calls this before it reads the pages."""
    from mkdocs.structure.files import File

    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def command_line_page() -> str:
    """Every command with its usage, its options and an example, from the parsers."""
    intro = """# Command line

Results go to standard output, progress and remarks to standard error. Exit codes: 0 done, 1 a check found faults,
2 wrong input, or what broke a run (one or two lines say what), 130 interrupted by Ctrl-C, 143 by SIGTERM, 138 by
SIGUSR1.

A dataset is given as `NAME=ROOT` or `NAME:READER=ROOT`. NAME is what it is called in this run. READER is one of
[the readers](datasets.md); without it NAME itself is taken for one, or `folder` where ROOT holds a `dataset.yaml`. ROOT
is the folder of the official layout, or its parent; or a [packed dataset](../how-to/large-data.md), in a folder or at
a URL.

`train` also takes `--KEY VALUE` for any key of the [configuration](configuration.md).
"""
    return "\n".join([intro, *_commands(make_parser(), "##")])


def _commands(parser: argparse.ArgumentParser, mark: str) -> Iterator[str]:
    """Every command of a parser, each followed by its own, one heading deeper."""
    for command in command_parsers(parser).values():
        yield _command(command, mark)
        yield from _commands(command, f"{mark}#")


def _command(parser: argparse.ArgumentParser, mark: str) -> str:
    parser.formatter_class = partial(argparse.HelpFormatter, width=100)  # type: ignore[assignment]
    actions = [action for action in parser._actions if action.help and action.dest != "help"]
    rows = [f"| {_invocation(action)} | {_cell(action.help)} |" for action in actions]
    purpose = parser.description or ""
    example = (parser.epilog or "").removeprefix("example: ")
    name = parser.prog.removeprefix("multiseg ")
    lines = [f"{mark} {name}", "", f"{purpose[:1].upper()}{purpose[1:]}.", "", "```text"]
    lines += [parser.format_usage().removeprefix("usage: ").rstrip(), "```", "", "| | |", "|---|---|", *rows, ""]
    return "\n".join([*lines, "For example:", "", "```bash", example, "```", ""])


def _invocation(action: argparse.Action) -> str:
    value = [] if action.nargs == 0 else [str(action.metavar or action.dest.upper())]
    return _cell("`" + " ".join([*action.option_strings, *value]) + "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def recipes_page() -> str:
    """Every shipped recipe in full."""
    intro = "They come with the package and are named without path. [How they compose](../how-to/recipes.md)."
    parts = ["# Recipes", "", intro, ""]
    for name, path in shipped_recipes().items():
        purpose = recipe_purpose(path)
        parts += [f"## {name}", "", purpose, "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(parts)


def datasets_page() -> str:
    """The card of every reader."""
    parts = [
        "# Datasets",
        "",
        "Each is read as its authors distribute it; nothing needs to be converted. multiseg downloads none of them:",
        "get them from their authors, under their terms.",
        "",
    ]
    for name, reader in all_readers().items():
        card = reader.card
        facts = [f"**{card.title}**", f"License: {card.license}"]
        facts += [f"Source: <{card.url}>"] if card.url else []
        facts += [f"Cite: {card.citation}"] if card.citation else []
        if reader.splits:  # otherwise classes and splits are those of the user's own file
            facts.append("Splits: " + ", ".join(f"`{split}`" for split in reader.splits))
            names = reader.label_space.names
            facts.append(f"{len(names)} classes: {', '.join(names)}" if names else "No labels")
        parts += [f"## {name}", "", *(f"{fact}  " for fact in facts), "", "```text", card.layout, "```", ""]
    return "\n".join(parts)


def api_page(title: str, parts: tuple[str, ...]) -> str:
    """Directives of mkdocstrings for all modules of some parts of the package."""
    return "\n".join([f"# {title}", "", *(f"::: {module}\n" for part in parts for module in modules_of(part))])


def modules_of(part: str) -> Iterator[str]:
    """A module, or those of a subpackage, in alphabetical order with `base` first."""
    folder = Path(multiseg.__file__).parent / part.replace(".", "/")
    if not folder.is_dir():
        yield f"multiseg.{part}"
        return
    names = [module.name for module in pkgutil.iter_modules([str(folder)])]
    yield from (f"multiseg.{part}.{name}" for name in sorted(names, key=lambda name: (name != "base", name)))


def _file(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


#: Path of every generated page below docs/, and what makes its text.
PAGES: dict[str, Callable[[], str]] = {
    "reference/command-line.md": command_line_page,
    "reference/recipes.md": recipes_page,
    "reference/datasets.md": datasets_page,
    **{f"reference/api/{name}.md": partial(api_page, title, parts) for name, (title, parts) in API.items()},
    "contributing.md": partial(_file, "CONTRIBUTING.md"),
    "changelog.md": partial(_file, "CHANGELOG.md"),
}
