"""A run that takes seconds, and its data."""

from pathlib import Path

import numpy as np
from PIL import Image


def arguments(roots: dict[str, Path]) -> list[str]:
    """Arguments of `multiseg train` for the datasets of `conftest.roots`, but for the recipe and --run."""
    return [
        *["--data", f"town={roots['town']}", "--data", f"park={roots['park']}"],
        *["--steps", "8", "--batch-size", "2", "--trainer.val_every", "4", "--trainer.log_every", "1"],
        *["--trainer.precision", "32-true", "--data.workers", "0", "--devices", "1"],
        *["--data.pipeline", "{long_side: 64, crop: [32, 48]}"],
        *[
            "--method.network.backbone",
            "{class_path: multiseg.networks.backbone.Backbone, init_args: {name: test_resnet, output_stride: 32}}",
        ],
        *["--method.network.decoder.channels", "16", "--method.network.decoder.bins", "[1, 2]"],
    ]


def write_dataset(root: Path, name: str, classes: list[str], sizes: dict[str, int]) -> None:
    """A `folder` dataset of rectangles, with so many images in each split."""
    random = np.random.default_rng(len(classes))
    colors = random.integers(0, 256, (len(classes), 3))
    for split, images in sizes.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(images):
            labels = np.zeros((48, 64), np.uint8)
            for label in range(1, len(classes)):
                top, left = random.integers(0, 32), random.integers(0, 44)
                labels[top : top + 16, left : left + 20] = label
            picture = colors[labels] * 0.7 + random.normal(30, 20, (48, 64, 3))
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / f"images/{split}/{number}.png")
            labels[:2] = 255
            Image.fromarray(labels).save(root / f"masks/{split}/{number}.png")
    (root / "dataset.yaml").write_text(
        f"name: {name}\nclasses: [{', '.join(classes)}]\nignore: [255]\n"
        "splits:\n  train: {images: images/train, masks: masks/train}\n"
        "  val: {images: images/val, masks: masks/val}\n"
    )
