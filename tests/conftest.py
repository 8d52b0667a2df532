"""What several tests share: two small datasets on disk, and the arguments of a run that takes seconds."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

import tiny_run


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's cache is left alone."""
    os.environ["MULTISEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data_roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two `folder` datasets that disagree: `town` (road, car, sky) with 9 images, `park` (tree, sky) with 5."""
    root = tmp_path_factory.mktemp("data")
    for name, classes, count in [("town", ["road", "car", "sky"], 9), ("park", ["tree", "sky"], 5)]:
        _write_dataset(root / name, name, classes, count)
    return {name: root / name for name in ("town", "park")}


def _write_dataset(root: Path, name: str, classes: list[str], count: int) -> None:
    random = np.random.default_rng(len(classes))
    colors = random.integers(0, 256, (len(classes), 3))
    for split, images in {"train": count, "val": 3}.items():
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


@pytest.fixture
def train_arguments(data_roots: dict[str, Path]) -> list[str]:
    return tiny_run.arguments(data_roots)
