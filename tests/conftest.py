"""What several tests share: two small datasets on disk, and the arguments of a run that takes seconds."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

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
        tiny_run.write_dataset(root / name, name, classes, {"train": count, "val": 3})
    return {name: root / name for name in ("town", "park")}


@pytest.fixture
def train_arguments(data_roots: dict[str, Path]) -> list[str]:
    return tiny_run.arguments(data_roots)
