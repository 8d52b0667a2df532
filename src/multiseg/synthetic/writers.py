"""Writes the synthetic datasets in the layouts the readers of this package know.

`street` becomes a Cityscapes folder (label ids, instance ids, panoptic files), the others become folders of images and
masks beside a `dataset.yaml`.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from multiseg.errors import MultisegError, did_you_mean
from multiseg.synthetic.domains import DOMAINS, Domain, render
from multiseg.synthetic.world import Scene

#: Lies in every folder written here, and tells it from a folder of somebody else's.
MARKER = "synthetic.json"

#: Cityscapes names files after the city they come from; its splits share no city.
_CITIES = {"train": "ardenburg", "val": "brookstadt"}

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class _Job:
    """One picture to write."""

    folder: Path
    domain: str
    split: str
    index: int
    seed: int
    size: tuple[int, int] | None


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
    """Writes datasets to `root/DOMAIN`, each complete or not at all.

    An earlier output of this function is replaced; any other folder with something in it is refused.

    Args:
        root: made if missing.
        images: in the training split of each dataset.
        seed: the same seed gives the same files.
        domains: names from `DOMAINS`; by default all.
        val_images: in the validation split; by default half as many as `images`, at least one.
        size: height and width of all pictures; by default each domain's own.
        workers: processes; 1 works in this one.
        progress: called with pictures written and pictures in all.

    Returns:
        For each domain its folder.

    Raises:
        MultisegError: an unknown domain, a count below 1, a folder that is not ours or cannot be written.
    """
    names = list(DOMAINS) if domains is None else list(dict.fromkeys(domains))
    counts = {"train": images, "val": max(images // 2, 1) if val_images is None else val_images}
    for name in names:
        if name not in DOMAINS:
            raise MultisegError(f"no synthetic domain '{name}'; {did_you_mean(name, DOMAINS)}")
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
            _write_domain(root / name, DOMAINS[name], counts, seed, size, workers, tick)
    except OSError as error:
        raise MultisegError(f"{error.filename or root} cannot be written: {error.strerror or error}.") from None
    return {name: root / name for name in names}


def _write_domain(
    folder: Path,
    domain: Domain,
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
        _make_folders(unfinished, domain)
        jobs = [_Job(unfinished, domain.name, split, i, seed, size) for split, n in counts.items() for i in range(n)]
        records = []
        for record in _run(jobs, workers):
            records.append(record)
            tick()
        _write_index(unfinished, domain, records)
        settings = {"domain": domain.name, "seed": seed, "images": counts, "size": size}
        (unfinished / MARKER).write_text(json.dumps(settings, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(jobs: Sequence[_Job], workers: int) -> Iterable[dict[str, Any]]:
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


def _make_folders(root: Path, domain: Domain) -> None:
    for split, city in _CITIES.items():
        if domain.masks == "cityscapes":
            parts = [f"leftImg8bit/{split}/{city}", f"gtFine/{split}/{city}", f"gtFine/cityscapes_panoptic_{split}"]
        else:
            parts = [f"images/{split}", f"masks/{split}"]
        for part in parts:
            (root / part).mkdir(parents=True)


def _write_picture(job: _Job) -> dict[str, Any]:
    """Renders and writes one picture; returns what the dataset's index files need to know of it."""
    domain = DOMAINS[job.domain]
    scene = render(domain, job.seed, job.index, job.size, job.split)
    if domain.masks == "cityscapes":
        return _write_cityscapes(job, domain, scene)
    name = f"{job.domain}_{job.index:05d}"
    raw = domain.raw_of_world[scene.classes]
    _save(job.folder / f"images/{job.split}/{name}.jpg", Image.fromarray(scene.image), quality=_JPEG_QUALITY)
    _save_png(job.folder / f"masks/{job.split}/{name}.png", _mask_image(domain, raw))
    return {"split": job.split}


def _mask_image(domain: Domain, raw: NDArray[np.int32]) -> Image.Image:
    if domain.masks == "colors":
        return Image.fromarray(unpack_colors(raw))
    image = Image.fromarray(raw.astype(np.uint8))
    if domain.masks == "palette":
        palette = np.zeros((256, 3), np.uint8)
        for entry in domain.label_space.classes:
            palette[list(entry.raw_ids)] = entry.color
        image.putpalette(palette.tobytes())
    return image


