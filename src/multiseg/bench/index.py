"""Finding the files of a large dataset, the first time and the next, against globbing and pairing them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from multiseg.bench.base import Comparison
from multiseg.datasets import find_reader

_IMAGES = 120_000
_DESCRIPTION = """\
name: large
classes: [road, car]
splits:
  train: {images: images/train, masks: masks/train}
  val: {images: images/train, masks: masks/train}
"""


def comparisons() -> list[Comparison]:
    """Empty files in two folders; the cache is in a temporary folder too."""
    root = Path(tempfile.mkdtemp(prefix="multiseg_bench_"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    _write(root / "large")
    cache = str(root / "cache")

    def again() -> int:
        return _with_cache(cache, lambda: len(find_reader("folder")(root / "large", "train")))

    def first() -> int:
        shutil.rmtree(cache, ignore_errors=True)
        return again()

    def globbed() -> int:
        images = {path.stem: path for path in (root / "large/images/train").rglob("*.jpg")}
        masks = {path.stem: path for path in (root / "large/masks/train").rglob("*.png")}
        return len([(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())])

    job = f"{_IMAGES:,} images and masks"
    peer = "pathlib: glob both folders, pair by stem"
    return [
        Comparison("index", f"{job}, the first time", first, {peer: globbed}, int.__eq__),
        Comparison("index", f"{job}, again", again, {peer: globbed}, int.__eq__, goal=10, goal_peer=peer),
    ]


def _write(root: Path) -> None:
    for folder, ending in (("images", "jpg"), ("masks", "png")):
        (root / folder / "train").mkdir(parents=True)
        for number in range(_IMAGES):
            (root / folder / f"train/{number:012d}.{ending}").touch()
    (root / "dataset.yaml").write_text(_DESCRIPTION)
    past = time.time() - 60  # a folder that has just changed is not remembered
    for path in (root / "dataset.yaml", root / "images/train", root / "masks/train"):
        os.utime(path, (past, past))


def _with_cache(folder: str, work: Callable[[], int]) -> int:
    before = os.environ.get("MULTISEG_CACHE")
    os.environ["MULTISEG_CACHE"] = folder
    try:
        return work()
    finally:
        if before is None:
            del os.environ["MULTISEG_CACHE"]
        else:
            os.environ["MULTISEG_CACHE"] = before
