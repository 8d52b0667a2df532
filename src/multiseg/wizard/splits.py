"""Decides how images are split: by the folders they lie in, by lists that lie beside them, or by chance."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from multiseg.datasets.base import IMAGE_ENDINGS, FilesByName, Listing, listed_pairs
from multiseg.datasets.base.shares import place_of
from multiseg.datasets.folder import MASK_ENDINGS, with_suffix
from multiseg.errors import MultisegError
from multiseg.wizard.layout import Layout
from multiseg.wizard.tree import Tree
from multiseg.wizard.words import SPLIT_ORDER, split_in

Pair = tuple[str, str]

#: With at least so many subfolders, whole subfolders are drawn: they are films or places.
_SUBFOLDERS = 5

#: So many seeds are tried, and one is good enough whose validation share is off by no more than this.
_SEEDS = 50
_TOLERANCE = 0.02


@dataclass(frozen=True)
class SplitPlan:
    """The splits of a description.

    Args:
        splits: for each a pair of folders, the file of a list, a share, or "rest"; the one trained on first.
        folders: of all images and masks, where splits do not have their own.
        seed: of shares.
        group: what is kept together where shares are drawn.
        hint: a `group` that may be wanted.
        notes: what a person should know.
    """

    splits: Mapping[str, Pair | str | float]
    folders: Pair | None = None
    seed: int = 0
    group: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_shares(self) -> bool:
        return any(isinstance(split, float) or split == "rest" for split in self.splits.values())


def plan_splits(tree: Tree, layout: Layout, images: Sequence[str]) -> SplitPlan:
    """The splits that suit a layout.

    Args:
        tree: the files.
        layout: where images and masks lie.
        images: paths of all that have a mask, relative to the root.
    """
    if len(layout.folders) > 1:
        return SplitPlan(dict(layout.folders))
    (folders,) = layout.folders.values()
    lists, notes = _find_lists(tree, layout, folders) if "" in layout.folders else ([], [])
    listed = {image for entry in lists for image in entry.images}
    unlisted = len(set(images) - listed)
    splits: dict[str, Pair | str | float] = {entry.split: entry.file for entry in lists}
    if len(lists) > 1:
        if unlisted:
            notes.append(f"{unlisted} images are in none of the lists: not used.")
        return SplitPlan(splits, folders, notes=tuple(notes))
    if lists and unlisted:
        splits = {**splits, "val": "rest"} if "train" in splits else {"train": "rest", **splits}
        return SplitPlan(splits, folders, notes=tuple(notes))
    notes += [f"{entry.file} names all images: not used." for entry in lists]
    group = "folder" if layout.subfolders >= _SUBFOLDERS else None
    hint = None if group else _numbered_films([_stem(image, layout, folders) for image in images])
    return SplitPlan({"train": 0.8, "val": 0.2}, folders, 0, group, hint, tuple(notes))


def with_seed(plan: SplitPlan, layout: Layout, images: Sequence[str]) -> SplitPlan:
    """The plan with the first seed under which validation has its share, or of many seeds the one that comes nearest.

    A draw of a few images may well be lopsided; what is added later keeps to the seed chosen now.

    Args:
        plan: its two splits may be shares.
        layout: where images and masks lie.
        images: paths of all that have a mask, relative to the root.
    """
    share = plan.splits.get("val")
    if plan.folders is None or not isinstance(share, float):
        return plan
    stems = [_stem(image, layout, plan.folders) for image in images]
    sizes = Counter(stem.rpartition("/")[0] or "." if plan.group else stem for stem in stems)

    def error(seed: int) -> float:
        drawn = sum(size for key, size in sizes.items() if place_of(key, seed) >= 1 - share)
        return abs(drawn / len(stems) - share)

    good = next((seed for seed in range(_SEEDS) if error(seed) <= _TOLERANCE), None)
    return replace(plan, seed=min(range(_SEEDS), key=error) if good is None else good)


@dataclass(frozen=True)
class _List:
    """A file that names the images of a split, and these."""

    split: str
    file: str
    images: frozenset[str]


def _find_lists(tree: Tree, layout: Layout, folders: Pair) -> tuple[list[_List], list[str]]:
    """The lists of one kind that name most images, in the order of splits; and remarks."""
    of_kind: defaultdict[str, dict[str, _List]] = defaultdict(dict)
    failures = []
    for file in tree.texts:
        where, _, name = file.rpartition("/")
        spoken_of = split_in(name.rsplit(".", 1)[0])
        if spoken_of is None or not name.lower().endswith((".txt", ".lst", ".list")):
            continue
        try:
            images = _listed(tree, layout, folders, file)
        except MultisegError as error:
            failures.append(f"not used as a list: {error}")
            continue
        if images:
            of_kind[f"{where}/{spoken_of[0]}"][spoken_of[1]] = _List(spoken_of[1], file, images)
    if not of_kind:
        return [], failures[:3]
    lists = max(of_kind.values(), key=lambda lists: len(frozenset().union(*(e.images for e in lists.values()))))
    both = lists.pop("trainval", None)
    if both and "train" not in lists:
        lists["train"] = replace(both, split="train")
    ordered = [lists[split] for split in SPLIT_ORDER if split in lists]
    notes = [
        f"{first.file} and {second.file} share {shared} images: scores will be too good."
        for first, second in pairwise(ordered)
        if (shared := len(first.images & second.images))
    ]
    return ordered, notes


def _listed(tree: Tree, layout: Layout, folders: Pair, file: str) -> frozenset[str]:
    """The images that a list names, as the reader finds them.

    Raises:
        MultisegError: a line names none; or the file is no list at all.
    """
    listing = Listing(tree.root)
    images, masks = folders
    mask_endings = with_suffix(layout.mask_suffix, MASK_ENDINGS)
    but_not = mask_endings if images == masks else ()
    by_name = FilesByName(listing, images, with_suffix(layout.image_suffix, IMAGE_ENDINGS), but_not)
    pairs = listed_pairs(listing, [file], by_name, FilesByName(listing, masks, mask_endings))
    return frozenset(image for image, _ in pairs)


def _stem(image: str, layout: Layout, folders: Pair) -> str:
    """What `group` is matched with."""
    path = image.removeprefix(f"{folders[0]}/")
    endings = with_suffix(layout.image_suffix, IMAGE_ENDINGS)
    return path[: -max(len(ending) for ending in endings if path.lower().endswith(ending.lower()))]


def _numbered_films(stems: Sequence[str]) -> str | None:
    """A pattern of what names have in front of their last number, where it is that of a few films."""
    pattern = r"(.+?)[_-]?\d+$"
    films = {match[1] if (match := re.match(pattern, stem)) else None for stem in stems}
    return pattern if None not in films and 1 < len(films) <= len(stems) / 4 else None
