"""The import arrows of the package. Reading one part must never require reading another that is not below it.

    cli → methods → networks, losses, evaluation → label_space, batch
    cli → loading → datasets → label_space, batch

A violation is shown as `file:line: rule`. The checker is itself tested, on small trees that break each rule.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import multiseg

PACKAGE = Path(multiseg.__file__).parent
REPOSITORY = PACKAGE.parents[1]

#: What the modules of each part may import of this package, besides their own part and `errors`. A part not named here
#: belongs to the shell (command line, training, run folder, …): it may import everything, and none of these imports it.
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "cache": set(),
    "roots": set(),
    "label_space": set(),
    "yaml_node": set(),
    "runs": set(),
    "weights": set(),
    "batch": {"label_space", "runs"},
    "taxonomy": {"label_space"},
    "synthetic": {"label_space"},
    "datasets": {"label_space", "batch", "cache", "roots", "runs", "yaml_node"},
    "loading": {"label_space", "batch", "roots", "taxonomy", "datasets"},
    "losses": set(),
    "optim": set(),
    "networks": {"label_space", "batch", "cache", "weights"},
    "evaluation": {"label_space", "batch", "runs"},  # runs: panoptic quality counts pixels of two maps of regions
    "methods": {"label_space", "batch", "taxonomy", "weights", "networks", "losses", "optim", "evaluation"},
}

#: Parts whose modules are interchangeable: one can be added or deleted without looking at its neighbours.
SIBLINGS_APART = ("datasets", "losses", "methods")

#: The only packages besides the standard library that a loss may need: the last two for what is decided on the host.
LOSS_LIBRARIES = {"torch", "scipy", "numpy"}

#: Names that say nothing about what is inside.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

#: What makes a program slow to start.
HEAVY = ("torch", "torchvision", "lightning", "timm", "jsonargparse", "numpy", "PIL", "matplotlib", "scipy")


class Import(NamedTuple):
    """One imported module, with the line that asks for it."""

    line: int
    module: str


class Violation(NamedTuple):
    """A broken rule, and where."""

    file: Path
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}"


def imports_of(file: Path, package: Path) -> Iterator[Import]:
    """Every import of a module, those inside functions included; `from a import b` gives a.b where that is a module."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = (package.name, *file.relative_to(package).parent.parts)
                base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(node.lineno, inner if is_module(inner, package) else base)


def is_module(name: str, package: Path) -> bool:
    first, *rest = name.split(".")
    path = package.joinpath(*rest)
    return first == package.name and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


def part_of(file: Path, package: Path) -> str:
    return file.relative_to(package).with_suffix("").parts[0]


def broken_rules(file: Path, package: Path) -> Iterator[Violation]:
    part = part_of(file, package)
    for line, module in imports_of(file, package):
        first, *rest = module.split(".")
        if first != package.name:
            if part == "losses" and first not in LOSS_LIBRARIES and first not in sys.stdlib_module_names:
                yield Violation(file, line, f"losses import only numpy, scipy and torch, not {module}")
            continue
        target = rest[0] if rest else "__init__"
        if target == "cli" and part != "__main__":
            yield Violation(file, line, "nothing imports the command line")
        elif part in ALLOWED and target not in ALLOWED[part] | {part, "errors", "__init__"}:
            allowed = ", ".join(sorted(ALLOWED[part] | {"errors"}))
            yield Violation(file, line, f"{part} may import {allowed}, not {target}")
        elif part == target and part in SIBLINGS_APART and rest[1:2] != ["base"]:
            yield Violation(file, line, f"modules of {part} import none of their siblings but base, not {module}")
    if file.stem in EMPTY_NAMES:
        yield Violation(file, 1, f"'{file.stem}' says nothing about what is inside")


def violations(package: Path) -> list[Violation]:
    return [broken for file in sorted(package.rglob("*.py")) for broken in broken_rules(file, package)]


def test_the_package_keeps_its_arrows():
    found = [broken._replace(file=broken.file.relative_to(REPOSITORY)) for broken in violations(PACKAGE)]
    assert not found, "\n" + "\n".join(map(str, found))


def test_every_part_in_the_rules_exists():
    missing = [part for part in ALLOWED if not is_module(f"multiseg.{part}", PACKAGE)]
    assert not missing, f"rules about {missing}, which are gone"


def test_test_files_have_names_that_say_what_is_inside():
    empty = [file for file in REPOSITORY.joinpath("tests").rglob("*.py") if file.stem in EMPTY_NAMES]
    assert not empty