def unpack_colors(packed: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The inverse of `label_space.pack_colors`. Shape: (...) to (..., 3)."""
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16], -1).astype(np.uint8)


def _write_cityscapes(job: _Job, domain: Domain, scene: Scene) -> dict[str, Any]:
    city = _CITIES[job.split]
    name = f"{city}_{job.index:06d}_000019"
    ids = domain.raw_of_world[scene.classes]
    instance_ids = cityscapes_instances(domain, scene)
    truth = job.folder / f"gtFine/{job.split}/{city}"
    _save_png(job.folder / f"leftImg8bit/{job.split}/{city}/{name}_leftImg8bit.png", Image.fromarray(scene.image))
    _save_png(truth / f"{name}_gtFine_labelIds.png", Image.fromarray(ids.astype(np.uint8)))
    _save_png(truth / f"{name}_gtFine_instanceIds.png", Image.fromarray(instance_ids.astype(np.uint16)))
    panoptic_ids = np.where(ids < min(c.raw_ids[0] for c in domain.label_space.classes), 0, instance_ids)
    panoptic_name = f"{name}_gtFine_panoptic.png"
    panoptic_folder = job.folder / f"gtFine/cityscapes_panoptic_{job.split}"
    _save_png(panoptic_folder / panoptic_name, Image.fromarray(unpack_colors(panoptic_ids)))
    height, width = ids.shape
    # the official file names the image after the mask, "_gtFine_leftImg8bit.png", a name no image has
    image = {"id": name, "width": width, "height": height, "file_name": f"{name}_gtFine_leftImg8bit.png"}
    annotation = {"image_id": name, "file_name": panoptic_name, "segments_info": _segments(panoptic_ids)}
    return {"split": job.split, "image": image, "annotation": annotation}


def cityscapes_instances(domain: Domain, scene: Scene) -> NDArray[np.int32]:
    """Cityscapes' instance ids: `1000 * label id + number` for things, counted from 0 in each class; else the label id.

    Shape: (H, W).
    """
    ids = domain.raw_of_world[scene.classes]
    instance_ids = ids.copy()
    for entry in domain.label_space.classes:
        if entry.thing:
            (raw,) = entry.raw_ids
            where = ids == raw
            objects = scene.instances[where]
            present = np.bincount(objects) > 0
            instance_ids[where] = 1000 * raw + (np.cumsum(present) - 1)[objects]
    return instance_ids


def _segments(panoptic_ids: NDArray[np.int32]) -> list[dict[str, Any]]:
    """COCO's record of each segment: id, category, area in pixels, box as (x, y, width, height)."""
    areas = np.bincount(panoptic_ids.ravel())
    found = np.flatnonzero(areas)
    place = np.zeros(len(areas), np.int32)
    place[found] = np.arange(len(found))
    rank = place[panoptic_ids]
    (y, y_end), (x, x_end) = (_extent(rank, len(found), axis) for axis in (0, 1))
    boxes = np.stack([x, y, x_end - x, y_end - y], 1).tolist()
    return [
        {
            "id": segment,
            "category_id": segment // 1000 if segment >= 1000 else segment,
            "area": area,
            "bbox": box,
            "iscrowd": 0,
        }
        for segment, area, box in zip(found.tolist(), areas[found].tolist(), boxes, strict=True)
        if segment != 0
    ]


def _extent(rank: NDArray[np.int32], count: int, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each of `count` segments its first row (or column) and the one after its last."""
    length = rank.shape[axis]
    position = np.arange(length).reshape((-1, 1) if axis == 0 else (1, -1))
    touched = np.bincount((rank * length + position).ravel(), minlength=count * length).reshape(count, length) > 0
    return touched.argmax(1), length - touched[:, ::-1].argmax(1)


def _write_index(folder: Path, domain: Domain, records: list[dict[str, Any]]) -> None:
    """The files that describe the dataset as a whole."""
    if domain.masks == "cityscapes":
        for split in _CITIES:
            chosen = [record for record in records if record["split"] == split]
            panoptic = {
                "images": [record["image"] for record in chosen],
                "annotations": [record["annotation"] for record in chosen],
                "categories": _categories(domain),
            }
            (folder / f"gtFine/cityscapes_panoptic_{split}.json").write_text(json.dumps(panoptic))
    else:
        (folder / "dataset.yaml").write_text(dataset_yaml(domain))


def _categories(domain: Domain) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.raw_ids[0],
            "name": entry.name,
            "supercategory": "thing" if entry.thing else "stuff",
            "color": list(entry.color),
            "isthing": int(entry.thing),
        }
        for entry in domain.label_space.classes
    ]


def dataset_yaml(domain: Domain) -> str:
    """The description of a dataset in the `folder` layout."""
    colors = domain.masks == "colors"
    classes = []
    for entry in domain.label_space.classes:
        described = {"name": entry.name, "color": list(entry.color), "thing": entry.thing}
        classes.append(described if colors else {"id": entry.raw_ids[0], **described})
    ignored = np.array(domain.label_space.ignore_ids, np.int32)
    description = {
        "name": domain.name,
        "classes": classes,
        "ignore": (unpack_colors(ignored) if colors else ignored).tolist(),
        "encoding": "colors" if colors else "ids",
        "splits": {split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in _CITIES},
        "license": "CC0-1.0",
    }
    return yaml.safe_dump(description, sort_keys=False, default_flow_style=None, width=120)


def _save_png(path: Path, image: Image.Image) -> None:
    # run lengths alone: smaller and faster than matching strings, for flat masks and for noisy photographs
    _save(path, image, compress_level=1, compress_type=zlib.Z_RLE)


def _save(path: Path, image: Image.Image, **options: int) -> None:
    # one write of a whole file: Pillow itself writes a PNG in many small pieces
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", **options)
    path.write_bytes(buffer.getbuffer())
