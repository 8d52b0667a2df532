"""Training images from a thousand datasets of ten images, against the same images in one dataset."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from multiseg.bench.base import Comparison
from multiseg.loading.datamodule import DataModule, DatasetEntry
from multiseg.loading.transforms import Pipeline

_DATASETS, _IMAGES = 1000, 10
_BATCHES, _BATCH_SIZE = 20, 64
_SIZE = (40, 48)


def comparisons() -> list[Comparison]:
    """Small images, so that what is done for each dataset weighs as much as it can."""
    root = Path(tempfile.mkdtemp(prefix="multiseg_bench_"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    many = [_write(root / f"many/set{number}", _IMAGES) for number in range(_DATASETS)]
    one = _write(root / "one", _DATASETS * _IMAGES)
    peer = f"one dataset of {_DATASETS * _IMAGES:,}"
    what = f"{_DATASETS} datasets of {_IMAGES} images"
    opened = [_module(many), _module([one])]
    load, load_one = (partial(_load, module) for module in opened)
    return [
        Comparison(
            "many_datasets",
            f"{what}: open train and val",
            partial(_open, many),
            {peer: partial(_open, [one])},
            int.__eq__,
        ),
        Comparison("many_datasets", f"{what}: {_BATCHES} batches of {_BATCH_SIZE}", load, {peer: load_one}, int.__eq__),
    ]


def _open(roots: list[Path]) -> int:
    return sum(_module(roots).sizes.values())


def _load(module: DataModule) -> int:
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        max_steps=_BATCHES, accumulate_grad_batches=1, global_rank=0, world_size=1
    )
    return sum(len(batch) for batch in module.train_dataloader())


def _module(roots: list[Path]) -> DataModule:
    datasets = {root.name: DatasetEntry(root, reader="folder") for root in roots}
    pipeline = Pipeline(long_side=max(_SIZE), crop=(32, 32))
    return DataModule(datasets, pipeline, total_batch_size=_BATCH_SIZE, workers=0)


def _write(root: Path, images: int) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    mask = (np.arange(_SIZE[0] * _SIZE[1]).reshape(_SIZE) % 3).astype(np.uint8)
    Image.fromarray(np.full((*_SIZE, 3), 99, np.uint8)).save(root / "images/0.jpg")
    Image.fromarray(mask).save(root / "masks/0.png")
    for number in range(1, images):
        shutil.copyfile(root / "images/0.jpg", root / f"images/{number}.jpg")
        shutil.copyfile(root / "masks/0.png", root / f"masks/{number}.png")
    (root / "dataset.yaml").write_text(
        f"name: {root.name}\nclasses: [road, car, sky]\nsplits:\n"
        "  train: {images: images, masks: masks}\n  val: {images: images, masks: masks}\n"
    )
    return root
