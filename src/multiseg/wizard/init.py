"""`multiseg datasets init`: looks, asks where there is somebody to ask, writes, and reads back what it wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multiseg.console import progress_bar
from multiseg.datasets import all_readers
from multiseg.datasets.base import IMAGE_ENDINGS, Listing
from multiseg.datasets.folder import MASK_ENDINGS, Folder, pairs_of, read_description, with_suffix
from multiseg.errors import MultisegError
from multiseg.wizard.census import SAMPLED, Census, take_census
from multiseg.wizard.class_names import NamedClass, may_hold_names, read_class_names
from multiseg.wizard.draft import Entry, entries_of, named_by, to_yaml
from multiseg.wizard.layout import Layout, find_layout
from multiseg.wizard.splits import SplitPlan, plan_splits, with_seed
from multiseg.wizard.tree import Tree, scan

#: Takes a question and the guess, and returns the answer, or the guess.
Ask = Callable[[str, str], str]


def take_guess(question: str, guess: str) -> str:
    """An `Ask` for where there is nobody to ask."""
    return guess


@dataclass(frozen=True)
class Written:
    """What `init_dataset` wrote.

    Args:
        file: the description.
        counts: pairs of image and mask in each split, as read back.
        found: what it was made from, in a few lines.
        warnings: what a person should look at.
        command: what to do next.
    """

    file: Path
    counts: Mapping[str, int]
    found: Sequence[str]
    warnings: Sequence[str]
    command: str


def init_dataset(root: Path, out: Path | None = None, force: bool = False, ask: Ask = take_guess) -> Written:
    """Writes a description of a folder of images and masks.

    Args:
        root: the folder.
        out: the file to write; by default `dataset.yaml` in the root, where the reader looks for it.
        force: replace a file, describe what has a reader of its own, and take blurred masks as they are.
        ask: answers questions.

    Raises:
        MultisegError: nothing was found, the layout is a published one, masks cannot be classes, or the file is there
            already or cannot be written.
    """
    tree = scan(root)
    file = out or root / "dataset.yaml"
    if not force:
        if file.exists():
            raise MultisegError(f"{file} is there already; --force replaces it.")
        _refuse_published(root)
    layout = find_layout(tree)
    pairs = _pairs(root, layout)
    with progress_bar("reading masks", min(len(pairs), SAMPLED)) as advance:
        census = take_census(root, [mask for _, mask in pairs], progress=advance)
    if census.is_blurred and not force:
        raise MultisegError(
            f"the masks below {root} hold {len(census.values)} values, most of them single pixels between others: they "
            "were resized with smoothing, or saved as a JPEG, and must be exported again (--force describes them as "
            "they are)."
        )
    named_in, names = _names(tree, census)
    entries = _asked(entries_of(census, names), census, ask)
    images = [image for image, _ in pairs]
    plan = with_seed(_asked_share(plan_splits(tree, layout, images), ask), layout, images)
    name = ask("What is the dataset called?", _name(root))
    counts = _write(file, root, to_yaml(name, layout, plan, census, entries))
    found = _found(layout, census, entries, named_in)
    warnings = [*layout.notes, *plan.notes, *_warnings(census, entries, names)]
    if file.resolve() != (root / "dataset.yaml").resolve():
        warnings.append(f"to be read, the file must be {root / 'dataset.yaml'}.")
    return Written(file, counts, found, warnings, _command(root))


def published_layouts(root: Path) -> list[str]:
    """The readers that know the layout of a root, or of a folder in it, and can read what is there.

    Those of one dataset come before those of any dataset in some format, which learn its splits from its files. Those
    of images without labels know no layout.
    """
    found = []
    for name, reader in sorted(all_readers().items(), key=lambda item: not item[1].splits):
        if reader is Folder or not reader.labelled:
            continue
        try:
            dataset = reader(root, reader.splits_of(root)[0])
            for index in {0, len(dataset) // 2, len(dataset) - 1}:
                dataset[index]
        except MultisegError:
            continue
        found.append(name)
    return found


def _refuse_published(root: Path) -> None:
    if names := published_layouts(root):
        others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
        raise MultisegError(
            f"{root} needs no description: the reader {names[0]}{others} knows it, as in `--data {names[0]}={root}`.\n"
            "If its classes are your own, --force describes it all the same."
        )


def _pairs(root: Path, layout: Layout) -> list[tuple[str, str]]:
    """Every image that has a mask, with it."""
    endings = with_suffix(layout.image_suffix, IMAGE_ENDINGS), with_suffix(layout.mask_suffix, MASK_ENDINGS)
    listing = Listing(root)
    return [p for folders in layout.folders.values() for p in listing.pairs(*folders, *endings, complete_only=True)]


def _names(tree: Tree, census: Census) -> tuple[str, dict[int, NamedClass]]:
    """The file that names most values, and what it says of each; nothing where it names less than half of them."""
    found = {value.raw for value in census.values}
    best: tuple[str, dict[int, NamedClass]] = ("", {})
    most = max(0, len(found - {0, 255}) // 2 - 1)
    for file in tree.texts:
        if may_hold_names(file) and (names := read_class_names(tree.root / file)):
            by_value = named_by(names, census)
            if len(found & by_value.keys()) > most:
                best, most = (file, by_value), len(found & by_value.keys())
    return best


# Questions


def _asked(entries: Sequence[Entry], census: Census, ask: Ask) -> list[Entry]:
    """The entries, after asking about the values that often mean "not labelled"."""
    doubtful = {0} if census.as_colors else {0, 255}
    shares = {value.raw: value.pixels / census.pixels for value in census.values}
    answered = []
    for entry in entries:
        if doubtful & set(entry.raws) & shares.keys():
            share = sum(shares.get(raw, 0) for raw in entry.raws)
            shown = "black" if census.as_colors else " and ".join(map(str, entry.raws))
            answer = ask(
                f"{shown} ({entry.name}, {share:.1%} of the pixels): a class, or ignored?",
                "ignored" if entry.ignored else "class",
            )
            ignored = answer.strip().lower().startswith("i")
            entry = replace(entry, ignored=ignored, why=entry.why if ignored == entry.ignored else "")
        answered.append(entry)
    if all(entry.ignored for entry in answered):
        raise MultisegError("with everything ignored there is no class left.")
    return answered


def _asked_share(plan: SplitPlan, ask: Ask) -> SplitPlan:
    if plan.splits != {"train": 0.8, "val": 0.2}:
        return plan
    answer = ask("Which share of the images is kept for validation?", "0.2")
    try:
        share = float(answer)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise MultisegError(f"'{answer}' is no share between 0 and 1, such as 0.2.")
    return replace(plan, splits={"train": round(1 - share, 6), "val": share})


# What is written and said


def _write(file: Path, root: Path, text: str) -> dict[str, int]:
    """Writes beside the file, reads that back as the reader would, and only then puts it in place.

    Returns:
        How many pairs each split has.
    """
    unfinished = file.with_name(f".{file.name}.partial")
    try:
        unfinished.write_text(text, "utf-8")
        about = read_description(unfinished, root)
        counts = {split: len(pairs_of(about, split, Listing(root))) for split in about.splits}
        unfinished.replace(file)
    except OSError as error:
        raise MultisegError(
            f"{file} cannot be written: {error.strerror or error}; --out FILE writes elsewhere."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return counts


def _found(layout: Layout, census: Census, entries: Sequence[Entry], named_in: str) -> list[str]:
    lines = [
        f"{split or 'all images'}: {images} with {masks}" if images != masks else f"{split or 'all images'}: {images}"
        for split, (images, masks) in layout.folders.items()
    ]
    if layout.image_suffix or layout.mask_suffix:
        lines.append(f"names end in '{layout.image_suffix}' and '{layout.mask_suffix}'")
    kind = "colours" if census.as_colors else "palette indices" if census.palette else "grey ids"
    lines.append(f"masks: {kind}, {len(census.values)} values in {census.read} of {census.total} files")
    classes = [entry.name for entry in entries if not entry.ignored]
    source = f"named by {named_in}" if named_in else "no file names them"
    lines.append(f"{len(classes)} classes, {source}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}")
    ignored = [f"{entry.name} ({entry.why})" if entry.why else entry.name for entry in entries if entry.ignored]
    lines.append(f"ignored: {', '.join(ignored) or 'nothing'}")
    return lines


def _warnings(census: Census, entries: Sequence[Entry], names: Mapping[int, NamedClass]) -> list[str]:
    warnings = []
    if census.read + len(census.broken) < census.total:
        warnings.append(f"{census.read} of {census.total} masks were read: values that are rare may be missing.")
    if census.broken:
        warnings.append(f"{len(census.broken)} masks cannot be read; the first: {census.broken[0]}")
    if census.is_blurred:
        warnings.append("most values are single pixels between others: the masks are blurred.")
    unnamed = [str(value.raw) for value in census.values if value.raw not in names] if names else []
    if unnamed and not census.as_colors:
        warnings.append(f"without a name in the file of names: {', '.join(unnamed[:12])}")
    if len(census.values) > 255 and not census.as_colors:
        warnings.append(f"{len(census.values)} ids are many for classes: are these numbers of objects?")
    if len(entries) == 1:
        warnings.append("there is one class only: nothing can be told apart.")
    return warnings


def _name(root: Path) -> str:
    """The name of the folder, or of the one above where it says nothing."""
    for part in reversed(root.resolve().parts):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", part).strip("_")
        if name and name.lower() not in {"data", "dataset", "datasets"}:
            return name
    return "dataset"


def _command(root: Path) -> str:
    name = _name(root)
    name = f"my_{name}" if name in all_readers() else name
    argument = f"{name}={root}"
    return f"multiseg datasets check {argument}" if " " not in argument else f'multiseg datasets check "{argument}"'
