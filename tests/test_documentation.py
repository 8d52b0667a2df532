"""The documentation keeps its word: commands resolve, Python runs, links lead somewhere, the tutorial works."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml

import fake_trees
import multiseg
from multiseg.cli import main, make_parser, split_overrides
from multiseg.configuration import SECTIONS, SHORT_OPTIONS, compose, read_recipe
from multiseg.datasets import find_reader
from multiseg.datasets.folder import read_description
from multiseg.instantiation import build, resolve
from multiseg.label_space import LabelSpace
from multiseg.taxonomy.relations import read_relations
from multiseg.trust import trusted

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"

#: Programs that may stand in a shell example besides multiseg; what they are given is not tested.
OTHER_PROGRAMS = {"pip", "git", "cd", ".venv/bin/python", ".venv/bin/pre-commit", "tensorboard"}


def load_hooks() -> ModuleType:
    specification = importlib.util.spec_from_file_location("documentation_hooks", DOCS / "hooks.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


#: Pages that the build makes, by their path below docs/.
GENERATED = {path: make() for path, make in load_hooks().PAGES.items()}

#: Every page by its path relative to docs/, those in the root of the repository as ../NAME.
PAGES = {
    **{path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))},
    **{f"../{name}": (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")},
    **GENERATED,
}

TUTORIAL = "tutorial.md"


class Block(NamedTuple):
    """A fenced block: its language, the file it stands for, if any, and its text."""

    language: str
    title: str
    text: str


FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str = "") -> list[Block]:
    found = [Block(*(part or "" for part in match.groups())) for match in FENCE.finditer(PAGES[page])]
    return [block for block in found if language in ("", block.language)]


def commands(page: str) -> Iterator[list[str]]:
    """The arguments of every command in the shell examples of a page, without assignments in front."""
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words


def pages_with(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def parse(arguments: list[str]) -> Any:
    parser = make_parser()
    plain, overrides = split_overrides(parser, arguments)
    given = parser.parse_args(plain)
    given.overrides = overrides
    return given


@pytest.fixture
def in_page(tmp_path, monkeypatch):
    """A function that goes to an empty folder with the files that a page shows, and those in `docs/assets`."""

    def enter(page: str) -> Path:
        shutil.copytree(REPOSITORY / "docs/assets", tmp_path / "docs/assets")
        for block in blocks(page):
            if block.title:
                path = tmp_path / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return enter


# Shell


@pytest.mark.parametrize("page", pages_with("bash"))
def test_every_command_parses(page):
    for program, *arguments in commands(page):
        if program == "multiseg":
            parse(arguments)
        elif program == "make":
            assert set(arguments) <= make_targets(), f"make has no target {arguments}"
        else:
            assert program in OTHER_PROGRAMS, f"'{program}' in {page} is tested by nothing"


@pytest.mark.parametrize("page", [page for page in pages_with("bash") if page != "how-to/resume.md"])
def test_every_training_command_resolves(page, in_page):
    in_page(page)
    for program, *arguments in commands(page):
        if program == "multiseg" and arguments[0] == "train":
            given = parse(arguments)
            recipes = [name for name in given.recipes if not name.endswith("config.yaml")]  # a run's own: complete
            if recipes:
                short = {key: getattr(given, option) for option, key in SHORT_OPTIONS.items()}
                set_here = [(key, value) for key, value in short.items() if value is not None]
                with trusted(*given.trust):
                    resolve(compose(recipes, given.data, [*set_here, *given.overrides]))


def test_resuming_repeats_the_settings_of_the_run():
    first, resumed, repeated, *_ = (parse(arguments) for _, *arguments in commands("how-to/resume.md"))
    assert first.run == resumed.run == repeated.run
    assert not first.resume
    assert resumed.resume and not resumed.recipes and not resumed.data
    for key in ("recipes", "data", "steps", "overrides"):
        assert getattr(first, key) == getattr(repeated, key)


def test_examples_of_the_help_name_every_command():
    page = "reference/command-line.md"
    assert {arguments[1] for arguments in commands(page)} == set(re.findall(r"^## (\w+)$", PAGES[page], re.MULTILINE))


# Files that pages show


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_every_recipe_is_one(page, in_page):
    folder = in_page(page)
    for number, block in enumerate(blocks(page, "yaml")):
        if set(yaml.safe_load(block.text)) <= set(SECTIONS):
            path = folder / f"{number}.yaml"
            path.write_text(block.text, encoding="utf-8")
            assert read_recipe(path)
        else:
            assert Path(block.title).name == "dataset.yaml", f"{page} shows YAML that nothing tests"


@pytest.mark.parametrize("page", ["how-to/own-data.md"])
def test_the_description_of_own_data_is_valid(page, in_page):
    root = in_page(page) / "harbour"
    for folder in ("images", "masks"):
        for split in ("train", "val"):
            (root / folder / split).mkdir(parents=True)
    description = read_description(root / "dataset.yaml")
    assert description.label_space.names == ("water", "ship", "quay")
    assert description.label_space.ignore_ids == (0, 255)


def test_the_relations_name_classes_of_their_datasets(in_page):
    folder = in_page("how-to/relate-taxonomies.md")
    spaces = [find_reader(name).label_space for name in ("camvid", "idd_lite")]
    assert len(read_relations(folder / "relations.tsv", spaces)) == 7


@pytest.mark.parametrize("page", pages_with("json"))
def test_json_is_json(page):
    for block in blocks(page, "json"):
        assert json.loads(block.text)


# Python


@pytest.mark.parametrize("page", [page for page in pages_with("python") if page != TUTORIAL])
def test_python_runs(page, in_page):
    in_page(page)
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page, "python"):
        exec(compile(block.text, f"{page}: {block.title or 'example'}", "exec"), namespace)


def test_the_reader_of_the_page_reads_its_layout(tmp_path):
    (block,) = blocks("how-to/own-reader.md", "python")
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(block.text, namespace)
    for split in ("train", "val"):
        fake_trees.write_image(tmp_path / f"ponds/photos/{split}/1.jpg", (20, 24))
        fake_trees.write_mask(tmp_path / f"ponds/labels/{split}/1_ids.png", (20, 24), (0, 1, 2, 3))
    dataset = namespace["Ponds"](tmp_path, "train")  # the parent of the root will do
    assert dataset[0].labels.unique().tolist() == [-1, 0, 1]


def test_the_method_of_the_page_trains_and_predicts(in_page):
    import torch

    folder = in_page("how-to/own-method.md")
    roots = {name: fake_trees.write(name, folder / name) for name in ("camvid", "idd_lite")}
    config = compose(["cosine_heads.yaml"], [f"{name}={root}" for name, root in roots.items()])
    with trusted("cosine_heads"):  # as the page says
        method = build(config).method
    method.log = method.log_dict = lambda *args, **kwargs: None
    batch = batch_of([method.spaces[name] for name in roots])
    loss = method.training_step(batch, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(vectors.grad.abs().sum() > 0 for vectors in method.vectors.values())
    assert method.eval().predict_labels(batch.images, (20, 30), "camvid").shape == (2, 20, 30)


def batch_of(spaces: list[LabelSpace]) -> Any:
    import torch

    from multiseg.batch import Batch

    labels = torch.zeros(len(spaces), 64, 64, dtype=torch.int64)
    images = torch.randint(0, 256, (len(spaces), 3, 64, 64), dtype=torch.uint8)
    sizes = torch.full((len(spaces), 2), 64)
    return Batch(images, labels, sizes, tuple(spaces), tuple(str(number) for number in range(len(spaces))))


# The tutorial, from its first command to its last, with fewer pictures and steps

SMALLER = {"synth": ["--images", "4"], "train": ["--steps", "2", "--batch-size", "2", "--data.workers", "0", "--quiet"]}


def test_the_tutorial_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(TUTORIAL):
        if block.language == "python":
            exec(compile(block.text, TUTORIAL, "exec"), {"__name__": "example"})
        elif block.language == "bash":
            for program, command, *arguments in ([*words] for words in commands_of(block)):
                assert program == "multiseg"
                # of an option given twice the last counts
                code = main([command, *arguments, *SMALLER.get(command, [])])
                assert code == 0, f"{command} {arguments}: {capsys.readouterr().err}"
    assert json.loads(Path("runs/first/metrics.json").read_text())["step"] == 2
    assert len(Path("relations.tsv").read_text().splitlines()) == 1 + 7  # as the page says
    assert list(Path("predictions").glob("*_overlay.png"))
    assert Path("runs/first/report.html").stat().st_size > 1000
    assert Path("comparison.html").stat().st_size > 1000


def commands_of(block: Block) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").splitlines():
        yield shlex.split(line)


# Structure

LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The ids that MkDocs gives to headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub("", PAGES[page])):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = resolve_link(page, path) if path else page
        known = found in PAGES or (DOCS / found).exists()
        assert known, f"{page} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(PAGES[found]), f"{page} links to {target}, which has no such heading"


def resolve_link(page: str, path: str) -> str:
    absolute = (DOCS / page).parent / path
    parts: list[str] = []
    for part in absolute.relative_to(REPOSITORY).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts[1:]) if parts[:1] == ["docs"] else "/".join(["..", *parts])


def navigation(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from navigation(inner)


def test_the_navigation_names_every_page_and_no_other():
    named = list(navigation(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert len(set(named)) == len(named)
    assert set(named) == {page for page in PAGES if not page.startswith("../")}


def test_every_part_of_the_library_has_reference_pages():
    shown = set(re.findall(r"^::: multiseg\.(\w+)", "\n".join(GENERATED.values()), re.MULTILINE))
    package = Path(multiseg.__file__).parent
    parts = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert parts - shown == {"bench", "commands"}  # programs, not a library


def test_version_and_license_agree_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == multiseg.__version__
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
