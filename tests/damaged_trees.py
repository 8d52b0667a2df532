"""Datasets damaged on purpose, each in one way, and the table of what `multiseg datasets check` says of them.

`python tests/damaged_trees.py` writes the table into the documentation; a test holds it to what the command says.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fake_trees
from multiseg.cli import main
from multiseg.inspection.checking import PROBLEMS

PAGE = Path(__file__).parents[1] / "docs/how-to/check-data.md"
BEGIN, END = "<!-- written by tests/damaged_trees.py -->\n", "<!-- end -->\n"

SIZE = (20, 24)
SPLITS = {"train": 5, "val": 2}

DESCRIPTION = """\
name: harbour
classes:
  - {name: water, id: 1}
  - {name: ship, id: [3, 4], thing: true}
ignore: [0]
splits:
  train: {images: images/train, masks: masks/train}
  val: {images: images/val, masks: masks/val}
"""

CATEGORIES = [{"id": 1, "name": "water", "isthing": 0}, {"id": 2, "name": "ship", "isthing": 1}]

Do = Callable[[Path], object]


# Sound trees


def write_ids(root: Path) -> None:
    """Masks of the ids 0, 1, 3, 4."""
    for split, count in SPLITS.items():
        for number in range(count):
            seed = number + 100 * (split == "val")
            fake_trees.write_image(root / f"images/{split}/{number:02}.jpg", SIZE, seed)
            fake_trees.write_mask(root / f"masks/{split}/{number:02}.png", SIZE, (0, 1, 3, 4), seed)
    (root / "dataset.yaml").write_text(DESCRIPTION)


def write_colors(root: Path) -> None:
    """Masks of colours; black is ignored."""
    write_ids(root)
    for path in root.glob("masks/*/*.png"):
        fake_trees.write_mask(path, SIZE, ((0, 0, 0), (0, 0, 200), (200, 0, 0)))
    description = DESCRIPTION.replace("id: 1", "color: [0, 0, 200]").replace("id: [3, 4]", "color: [200, 0, 0]")
    (root / "dataset.yaml").write_text(description.replace("[0]\n", "[[0, 0, 0]]\nencoding: colors\n"))


def write_panoptic(root: Path) -> None:
    """COCO's panoptic format: water and two ships in every image."""
    images, annotations = [], []
    for number in range(3):
        fake_trees.write_image(root / f"images/train/{number:02}.jpg", SIZE, number)
        fake_trees.write_mask(root / f"panoptic_train/{number:02}.png", SIZE, [(10, 0, 0), (20, 0, 0), (20, 1, 0)])
        images.append({"id": number, "file_name": f"{number:02}.jpg", "height": SIZE[0], "width": SIZE[1]})
        segments = [{"id": raw, "category_id": category} for raw, category in ((10, 1), (20, 2), (276, 2))]
        annotations.append({"image_id": number, "file_name": f"{number:02}.png", "segments_info": segments})
    index = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "panoptic_train.json").write_text(json.dumps(index))


# Ways to damage


def remove(path: str) -> Do:
    return lambda root: (root / path).unlink()


def rename(path: str, name: str) -> Do:
    return lambda root: (root / path).rename((root / path).with_name(name))


def copy(source: str, target: str) -> Do:
    return lambda root: shutil.copy(root / source, root / target)


def overwrite(path: str, content: bytes) -> Do:
    return lambda root: (root / path).write_bytes(content)


def cut(path: str, length: int) -> Do:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:length])


def flip_a_bit(path: str) -> Do:
    def do(root: Path) -> None:
        data = bytearray((root / path).read_bytes())
        data[data.index(b"IDAT") + 8] ^= 4
        (root / path).write_bytes(data)

    return do


def hold(pattern: str, *values: object, size: tuple[int, int] = SIZE) -> Do:
    """Masks that hold other values, or colours."""
    return lambda root: [fake_trees.write_mask(path, size, values) for path in sorted(root.glob(pattern))]


def save_as(pattern: str, file_format: str, change: Callable[[Image.Image], Image.Image], **options: Any) -> Do:
    """Files saved in another way, under their old names."""

    def do(root: Path) -> None:
        for path in sorted(root.glob(pattern)):
            with Image.open(path) as image:
                changed = change(image.copy())
            changed.save(path, file_format, **options)

    return do


def convert(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.convert(mode)


def to_palette(image: Image.Image) -> Image.Image:
    """With its values as indices."""
    image.putpalette(np.arange(768, dtype=np.uint8).tobytes())
    return image


def to_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16))


