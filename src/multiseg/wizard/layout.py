"""Finds the folders of images and masks below a root, by which file names belong together and what files look like."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from multiseg.datasets.base import IMAGE_ENDINGS, IMAGE_FORMATS
from multiseg.datasets.folder import MASK_ENDINGS, with_suffix
from multiseg.errors import MultisegError
from multiseg.label_space import pack_colors
from multiseg.wizard.suffixes import common_suffixes, evenly
from multiseg.wizard.tree import Tree, extension
from multiseg.wizard.words import IMAGES, MASKS, OTHER, RENDERED, SPLIT_ORDER, split_in, words_of

#: Folders with more subfolders than this hold sequences or cities, not images beside masks.
_MANY = 20

#: So many candidates for the place of images or masks are compared with one another.
_CANDIDATES = 200

#: Of so many matches files are looked into.
_DECODED = 16

_LOSSY = (".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Layout:
    """Where images and masks lie.

    Args:
        folders: of images and of masks, for each split; for the split "" where folders do not tell splits apart.
        image_suffix: what image names have before the extension, beyond the part shared with the mask.
        mask_suffix: the same of mask names.
        subfolders: how many folders the images of all splits lie in.
        images_alone: images of these splits that have no mask.
        masks_alone: masks that have no image.
        notes: what a person should know of it.
    """

    folders: Mapping[str, tuple[str, str]]
    image_suffix: str
    mask_suffix: str
    subfolders: int
    images_alone: int = 0
    masks_alone: int = 0
    notes: tuple[str, ...] = ()


def find_layout(tree: Tree) -> Layout:
    """The images and masks of a tree.

    Raises:
        MultisegError: there are none that belong together; the message says what was looked for.
    """
    if not tree.pictures:
        raise MultisegError(f"{tree.root} holds no images: looked for files ending in {', '.join(IMAGE_ENDINGS)}.")
    matches = sorted((match for match in _matches(tree) if match.count), key=_prior, reverse=True)
    looks = _Looks(tree)
    scores = [(_prior(match) * looks.factor(match), match) for match in matches[:_DECODED]]
    best, found = max(scores, key=lambda item: (round(item[0], 6), _preference(item[1])), default=(0.0, None))
    if not best or found is None:
        raise MultisegError(_nothing_found(tree))
    return _layout(found, tree)


def _nothing_found(tree: Tree) -> str:
    total = sum(map(len, tree.pictures.values()))
    lossless = sum(extension(name) not in _LOSSY for names in tree.pictures.values() for name in names)
    if not lossless:
        return f"{tree.root} holds {total} pictures, all JPEG or WebP: masks must be lossless, such as PNG."
    return (
        f"{tree.root} holds {total} pictures, but no two folders, and no two suffixes such as _image and _mask, "
        "whose files have the same names and of which one looks like masks."
    )


# Candidates


@dataclass
class _Place:
    """A folder that may be that of images or masks; of parallel splits, all such folders at once.

    Args:
        template: its path, NUL in place of the split.
        folders: the real path for each split, "" where the path names none.
        leaves: the folder that holds files, for each split and path below this place.
    """

    template: str
    folders: dict[str, str] = field(default_factory=dict)
    leaves: dict[tuple[str, str], str] = field(default_factory=dict)


def _places(tree: Tree) -> list[_Place]:
    """The candidates, those at the top first."""
    paths = {leaf: _templates(leaf) for leaf in tree.pictures}
    children: defaultdict[str, set[str]] = defaultdict(set)
    for parts, _ in paths.values():
        for depth in range(len(parts)):
            children["/".join(parts[:depth])].add(parts[depth])
    places: dict[str, _Place] = {}
    for leaf, (parts, split) in paths.items():
        real = [] if leaf == "." else leaf.split("/")
        first = next((depth for depth, part in enumerate(parts) if "\0" in part), -1) + 1
        for depth in range(first, len(parts) + 1):
            if any(len(children["/".join(parts[:above])]) > _MANY for above in range(depth)):
                break
            template = "/".join(parts[:depth])
            place = places.setdefault(template, _Place(template))
            folder = "/".join(real[:depth]) or "."
            if place.folders.setdefault(split, folder) == folder:
                place.leaves[split, "/".join(real[depth:])] = leaf
    ranked = sorted(places.values(), key=lambda place: (place.template.count("/"), -len(place.leaves), place.template))
    return ranked[:_CANDIDATES]


def _templates(leaf: str) -> tuple[list[str], str]:
    """The parts of a path, NUL in place of the first word for a split, and that split."""
    parts = [] if leaf == "." else leaf.split("/")
    for depth, part in enumerate(parts):
        if found := split_in(part):
            return [*parts[:depth], found[0], *parts[depth + 1 :]], found[1]
    return parts, ""


# Which names belong together


@dataclass(frozen=True)
class _Match:
    """Images of one place paired with masks of another.

    Args:
        images: the place.
        masks: likewise.
        image_suffix: see `Layout`.
        mask_suffix: likewise.
        pairs: how many there are in each split.
        images_alone: images of these splits without mask.
        masks_alone: masks of these splits without image.
    """

    images: _Place
    masks: _Place
    image_suffix: str
    mask_suffix: str
    pairs: Mapping[str, int]
    images_alone: int
    masks_alone: int

    @property
    def count(self) -> int:
        return sum(self.pairs.values())


def _matches(tree: Tree) -> Iterator[_Match]:
    places = _places(tree)
    for images in places:
        for masks in places:
            common = sorted(images.leaves.keys() & masks.leaves.keys())
            pairs = [(images.leaves[key], masks.leaves[key]) for key in common]
            if images is not masks:
                common = [key for key, (first, second) in zip(common, pairs, strict=True) if first != second]
            if common:
                yield from _matched_names(tree, images, masks, common)


def _matched_names(tree: Tree, images: _Place, masks: _Place, common: list[tuple[str, str]]) -> Iterator[_Match]:
    leaves = [(images.leaves[key], masks.leaves[key]) for key in evenly(common, 8)]
    if images is masks:
        suffixes = common_suffixes(tree, leaves, sample=24, share=0.1)
    else:
        # where few images have a mask, the masks know better; but they may be of several kinds
        back = common_suffixes(tree, [(mask_leaf, image_leaf) for image_leaf, mask_leaf in leaves], sample=8, share=0.2)
        suffixes = common_suffixes(tree, leaves, sample=8, share=0.5) | {(second, first) for first, second in back}
    for image_suffix, mask_suffix in sorted(suffixes):
        yield _count(tree, images, masks, common, image_suffix, mask_suffix)


def _count(
    tree: Tree,
    images: _Place,
    masks: _Place,
    common: list[tuple[str, str]],
    image_suffix: str,
    mask_suffix: str,
) -> _Match:
    """All pairs under two suffixes, and what is left alone in these splits."""
    image_endings, mask_endings = with_suffix(image_suffix, IMAGE_ENDINGS), with_suffix(mask_suffix, MASK_ENDINGS)
    but_not = mask_endings if images is masks else ()
    pairs: Counter[str] = Counter()
    for key in common:
        own = _stems(tree.pictures[images.leaves[key]], image_endings, but_not)
        pairs[key[0]] += len(own & _stems(tree.pictures[masks.leaves[key]], mask_endings))
    splits = {split for split, count in pairs.items() if count}

    def total(place: _Place, other: _Place, endings: tuple[str, ...], but_not: tuple[str, ...]) -> int:
        # masks may lie within the folder of the images
        inner = [other.folders[split] + "/" for split in splits] if other is not place else []
        return sum(
            len(_stems(tree.pictures[leaf], endings, but_not))
            for (split, _), leaf in place.leaves.items()
            if split in splits and not (leaf + "/").startswith(tuple(inner))
        )

    count = sum(pairs.values())
    return _Match(
        *(images, masks, image_suffix, mask_suffix),
        {split: pairs[split] for split in splits},
        total(images, masks, image_endings, but_not) - count,
        total(masks, images, mask_endings, ()) - count,
    )


def _stems(names: Sequence[str], endings: tuple[str, ...], but_not: tuple[str, ...] = ()) -> set[str]:
    found = set()
    for name in names:
        lower = name.lower()
        ending = next((ending for ending in endings if lower.endswith(ending.lower())), None)
        if ending and not lower.endswith(but_not):
            found.add(name[: -len(ending)])
    return found


# Which match is meant


def _prior(match: _Match) -> float:
    """How much speaks for a match before a file is opened: its pairs, what is left alone, and the names."""
    own_images, own_masks = _own_words(match)
    factor = 1.0
    factor *= 1.2 if own_images & IMAGES else 1.0
    factor *= 0.3 if own_images & (MASKS | OTHER) else 1.0
    factor *= 1.5 if own_masks & MASKS else 1.0
    factor *= 0.3 if own_masks & (OTHER | RENDERED) else 1.0
    count = match.count
    # images that nobody has labelled yet are common, masks without image are not
    return factor * count * math.sqrt(count / (count + match.images_alone)) * count / (count + match.masks_alone)


def _own_words(match: _Match) -> tuple[set[str], set[str]]:
    """The words of images and of masks that the others have not."""
    image_words = words_of(f"{match.images.template} {match.image_suffix}")
    mask_words = words_of(f"{match.masks.template} {match.mask_suffix}")
    return image_words - mask_words, mask_words - image_words


def _preference(match: _Match) -> tuple[int, str]:
    """Of equals: two folders far up, which take in what is added beside; one folder as near as can be."""
    depth = match.images.template.count("/") + (match.images.template != "")
    return depth if match.images is match.masks else -depth, match.masks.template


class _Looks:
    """Whether files look like masks or like pictures; each is decoded once."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.known: dict[str, bool | None] = {}

    def factor(self, match: _Match) -> float:
        """0 where the masks look like photographs; less than 1 where the images look like masks."""
        splits = match.pairs
        masks = self._share(match.masks, with_suffix(match.mask_suffix, MASK_ENDINGS), splits)
        if masks is None or masks < 0.5:
            return 0.0
        images = self._share(match.images, with_suffix(match.image_suffix, IMAGE_ENDINGS), splits)
        return 1.0 if images is None or images < 0.5 else 0.1

    def _share(self, place: _Place, endings: tuple[str, ...], splits: Mapping[str, int]) -> float | None:
        """How many of a few files look like masks; None where none can be decoded."""
        lowered = tuple(ending.lower() for ending in endings)
        leaves = [leaf for (split, _), leaf in place.leaves.items() if split in splits]
        files = [
            f"{leaf}/{name}"
            for leaf in evenly(sorted(leaves), 4)
            for name in evenly([name for name in self.tree.pictures[leaf] if name.lower().endswith(lowered)], 3)
        ]
        looks = [look for file in evenly(files, 5) if (look := self._is_mask(file)) is not None]
        return sum(looks) / len(looks) if looks else None

    def _is_mask(self, file: str) -> bool | None:
        if file not in self.known:
            self.known[file] = _looks_like_mask(self.tree.root / file)
        return self.known[file]


