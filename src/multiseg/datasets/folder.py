"""One's own images and masks, described by a `dataset.yaml` in their root.

    name: harbour
    classes:                      # in the order of their contiguous ids
      - {name: water, id: 1}
      - {name: ship, id: [3, 4], color: [220, 20, 60], thing: true}
    ignore: [0]
    splits:
      train: {images: images/train, masks: masks/train}
      val: {images: images/val, masks: masks/val}

`classes: [water, ship]` stands for the ids 0 and 1. With `encoding: colors` the masks hold each class's `color`, `id`
is left out, and `ignore` lists colours. An image and its mask have the same path below their folders, up to the ending;
`image_suffix: _image` and `mask_suffix: _label` pair `7_image.jpg` with `7_label.png`. Optional besides: `title`,
`url`, `license`, `citation`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from multiseg.datasets.base import DatasetCard, SegmentationDataset, leaves_root, pack_color
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelClass, LabelSpace

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
#: Lossless ones: a JPEG mask has colours and ids that nobody drew.
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")

Color = tuple[int, int, int]


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
        self.description = read_description(self.root / "dataset.yaml")
        self.splits = tuple(self.description.splits)
        self.label_space = self.description.label_space
        self.masks_are_colors = self.description.masks_are_colors
        self.card = DatasetCard(
            **{"title": self.label_space.name, **self.description.card}, layout=type(self).card.layout
        )

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        return tuple(read_description(cls.find_root(root) / "dataset.yaml").splits)

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        about = self.description
        images, masks = about.splits[self.split]
        image_endings = tuple(about.image_suffix + ending for ending in IMAGE_ENDINGS)
        mask_endings = tuple(about.mask_suffix + ending for ending in MASK_ENDINGS)
        return self.listing.pairs(images, masks, image_endings, mask_endings)


@dataclass(frozen=True)
class Description:
    """What a `dataset.yaml` says.

    Args:
        label_space: named as the dataset.
        masks_are_colors: `encoding: colors`.
        splits: folders of images and of masks, relative to the root, for each split.
        image_suffix: what image names have before the extension, beyond the part shared with the mask.
        mask_suffix: the same of mask names.
        card: those of `title`, `url`, `license` and `citation` that are given, the rest empty.
    """

    label_space: LabelSpace
    masks_are_colors: bool
    splits: Mapping[str, tuple[str, str]]
    image_suffix: str = ""
    mask_suffix: str = ""
    card: Mapping[str, str] = field(default_factory=dict)


def read_description(path: Path) -> Description:
    """Reads and checks a `dataset.yaml`.

    Raises:
        MultisegError: anything in it is wrong; the message names the file, the key and what was expected.
    """
    keys = _Node(_load(path), str(path)).mapping(
        required=("name", "classes", "splits"),
        optional=("ignore", "encoding", "image_suffix", "mask_suffix", "title", "url", "license", "citation"),
    )
    encoding = keys["encoding"].choice(("ids", "colors")) if "encoding" in keys else "ids"
    as_colors = encoding == "colors"
    classes = _classes(keys["classes"], as_colors)
    ignored = [raw for node in keys["ignore"].items() for raw in _raw_ids(node, as_colors)] if "ignore" in keys else []
    try:
        label_space = LabelSpace(keys["name"].text(), tuple(classes), tuple(ignored))
    except MultisegError as error:
        raise MultisegError(f"{path}: {error}") from None
    suffixes = {key: keys[key].text() for key in ("image_suffix", "mask_suffix") if key in keys}
    card = {key: keys[key].text() if key in keys else "" for key in ("url", "license", "citation")}
    if "title" in keys:
        card["title"] = keys["title"].text()
    splits = _splits(keys["splits"], path.parent, one_folder="mask_suffix" in suffixes)
    return Description(label_space, as_colors, splits, **suffixes, card=card)


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


def _classes(node: _Node, as_colors: bool) -> list[LabelClass]:
    entries = node.items()
    if not entries:
        raise node.wrong("at least one class")
    if all(isinstance(entry.value, str) for entry in entries) and not as_colors:
        colors = distinct_colors(())
        return [LabelClass(entry.text(), (index,), next(colors)) for index, entry in enumerate(entries)]
    required, optional = (("name", "color"), ("thing",)) if as_colors else (("name", "id"), ("color", "thing"))
    tables = [entry.mapping(required, optional) for entry in entries]
    given = [table["color"].color() if "color" in table else None for table in tables]
    generated = distinct_colors(color for color in given if color is not None)
    classes = []
    for table, color in zip(tables, given, strict=True):
        raw_ids = _raw_ids(table["color" if as_colors else "id"], as_colors)
        thing = "thing" in table and table["thing"].truth()
        classes.append(LabelClass(table["name"].text(), raw_ids, color or next(generated), thing))
    return classes


def _raw_ids(node: _Node, as_colors: bool) -> tuple[int, ...]:
    if as_colors:
        return (pack_color(node.color()),)
    nodes = node.items() if isinstance(node.value, list) else [node]
    if not nodes:
        raise node.wrong("at least one id")
    return tuple(entry.integer(0, 2**31 - 1) for entry in nodes)


def _splits(node: _Node, root: Path, one_folder: bool) -> dict[str, tuple[str, str]]:
    if not isinstance(node.value, dict) or not node.value:
        raise node.wrong("at least one split, such as 'train: {images: images/train, masks: masks/train}'")
    splits = {}
    for name, pair in node.mapping(required=(), optional=None).items():
        folders = pair.mapping(required=("images", "masks"))
        images, masks = (folders[key].folder(root) for key in ("images", "masks"))
        if images == masks and not one_folder:
            raise folders["masks"].wrong(
                "another folder than that of the images, or a 'mask_suffix' to tell them apart"
            )
        splits[name] = (images, masks)
    return splits


class _Node:
    """A value of the file that knows where it stands, so that every complaint names file and key."""

    def __init__(self, value: object, file: str, key: str = "") -> None:
        self.value = value
        self.file = file
        self.key = key

    def wrong(self, expected: str) -> MultisegError:
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        key = f" {self.key}:" if self.key else ""
        return MultisegError(f"{self.file}:{key} expected {expected}, found {shown}.")

    def mapping(self, required: tuple[str, ...], optional: tuple[str, ...] | None = ()) -> dict[str, _Node]:
        """The values by key; with `optional=None` any key that is text will do."""
        if not isinstance(self.value, dict):
            raise self.wrong("keys " + ", ".join(f"'{key}'" for key in required))
        prefix = f"{self.key}." if self.key else ""
        for key in self.value:
            if not isinstance(key, str):
                raise self.wrong(f"only text as keys (quote {key!r} if it is meant)")
            if optional is not None and key not in required + optional:
                hint = did_you_mean(key, required + optional)
                raise MultisegError(f"{self.file}: there is no key '{prefix}{key}'; {hint}")
        for key in required:
            if key not in self.value:
                raise MultisegError(f"{self.file}: the key '{prefix}{key}' is missing.")
        return {key: _Node(value, self.file, prefix + key) for key, value in self.value.items()}

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [_Node(value, self.file, f"{self.key}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("text (in quotes, where YAML takes it for something else)")
        return self.value

    def choice(self, valid: tuple[str, ...]) -> str:
        if self.value not in valid:
            hint = did_you_mean(str(self.value), valid)
            raise MultisegError(f"{self.file}: {self.key}: there is no '{self.value}'; {hint}")
        return self.text()

    def truth(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.value

    def color(self) -> Color:
        if not isinstance(self.value, list) or len(self.value) != 3:
            raise self.wrong("a colour [red, green, blue]")
        red, green, blue = (part.integer(0, 255) for part in self.items())
        return red, green, blue

    def folder(self, root: Path) -> str:
        path = self.text()
        if leaves_root(path):
            raise self.wrong("a folder below that of this file, without '..'")
        if not (root / path).is_dir():
            beside = (root / path).parent
            names = [entry.name for entry in beside.iterdir() if entry.is_dir()] if beside.is_dir() else []
            hint = did_you_mean(Path(path).name, names)
            raise MultisegError(f"{self.file}: {self.key}: the folder {root / path} does not exist; {hint}")
        return Path(path).as_posix()


class _Loader(yaml.SafeLoader):
    """YAML allows a key to occur twice, and the last one silently wins; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _load(path: Path) -> object:
    try:
        return yaml.load(path.read_text("utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise MultisegError(f"{path}{line}: {error.problem or 'no valid YAML'}.") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text
        raise MultisegError(f"{path} is no YAML: {str(error).splitlines()[0]}.") from None