def turn_by_exif(pattern: str, orientation: int) -> Do:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save_as(pattern, "JPEG", lambda image: image, exif=exif)


def edit(path: str, old: str, new: str) -> Do:
    def do(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return do


def both(*damages: Do) -> Do:
    return lambda root: [damage(root) for damage in damages]


@dataclass(frozen=True)
class Damage:
    """One way to damage a dataset.

    Args:
        what: for the table.
        kinds: of the problems to be found, the one that is meant first.
        do: damages the tree at a root.
        make: writes the sound tree.
        names: what stands before `=ROOT` on the command line.
    """

    what: str
    kinds: tuple[str, ...]
    do: Do
    make: Do = write_ids
    names: tuple[str, ...] = ("harbour",)


PANOPTIC = ("panoptic",)
THREE_MASKS = "masks/train/0[0-2].png"

DAMAGES = [
    Damage("an image is gone", ("missing_image",), remove("images/train/03.jpg")),
    Damage("a mask is gone", ("missing_mask",), remove("masks/train/03.png")),
    Damage("a mask is there in another format", ("missing_mask",), rename("masks/train/03.png", "03.jpg")),
    Damage(
        "the masks of a split are gone",
        ("broken_split",),
        lambda root: shutil.rmtree(root / "gtFine/val"),
        fake_trees.write_idd_lite,
        ("idd_lite",),
    ),
    Damage("a panoptic JSON breaks off", ("broken_split",), cut("panoptic_train.json", 99), write_panoptic, PANOPTIC),
    Damage("a JPEG breaks off", ("unreadable_image",), cut("images/train/03.jpg", 600)),
    Damage("an image is a page of text", ("unreadable_image",), overwrite("images/train/03.jpg", b"404 not found")),
    Damage("a PNG breaks off", ("unreadable_mask",), cut("masks/train/03.png", -9)),
    Damage("a bit of a PNG is flipped", ("unreadable_mask",), flip_a_bit("masks/train/03.png")),
    Damage("a mask is an empty file", ("unreadable_mask",), overwrite("masks/train/03.png", b"")),
    Damage("masks of ids hold colours", ("colored_mask",), hold(THREE_MASKS, (0, 0, 0), (0, 0, 200))),
    Damage(
        "a mask is a JPEG under the name of a PNG",
        ("lossy_mask",),
        both(hold("masks/train/03.png", 1), save_as("masks/train/03.png", "JPEG", convert("L"))),
    ),
    Damage("a mask has another size", ("size_mismatch",), hold("masks/train/03.png", 1, 3, size=(10, 12))),
    Damage(
        "EXIF turns an image by 90°, its mask is not turned", ("size_mismatch",), turn_by_exif("images/train/03.jpg", 6)
    ),
    Damage("EXIF turns an image by 180°", ("unclear_turn",), turn_by_exif("images/train/03.jpg", 3)),
    Damage("EXIF mirrors an image", ("unclear_turn",), turn_by_exif("images/train/03.jpg", 2)),
    Damage(
        "EXIF turns an image by 90°, its mask is turned",
        ("turned_image",),
        both(turn_by_exif("images/train/03.jpg", 6), hold("masks/train/03.png", 1, 3, size=SIZE[::-1])),
    ),
    Damage("masks hold an id outside the table", ("unknown_id",), hold(THREE_MASKS, 1, 3, 9)),
    Damage(
        "a mask holds a colour outside the table",
        ("unknown_id",),
        hold("masks/train/03.png", (0, 0, 200), (1, 2, 3)),
        write_colors,
    ),
    Damage(
        "masks of colours hold ids",
        ("uncolored_mask", "unknown_id"),
        hold("masks/train/0[0-2].png", 0, 1),
        write_colors,
    ),
    Damage(
        "a segment has no record",
        ("unknown_segment",),
        hold("panoptic_train/01.png", (10, 0, 0), (30, 0, 0)),
        write_panoptic,
        PANOPTIC,
    ),
    Damage(
        "a record has no segment",
        ("unseen_segment",),
        hold("panoptic_train/01.png", (10, 0, 0), (20, 0, 0)),
        write_panoptic,
        PANOPTIC,
    ),
    Damage("one mask has a palette", ("odd_mask",), save_as("masks/train/03.png", "PNG", to_palette)),
    Damage("one mask has 16 bits", ("odd_mask",), save_as("masks/train/03.png", "PNG", to_16_bits)),
    Damage("all masks of ids are RGB", ("multichannel_mask",), save_as("masks/train/*.png", "PNG", convert("RGB"))),
    Damage("all masks have transparency", ("multichannel_mask",), save_as("masks/train/*.png", "PNG", convert("LA"))),
    Damage("all masks have 16 bits", ("deep_mask",), save_as("masks/train/*.png", "PNG", to_16_bits)),
    Damage("a mask is ignored everywhere", ("empty_mask",), hold("masks/train/03.png", 0)),
    Damage("a class never occurs", ("unseen_class",), hold("masks/train/*.png", 0, 1)),
    Damage("an image is twice in a split", ("duplicate_image",), copy("images/train/01.jpg", "images/train/03.jpg")),
    Damage("an image is in two splits", ("leaked_image",), copy("images/train/01.jpg", "images/val/00.jpg")),
    Damage(
        "a split is evaluated on that was trained on",
        ("leaked_image",),
        both(
            edit("dataset.yaml", "images/val, masks: masks/val", "images/train, masks: masks/train"),
            lambda root: [remove(f"images/train/{number:02}.jpg")(root) for number in range(1, 5)],
            lambda root: [remove(f"masks/train/{number:02}.png")(root) for number in range(1, 5)],
        ),
    ),
    Damage(
        "a third split lists the files of the second",
        ("overlapping_split",),
        edit(
            "dataset.yaml", "masks: masks/val}\n", "masks: masks/val}\n  all: {images: images/val, masks: masks/val}\n"
        ),
    ),
    Damage("two datasets hold the same images", ("shared_image",), lambda root: None, names=("harbour", "port")),
    Damage("an image is grey", ("grey_image",), save_as("images/train/03.jpg", "JPEG", convert("L"))),
    Damage("an image has transparency", ("transparent_image",), save_as("images/train/03.jpg", "PNG", convert("RGBA"))),
    Damage("an image is CMYK", ("cmyk_image",), save_as("images/train/03.jpg", "JPEG", convert("CMYK"))),
    Damage("an image has 16 bits", ("grey_image", "deep_image"), save_as("images/train/03.jpg", "PNG", to_16_bits)),
]


# What the command says


@dataclass(frozen=True)
class Answer:
    """What `multiseg datasets check` said: its exit code, also with `--strict`, and its reports as JSON."""

    code: int
    strict_code: int
    reports: tuple[dict[str, Any], ...]

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Of all splits together, the worst first."""
        found = [problem for report in self.reports for problem in report["problems"]]
        return sorted(found, key=lambda problem: list(PROBLEMS).index(problem["kind"]))


def check(root: Path, names: tuple[str, ...] = ("harbour",)) -> Answer:
    arguments = ["datasets", "check", *(f"{name}={root}" for name in names), "--json"]
    outputs, codes = [], []
    for options in ([], ["--strict"]):
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()):
            codes.append(main([*arguments, *options]))
        outputs.append(output.getvalue())
    assert outputs[0] == outputs[1]
    return Answer(*codes, tuple(json.loads(outputs[0])))


@functools.cache
def answer_to(damage: Damage) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "data"
        root.mkdir()
        damage.make(root)
        damage.do(root)
        return check(root, damage.names)


def table() -> str:
    """In Markdown: what was damaged, what was found, the exit codes; then what each finding means."""
    lines = ["| what is wrong | what the check finds | exit code | with `--strict` |", "|---|---|---|---|"]
    for damage in DAMAGES:
        answer = answer_to(damage)
        found = "<br>".join(_cell(problem) for problem in answer.problems)
        lines.append(f"| {damage.what} | {found} | {answer.code} | {answer.strict_code} |")
    lines += ["", "| | | what it is, and what to do |", "|---|---|---|"]
    lines += [f"| {severity} | `{kind}` | {advice} |" for kind, (severity, advice) in PROBLEMS.items()]
    return "\n".join(lines) + "\n"


def _cell(problem: dict[str, Any]) -> str:
    # the rest of such a line is Pillow's, and other words in another version of it
    example = re.sub(r"(decoded as an image|is no JSON): .*", r"\1", problem["examples"][0])
    example = re.sub(r"/\S+/data/", "", example)
    return f"{problem['severity']}: {problem['kind']} ×{problem['count']}<br>`{example}`"


def page_with_table(page: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text("utf-8")), "utf-8")