@pytest.mark.parametrize("file", sorted(PACKAGE.joinpath("methods").glob("[!_]*.py")), ids=lambda file: file.stem)
def test_a_method_fits_on_a_few_pages(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert file.stem == "base" or lines < 200, f"{file.name} has {lines} lines: a method composes, it does not contain"


BAD = {
    "a method reads data": ("methods/foo.py", "from multiseg.loading.sampling import Mixed", "methods may import"),
    "a method reads datasets, in a function": (
        "methods/foo.py",
        "def f():\n    from multiseg.datasets import find_reader",
        "methods may import",
    ),
    "a method imports a sibling": ("methods/foo.py", "from multiseg.methods.bar import Bar", "none of their siblings"),
    "a sibling, relatively": ("methods/foo.py", "from .bar import Bar", "none of their siblings"),
    "a sibling, through the package": ("methods/foo.py", "from . import bar", "none of their siblings"),
    "a sibling, by its full name": ("methods/foo.py", "from multiseg.methods import bar", "none of their siblings"),
    "the package of a sibling": ("datasets/foo.py", "from multiseg.datasets import Bar", "none of their siblings"),
    "a loss knows networks": ("losses/foo.py", "from multiseg.networks.bar import Bar", "losses may import"),
    "a loss knows label spaces": ("losses/foo.py", "from multiseg.label_space import IGNORE", "losses may import"),
    "a loss takes another library": (
        "losses/foo.py",
        "import torchvision",
        "losses import only numpy, scipy and torch",
    ),
    "a network knows losses": ("networks/foo.py", "import multiseg.losses.bar", "networks may import"),
    "a dataset knows loading": ("datasets/foo.py", "from ..loading import sampling", "datasets may import"),
    "loading knows methods": ("loading/foo.py", "import multiseg.methods.base", "loading may import"),
    "evaluation knows methods": ("evaluation/foo.py", "from multiseg.methods import base", "evaluation may import"),
    "a part knows the shell": ("evaluation/foo.py", "import multiseg.run_folder", "evaluation may import"),
    "someone imports the command line": ("training.py", "from multiseg.cli import main", "nothing imports the command"),
    "the package imports at the top": ("__init__.py", "from multiseg.batch import Batch", "__init__ may import"),
    "an import for types only": (
        "methods/foo.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import multiseg.datasets",
        "methods may import",
    ),
    "a name without meaning": ("networks/utils.py", "", "says nothing"),
}

GOOD = {
    "methods/foo.py": "from multiseg.errors import MultisegError\nfrom multiseg.methods.base import Base",
    "methods/bar.py": "import multiseg",
    "losses/foo.py": "import math\nimport torch.nn\nfrom scipy.optimize import linear_sum_assignment",
    "networks/foo.py": "import numpy\nfrom multiseg.networks.bar import Bar",
    "training.py": "from multiseg.methods import base\nfrom multiseg.datasets import find_reader",
    "__main__.py": "from multiseg.cli import main",
}


@pytest.fixture
def small_package(tmp_path):
    """A tree that keeps every rule."""
    package = tmp_path / "multiseg"
    for part in ("datasets", "losses", "methods", "networks", "evaluation", "loading"):
        for name in ("__init__", "base", "bar", "sampling"):
            write(package / part / f"{name}.py", "")
    for name in ("__init__", "errors", "label_space", "batch", "cli", "run_folder"):
        write(package / f"{name}.py", "")
    for path, text in GOOD.items():
        write(package / path, text)
    return package


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_checker_accepts_what_is_allowed(small_package):
    assert violations(small_package) == []


@pytest.mark.parametrize(("path", "text", "rule"), BAD.values(), ids=BAD)
def test_the_checker_finds(small_package, path, text, rule):
    write(small_package / path, f"{text}\n")
    (broken,) = violations(small_package)
    assert broken.file == small_package / path
    assert broken.line == max(1, len(text.splitlines()))  # the import is the last line of each
    assert rule in broken.rule
    assert str(broken).startswith(f"{broken.file}:{broken.line}: ")


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_command_line_starts_without_heavy_imports():
    loaded = run_python("import sys, multiseg.cli; print(*sys.modules)").split()
    assert "multiseg.cli" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_help_of_every_command_needs_no_torch():
    shown = run_python("""
        import sys
        from multiseg.cli import command_parsers, main, make_parser
        for command in [[], *([name] for name in command_parsers(make_parser()))]:
            try:
                main([*command, "--help"])
            except SystemExit as end:
                assert not end.code, command
        assert "torch" not in sys.modules
        """)
    assert shown.count("usage: multiseg") > 8
    assert shown.count("example: multiseg") == shown.count("usage: multiseg")


def test_help_answers_in_under_a_second():
    seconds = float(
        run_python("""
        import subprocess, sys, time
        def once():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "multiseg", "--help"], check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - start
        print(min(once() for _ in range(3)))  # the machine may be busy with other tests
        """)
    )
    assert seconds < 1
