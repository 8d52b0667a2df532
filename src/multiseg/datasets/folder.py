r"""One's own images and masks, described by a `dataset.yaml` in their root.

    name: harbour
    classes:                      # in the order of their contiguous ids
      - {name: water, id: 1}
      - {name: ship, id: [3, 4], color: [220, 20, 60], thing: true}
    ignore: [0]
    splits:
      train: {images: images/train, masks: masks/train}
      val: {images: images/val, masks: masks/val}

`classes: [water, ship]` stands for the ids 0 and 1. With `encoding: colors` the masks hold each class's `color` (or
list of colours), `id` is left out, and `ignore` lists colours. An image and its mask have the same path below their
folders, up to the ending; `image_suffix: _image` and `mask_suffix: _label` pair `7_image.jpg` with `7_label.png`.
Where all splits lie in the same folders, these stand once, and a split is a list of images or a share of them:

    images: images
    masks: masks
    splits: {train: 0.8, val: rest, test: {list: test.txt}}
    seed: 0                       # of the shares
    group: '(.+)_\d+'             # what shares a name up to the number stays together; or `folder`

Optional besides: `skip_unpaired: true`, and `title`, `url`, `license`, `citation`.
"""

from __future__ import annotations

import colorsys
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from multiseg.datasets.base import (
    IMAGE_ENDINGS,
    DatasetCard,
    FilesByName,
    Listing,
    SegmentationDataset,
    Share,
    Stamp,
    draw,
    leaves_root,
    listed_pairs,
    pack_color,
    stamp,
)
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.yaml_node import Color, Node, read_yaml

#: Lossless ones: a JPEG mask has colours and ids that nobody drew.
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")

Pair = tuple[str, str]


class Folder(SegmentationDataset):
    """Own data; its splits stand in the order of the file, so the first one there is trained on."""

    reader = "folder"
    card = DatasetCard(
        title="One's own images and masks",
        url="",
        license="as stated in dataset.yaml",
        citation="",
        layout="dataset.yaml (name, classes, splits)\nimages/{train,val}/*.jpg\nmasks/{train,val}/*.png",
    )
    splits: tuple[str, ...] = ()
    markers = ("dataset.yaml",)
    label_space = LabelSpace("folder", (LabelClass("as stated in dataset.yaml", (0,), (0, 0, 0)),))

    def prepare(self) -> None:
        self.description = _described(self.root / "dataset.yaml")
        self.splits = tuple(self.description.splits)
        self.label_space = self.description.label_space
        self.masks_are_colors = self.description.masks_are_colors
        self.card = DatasetCard(
            **{"title": self.label_space.name, **self.description.card}, layout=type(self).card.layout
        )

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        return tuple(_described(cls.find_root(root) / "dataset.yaml").splits)

    def list_pairs(self) -> Iterable[Pair]:
        self.listing.consult("dataset.yaml")  # an edited description makes an index stale
        return pairs_of(self.description, self.split, self.listing)


