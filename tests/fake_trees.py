"""Writers of tiny datasets in each official layout, with the raw values that the official release has.

The values are typed here once more, not taken from the readers, so that a wrong table there cannot hide. Every mask
holds every class and every ignored value.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from multiseg.synthetic.layouts import all_layouts
from multiseg.synthetic.layouts.base import Layout, Picture, write_tree
from multiseg.synthetic.layouts.panoptic import CATEGORIES

#: Height and width of the first, second, ... image of a split.
SIZES = ((24, 40), (32, 30))

LABELMEFACADE_COLORS = (
    (0, 0, 0),
    (128, 0, 0),
    (128, 0, 128),
    (128, 128, 0),
    (128, 128, 128),
    (128, 64, 0),
    (0, 128, 128),
    (0, 128, 0),
    (0, 0, 128),
)


def write_image(path: Path, size: tuple[int, int], seed: int = 0) -> None:
    """Coloured noise on a slope; the format is that of the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    slope = np.add.outer(np.arange(size[0]), np.arange(size[1]))[..., None] * 2
    noise = np.random.default_rng(seed).integers(0, 40, (*size, 3))
    Image.fromarray((slope + noise).astype(np.uint8)).save(path)


def write_mask(path: Path, size: tuple[int, int], values: Sequence[object], seed: int = 0) -> None:
    """Diagonal stripes of the values: ids, or colours as triples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripe = np.add.outer(np.arange(size[0]), np.arange(size[1]) + seed) % len(values)
    Image.fromarray(np.array(values, np.uint8)[stripe]).save(path)


def write_camvid(root: Path) -> Path:
    for split, stems in {"train": ("0001TP_1", "0006R0_2"), "val": ("0016E5_3",), "test": ("Seq05VD_4",)}.items():
        lines = []
        for seed, (stem, size) in enumerate(zip(stems, SIZES, strict=False)):
            write_image(root / split / f"{stem}.png", size, seed)
            write_mask(root / f"{split}annot" / f"{stem}.png", size, range(12), seed)
            lines.append(f"/SegNet/CamVid/{split}/{stem}.png /SegNet/CamVid/{split}annot/{stem}.png\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def write_idd_lite(root: Path) -> Path:
    values = (0, 1, 2, 3, 4, 5, 6, 255)
    for split, stems in {"train": ("0/024541", "173/024703"), "val": ("3/000123",)}.items():
        for seed, (stem, size) in enumerate(zip(stems, SIZES, strict=False)):
            write_image(root / f"leftImg8bit/{split}/{stem}_image.jpg", size, seed)
            write_mask(root / f"gtFine/{split}/{stem}_label.png", size, values, seed)
            (root / f"gtFine/{split}/{stem}_inst_label.json").write_text("{}")
    write_image(root / "leftImg8bit/test/9/000009_image.jpg", SIZES[0])
    return root


def write_cityscapes(root: Path) -> Path:
    dummies = (0, 1, 2, 3)
    for split, cities in {"train": ("aachen", "ulm"), "val": ("lindau",), "test": ("berlin",)}.items():
        for seed, (city, size) in enumerate(zip(cities, SIZES, strict=False)):
            stem = f"{city}/{city}_00000{seed}_000019"
            write_image(root / f"leftImg8bit/{split}/{stem}_leftImg8bit.png", size, seed)
            ground_truth = root / f"gtFine/{split}/{stem}_gtFine"
            write_mask(Path(f"{ground_truth}_labelIds.png"), size, dummies if split == "test" else range(34), seed)
            write_image(Path(f"{ground_truth}_color.png"), size, seed)
            Path(f"{ground_truth}_polygons.json").write_text("{}")
    return root


def write_labelmefacade(root: Path) -> Path:
    for split, stems in {"train": ("street_a", "street b"), "test": ("p1010736",)}.items():
        for seed, (stem, size) in enumerate(zip(stems, SIZES, strict=False)):
            write_image(root / f"images/{stem}.jpg", size, seed)
            write_mask(root / f"labels/{stem}.png", size, LABELMEFACADE_COLORS, seed)
        (root / f"{split}.txt").write_text("".join(f"images/{stem}.jpg\n" for stem in stems))
    return root


HARBOUR = """\
name: harbour
classes:
  - {name: water, id: 1}
  - {name: ship, id: [3, 4], color: [220, 20, 60], thing: true}
ignore: [0]
splits:
  train: {images: images/train, masks: masks/train}
  val: {images: images/val, masks: masks/val}
license: CC0-1.0
"""


def write_folder(root: Path) -> Path:
    for split, stems in {"train": ("7", "night/8"), "val": ("9",)}.items():
        for seed, (stem, size) in enumerate(zip(stems, SIZES, strict=False)):
            write_image(root / f"images/{split}/{stem}.jpg", size, seed)
            write_mask(root / f"masks/{split}/{stem}.png", size, (0, 1, 3, 4), seed)
    (root / "dataset.yaml").write_text(HARBOUR)
    return root


def write_images(root: Path) -> Path:
    for seed, (name, size) in enumerate(zip(("7.jpg", "night/7.png"), SIZES, strict=True)):
        write_image(root / name, size, seed)
    return root


def write_layout(reader: str, root: Path) -> Path:
    """By the layout of `multiseg.synthetic`, with every raw id of the official table in every mask.

    Of a table that has more ids than a mask has pixels, the first ones: its classes come before what is ignored.
    """
    with (Path(__file__).parent / f"datasets/label_ids/{reader}.csv").open(encoding="utf-8") as file:
        values = [int(row["raw_id"]) for row in csv.DictReader(file)]
    return write_pictures(all_layouts()[reader], root, values[: min(height * width for height, width in SIZES)])


def write_panoptic(root: Path) -> Path:
    return write_pictures(all_layouts()["panoptic"], root, [0, *(category["id"] for category in CATEGORIES)])


def write_voc(root: Path) -> Path:
    """With the split `trainaug`, which has no images here but those of `train`."""
    write_layout("voc", root)
    (masks,) = root.rglob("SegmentationClass")
    shutil.copytree(masks, masks.with_name("SegmentationClassAug"))
    return root


def write_pictures(layout: Layout, root: Path, raw_ids: Sequence[int]) -> Path:
    """Two pictures to train on and one to evaluate, with every one of these ids in every mask."""
    values = np.array(raw_ids, np.int32)

    def picture(seed: int) -> Picture:
        height, width = size = SIZES[seed % len(SIZES)]
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
        ids = np.roll(values, seed)[np.arange(height * width) * len(values) // (height * width)].reshape(size)
        return Picture(image, ids, np.broadcast_to(1 + np.arange(width) // (width // 2), size))

    return write_tree(layout, root, {"train": [picture(0), picture(1)], "val": [picture(2)]})


#: What writes the layouts that `multiseg.synthetic` has not. A new reader needs an entry here, or a layout there.
WRITERS: dict[str, Callable[[Path], Path]] = {
    "camvid": write_camvid,
    "cityscapes": write_cityscapes,
    "folder": write_folder,
    "images": write_images,
    "idd_lite": write_idd_lite,
    "labelmefacade": write_labelmefacade,
    "labelmefacade_swapped": write_labelmefacade,
    "panoptic": write_panoptic,
    "voc": write_voc,
}


def has_writer(reader: str) -> bool:
    return reader in WRITERS or reader in all_layouts()


def write(reader: str, root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return WRITERS[reader](root) if reader in WRITERS else write_layout(reader, root)
