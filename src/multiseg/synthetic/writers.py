"""Writes the synthetic datasets in the layouts the readers of this package know.

By default each domain keeps its own taxonomy: `street` becomes a Cityscapes folder, the others become folders of images
and masks beside a `dataset.yaml`. On demand scenes are written in any official layout, labelled as that dataset would.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError, did_you_mean
from multiseg.synthetic.domains import DOMAINS, Domain, render
from multiseg.synthetic.layouts import all_layouts
from multiseg.synthetic.layouts.base import Layout, Picture, Record
from multiseg.synthetic.layouts.folder import FolderLayout

#: Lies in every folder written here, and tells it from a folder of somebody else's.
MARKER = "synthetic.json"


@dataclass(frozen=True)
class _Job:
    """One picture to write."""

    folder: Path
    name: str
    split: str
    index: int
    seed: int
    size: tuple[int, int] | None


@dataclass(frozen=True)
class _Target:
    """One dataset to write: which scenes, where their files lie, and the raw id of each world class."""

    domain: Domain
    layout: Layout
    raw_of_world: NDArray[np.int32]


def _target(name: str) -> _Target:
    """Of a domain, or of an official layout."""
    if name not in DOMAINS:
        layout = all_layouts()[name]
        return _Target(DOMAINS[layout.domain], layout, layout.table)
    domain = DOMAINS[name]
    if domain.masks == "cityscapes":
        return _Target(domain, all_layouts()["cityscapes"], domain.raw_of_world)
    return _Target(domain, FolderLayout(domain.label_space, domain.masks), domain.raw_of_world)


def write_datasets(
    root: Path,
    images: int = 100,
    seed: int = 0,
    domains: Sequence[str] | None = None,
    val_images: int | None = None,
    size: tuple[int, int] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """Writes datasets to `root/NAME`, each complete or not at all.

    An earlier output of this function is replaced; any other folder with something in it is refused.

    Args:
        root: made if missing.
        images: in the training split of each dataset.
        seed: the same seed gives the same files.
        domains: names from `DOMAINS`, or of official layouts from `all_layouts`; by default all of `DOMAINS`.
        val_images: in the validation split; by default half as many as `images`, at least one.
        size: height and width of all pictures; by default each domain's own.
        workers: processes; 1 works in this one.
        progress: called with pictures written and pictures in all.

    Returns:
        For each name its folder.

    Raises:
        MultisegError: an unknown domain, a count below 1, a folder that is not ours or cannot be written.
    """
    names = list(DOMAINS) if domains is None else list(dict.fromkeys(domains))
    counts = {"train": images, "val": max(images // 2, 1) if val_images is None else val_images}
    for name in names:
        if name not in DOMAINS and name not in all_layouts():
            hint = did_you_mean(name, [*DOMAINS, *all_layouts()])
            raise MultisegError(f"no synthetic domain or layout '{name}'; {hint}")
    if min(*counts.values(), workers) < 1:
        raise MultisegError("synthetic datasets need at least one image in each split and one worker.")
    for name in names:
        _refuse_foreign(root / name)
    total, done = len(names) * sum(counts.values()), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    try:
        for name in names:
            _write_dataset(root / name, name, counts, seed, size, workers, tick)
    except OSError as error:
        raise MultisegError(f"{error.filename or root} cannot be written: {error.strerror or error}.") from None
    return {name: root / name for name in names}


def _write_dataset(
    folder: Path,
    name: str,
    counts: dict[str, int],
    seed: int,
    size: tuple[int, int] | None,
    workers: int,
    tick: Callable[[], None],
) -> None:
    """Writes beside the target and renames at the end, so that a broken run never looks like a dataset."""
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        target = _target(name)
        for split, count in counts.items():
            records = []
            for record in _run([_Job(unfinished, name, split, i, seed, size) for i in range(count)], workers):
                records.append(record)
                tick()
            target.layout.write_index(unfinished, split, records)
        settings = {"domain": target.domain.name, "seed": seed, "images": counts, "size": size}
        (unfinished / MARKER).write_text(json.dumps(settings, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(jobs: Sequence[_Job], workers: int) -> Iterable[Record]:
    if workers == 1:
        yield from map(_write_picture, jobs)
        return
    # spawn: a forked copy of a process that has used torch's threads can hang
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_picture, jobs, chunksize=8)


def _refuse_foreign(folder: Path) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise MultisegError(f"{folder} is a file; the dataset needs a folder of that name.")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
            raise MultisegError(f"{folder} is not empty and was not written by multiseg; choose another folder.")
    except OSError as error:
        raise MultisegError(f"{folder} cannot be read: {error.strerror}.") from None


def _write_picture(job: _Job) -> Record:
    """Renders and writes one picture; returns what the dataset's index files need to know of it."""
    target = _target(job.name)
    scene = render(target.domain, job.seed, job.index, job.size, job.split)
    picture = Picture(scene.image, target.raw_of_world[scene.classes], scene.instances)
    return target.layout.write_picture(job.folder, job.split, job.index, picture)