@dataclass(frozen=True)
class Named:
    """A split that says where its images lie.

    Args:
        images: folder, relative to the root.
        masks: likewise.
        lists: files that name the images; without one, all images of the folder.
    """

    images: str
    masks: str
    lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What a `dataset.yaml` says.

    Args:
        file: its path.
        label_space: named as the dataset.
        masks_are_colors: `encoding: colors`.
        splits: in the order of the file.
        folders: of the images and masks that shares are drawn from, relative to the root; None where there is no share.
        seed: of the draw.
        group: the pattern of the part of an image's path that must not be torn apart, "folder", or None.
        image_suffix: what image names have before the extension, beyond the part shared with the mask.
        mask_suffix: the same of mask names.
        skip_unpaired: leave out images without mask, and masks without image.
        card: those of `title`, `url`, `license` and `citation` that are given, the rest empty.
    """

    file: str
    label_space: LabelSpace
    masks_are_colors: bool
    splits: Mapping[str, Named | Share]
    folders: Pair | None = None
    seed: int = 0
    group: re.Pattern[str] | str | None = None
    image_suffix: str = ""
    mask_suffix: str = ""
    skip_unpaired: bool = False
    card: Mapping[str, str] = field(default_factory=dict)

    @property
    def image_endings(self) -> tuple[str, ...]:
        """What image names end in, with the suffix."""
        return with_suffix(self.image_suffix, IMAGE_ENDINGS)

    @property
    def mask_endings(self) -> tuple[str, ...]:
        """What mask names end in, with the suffix."""
        return with_suffix(self.mask_suffix, MASK_ENDINGS)


def with_suffix(suffix: str, endings: tuple[str, ...]) -> tuple[str, ...]:
    """Each ending behind the suffix, or the suffix alone where it has one already: `.jpg` beside `.png`."""
    return (suffix,) if suffix.lower().endswith(endings) else tuple(suffix + ending for ending in endings)


# What the file says


def read_description(path: Path, root: Path | None = None) -> Description:
    """Reads and checks a `dataset.yaml`.

    Args:
        path: the file.
        root: what the paths in it are relative to; by default its folder.

    Raises:
        MultisegError: anything in it is wrong; the message names the file, the key and what was expected.
    """
    root = root or path.parent
    keys = read_yaml(path).mapping(
        required=("name", "classes", "splits"),
        optional=(
            *("ignore", "encoding", "images", "masks", "image_suffix", "mask_suffix", "seed", "group"),
            *("skip_unpaired", "title", "url", "license", "citation"),
        ),
    )
    as_colors = "encoding" in keys and keys["encoding"].choice(("ids", "colors")) == "colors"
    classes = _classes(keys["classes"], as_colors)
    ignored = [raw for node in keys["ignore"].items() for raw in _ignored(node, as_colors)] if "ignore" in keys else []
    name = keys["name"].text()
    try:
        label_space = LabelSpace(name, tuple(classes), tuple(ignored))
    except MultisegError as error:
        raise MultisegError(f"{path}: {error}") from None
    image_suffix, mask_suffix = (keys[key].text() if key in keys else "" for key in ("image_suffix", "mask_suffix"))
    card = {key: keys[key].text() if key in keys else "" for key in ("url", "license", "citation")}
    if "title" in keys:
        card["title"] = keys["title"].text()
    splits = _splits(keys, root, one_folder=bool(mask_suffix))
    folders, seed, group = _draw(keys, root, splits, one_folder=bool(mask_suffix))
    skip = "skip_unpaired" in keys and keys["skip_unpaired"].truth()
    return Description(
        str(path), label_space, as_colors, splits, folders, seed, group, image_suffix, mask_suffix, skip, card
    )


def _described(path: Path) -> Description:
    """`read_description`, once for each state of the file: a run opens each of its datasets four times."""
    return _described_once(path, stamp(path))


@lru_cache(maxsize=4096)
def _described_once(path: Path, state: Stamp | None) -> Description:
    return read_description(path)


def distinct_colors(taken: Iterable[Color]) -> Iterator[Color]:
    """Endless colours far from one another: each hue is a golden angle on from the last; none is black or taken."""
    used = {(0, 0, 0), *taken}
    step = 0
    while True:
        hue, saturation, value = step * 0.618034 % 1.0, (0.85, 0.55, 0.70)[step % 3], (0.95, 0.80, 0.60)[step // 3 % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
        if (red, green, blue) not in used:
            used.add((red, green, blue))
            yield red, green, blue
        step += 1


def _classes(node: Node, as_colors: bool) -> list[LabelClass]:
    entries = node.items()
    if not entries:
        raise node.wrong("at least one class")
    if all(isinstance(entry.value, str) for entry in entries) and not as_colors:
        colors = distinct_colors(())
        return [LabelClass(entry.text(), (index,), next(colors)) for index, entry in enumerate(entries)]
    required, optional = (("name", "color"), ("thing",)) if as_colors else (("name", "id"), ("color", "thing"))
    for entry in entries:
        if not as_colors and not isinstance(entry.value, dict | str):  # `no` and `1` are no text in YAML
            raise entry.wrong("a name (in quotes, where YAML takes it for something else) or keys 'name', 'id'")
    tables = [entry.mapping(required, optional) for entry in entries]
    given = [_colors(table["color"], as_colors) if "color" in table else () for table in tables]
    generated = distinct_colors(color for own in given for color in own)
    classes = []
    for table, own in zip(tables, given, strict=True):
        raw_ids = tuple(map(pack_color, own)) if as_colors else tuple(map(_id, table["id"].one_or_more()))
        thing = "thing" in table and table["thing"].truth()
        classes.append(LabelClass(table["name"].text(), raw_ids, own[0] if own else next(generated), thing))
    return classes


def _colors(node: Node, several: bool) -> tuple[Color, ...]:
    """One colour, or where several may stand for a class a list of them."""
    if several and isinstance(node.value, list) and all(isinstance(part, list) for part in node.value):
        return tuple(entry.color() for entry in node.one_or_more())
    return (node.color(),)


def _id(node: Node) -> int:
    return node.integer(0, 2**31 - 1)


def _ignored(node: Node, as_colors: bool) -> tuple[int, ...]:
    return (pack_color(node.color()),) if as_colors else tuple(map(_id, node.one_or_more()))


def _splits(keys: Mapping[str, Node], root: Path, one_folder: bool) -> dict[str, Named | Share]:
    node = keys["splits"]
    if not isinstance(node.value, dict) or not node.value:
        raise node.wrong("at least one split, such as 'train: {images: images/train, masks: masks/train}'")
    entries = node.mapping(required=(), optional=None)
    shares = _shares(node, {name: entry for name, entry in entries.items() if not isinstance(entry.value, dict)})
    return {name: shares.get(name) or _named(entry, keys, root, one_folder) for name, entry in entries.items()}


def _named(node: Node, keys: Mapping[str, Node], root: Path, one_folder: bool) -> Named:
    common = [key for key in ("images", "masks") if key in keys]
    own = node.mapping(tuple(key for key in ("images", "masks") if key not in common), (*common, "list"))
    lists = tuple(_file(entry, root) for entry in own["list"].one_or_more()) if "list" in own else ()
    return Named(*_folders({**keys, **own}, root, one_folder or bool(lists)), lists)


def _folders(keys: Mapping[str, Node], root: Path, one_folder: bool) -> Pair:
    images, masks = (_folder(keys[key], root) for key in ("images", "masks"))
    if images == masks and not one_folder:
        raise keys["masks"].wrong("another folder than that of the images, or a 'mask_suffix' to tell them apart")
    return images, masks


def _shares(splits: Node, nodes: Mapping[str, Node]) -> dict[str, Share]:
    """Places on the line from 0 to 1, side by side in the order of the file."""
    rest = [name for name, node in nodes.items() if node.value == "rest"]
    for name, node in nodes.items():
        if not isinstance(node.value, int | float) and node.value != "rest":
            raise node.wrong("folders '{images: …, masks: …}', a list '{list: …}', a share such as 0.8, or 'rest'")
        if name in rest[1:]:
            raise node.error(f"only one split can be the rest, and '{rest[0]}' is.")
    sizes = {name: node.share() for name, node in nodes.items() if name not in rest}
    # nine places: thirds as people write them, and 0.7 + 0.2 + 0.1, which is less than 1 in a computer
    left = round(1 - sum(sizes.values()), 9)
    if left < 0:
        raise splits.error(f"the shares add up to {sum(sizes.values()):g}, more than 1.")
    if rest and not left:
        raise nodes[rest[0]].error("nothing is left, the other shares add up to 1.")
    shares, start = {}, 0.0
    for name in nodes:
        stop = round(start + sizes.get(name, left), 9)
        shares[name] = Share(start, stop)
        start = stop
    return shares


def _draw(
    keys: Mapping[str, Node], root: Path, splits: Mapping[str, Named | Share], one_folder: bool
) -> tuple[Pair | None, int, re.Pattern[str] | str | None]:
    """Folders, seed and group of the splits that are shares."""
    if not any(isinstance(split, Share) for split in splits.values()):
        for key in ("seed", "group"):
            if key in keys:
                raise keys[key].error("it is of use only to splits that are shares, such as 'train: 0.8'.")
        return None, 0, None
    for key in ("images", "masks"):
        if key not in keys:
            raise MultisegError(f"{keys['splits'].file}: the key '{key}' is missing, the folder to draw shares from.")
    seed = keys["seed"].integer(0, 2**63 - 1) if "seed" in keys else 0
    group: re.Pattern[str] | str | None = None
    if "group" in keys:
        group = "folder" if keys["group"].value == "folder" else keys["group"].pattern()
    return _folders(keys, root, one_folder), seed, group


def _folder(node: Node, root: Path) -> str:
    path = _below(node)
    if not os.path.isdir(root / path):
        raise node.error(f"the folder {root / path} does not exist; {_nearest(root / path, Path.is_dir)}")
    return path


def _file(node: Node, root: Path) -> str:
    path = _below(node)
    if not os.path.isfile(root / path):
        raise node.error(f"the file {root / path} does not exist; {_nearest(root / path, Path.is_file)}")
    return path


def _below(node: Node) -> str:
    if leaves_root(node.text()):
        raise node.wrong("a path below the folder of this file, without '..'")
    return Path(node.text()).as_posix()


def _nearest(path: Path, is_one: Callable[[Path], bool]) -> str:
    beside = path.parent
    return did_you_mean(
        path.name, [entry.name for entry in beside.iterdir() if is_one(entry)] if beside.is_dir() else []
    )


# Which files it means


def pairs_of(about: Description, split: str, listing: Listing) -> list[Pair]:
    """(image, mask) of every sample of a split, relative to the root.

    Args:
        about: the description.
        split: one of its splits.
        listing: of the root.

    Raises:
        MultisegError: a list names what is not there, images are too few for the shares, or a folder is gone.
    """
    wanted = about.splits[split]
    return _drawn(about, split, listing) if isinstance(wanted, Share) else list(_named_pairs(about, wanted, listing))


def _named_pairs(about: Description, split: Named, listing: Listing) -> Iterable[Pair]:
    if not split.lists:
        return _all_pairs(about, (split.images, split.masks), listing)
    but_not = about.mask_endings if about.mask_suffix and split.images == split.masks else ()
    images = FilesByName(listing, split.images, about.image_endings, but_not)
    return listed_pairs(listing, split.lists, images, FilesByName(listing, split.masks, about.mask_endings))


def _all_pairs(about: Description, folders: Pair, listing: Listing) -> Iterable[Pair]:
    return listing.pairs(*folders, about.image_endings, about.mask_endings, about.skip_unpaired)


def _drawn(about: Description, split: str, listing: Listing) -> list[Pair]:
    assert about.folders is not None
    shares = {name: share for name, share in about.splits.items() if isinstance(share, Share)}
    others = [other for other in about.splits.values() if isinstance(other, Named)]
    taken = {PurePosixPath(image) for other in others for image, _ in _named_pairs(about, other, listing)}
    of_group: dict[str, list[Pair]] = {}
    for pair in _all_pairs(about, about.folders, listing):
        if PurePosixPath(pair[0]) not in taken:
            of_group.setdefault(_group_of(about, pair[0]), []).append(pair)
    drawn = draw(of_group, shares, about.seed)
    if of_group and not all(drawn.values()):
        unit = "images" if about.group is None else "groups of images"
        raise MultisegError(f"{about.file}: splits: {len(shares)} of them need as many {unit}, found {len(of_group)}.")
    return sorted(pair for group in drawn[split] for pair in of_group[group])


def _group_of(about: Description, image: str) -> str:
    """What keeps images together, else the image itself: its path below its folder, without the ending."""
    assert about.folders is not None
    path = image[len(about.folders[0]) + 1 :]
    longest = max((ending for ending in about.image_endings if path.lower().endswith(ending.lower())), key=len)
    stem = path[: -len(longest)]
    if about.group is None:
        return stem
    if isinstance(about.group, str):
        return PurePosixPath(stem).parent.as_posix()
    match = about.group.match(stem)
    if match is None:
        raise MultisegError(f"{about.file}: group: '{about.group.pattern}' does not match the image '{stem}'.")
    return "\0".join(part or "" for part in match.groups()) if match.groups() else match[0]