def _looks_like_mask(path: Path) -> bool | None:
    """Few values, or long runs of one value: photographs have neither. None where a file cannot be decoded."""
    if extension(path.name) in _LOSSY:
        return False
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as file:
            pixels = np.asarray(file)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    if pixels.ndim == 3:
        pixels = pack_colors(pixels[..., :3].astype(np.uint8)) if pixels.shape[2] >= 3 else pixels[..., 0]
    flat = pixels.reshape(-1)
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    return len(np.unique(flat[starts])) < min(64, flat.size // 8) or len(starts) < 0.3 * flat.size


# The result


def _layout(match: _Match, tree: Tree) -> Layout:
    order = {split: place for place, split in enumerate(SPLIT_ORDER)}
    splits = sorted(match.pairs, key=lambda split: (order.get(split, len(order)), split))
    notes = [
        f"{folder} has images, but no masks were found for them: left out."
        for split, folder in sorted(match.images.folders.items())
        if split not in match.pairs and match.images is not match.masks
    ]
    alone = match.images_alone, match.masks_alone
    if any(alone):
        notes.append(f"{alone[0]} images have no mask, {alone[1]} masks have no image: left out.")
    if odd := sorted(_own_words(match)[1] & OTHER):
        notes.append(f"the masks are called '{odd[0]}': do their values stand for classes, or for single objects?")
    return Layout(
        {split: (match.images.folders[split], match.masks.folders[split]) for split in splits},
        match.image_suffix,
        match.mask_suffix,
        len({leaf for (split, _), leaf in match.images.leaves.items() if split in match.pairs}),
        *alone,
        tuple(notes),
    )
