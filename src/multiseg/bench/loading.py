"""Reading and augmenting an image with its mask, against pipelines of torchvision and albumentations doing the same."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from multiseg.bench.base import Comparison, one_thread
from multiseg.datasets.base import StoredImage, read_mask
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.transforms import Pipeline, seeded

_CLASSES = 19
_SPACE = LabelSpace("bench", tuple(LabelClass(str(i), (i,), (i, i, i)) for i in range(_CLASSES)), (255,))
Pair = tuple[Tensor, Tensor]
#: Image and mask file to crops of both.
Load = Callable[[Path, Path], Pair]


#: Evenly over 0.5 to 2, the same for all sides: what a load costs depends on little else.
_SCALES = tuple(0.5 + 1.5 * (step + 0.5) / 16 for step in range(16))
_CROP = (512, 512)


def comparisons() -> list[Comparison]:
    """A large PNG and a small JPEG, cut to 512×512 at sixteen scales, mirrored half of the time; one thread."""
    folder = Path(tempfile.mkdtemp(prefix="multiseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    jobs = [("loading_png", (1024, 2048), "png"), ("loading_jpeg", (480, 640), "jpg")]
    return [_comparison(name, size, ending, folder) for name, size, ending in jobs]


def _comparison(name: str, size: tuple[int, int], ending: str, folder: Path) -> Comparison:
    files = _write_files(folder, size, ending)
    peers = {
        "torchvision v2": partial(_over_scales, partial(_with_torchvision, size), files),
        "albumentations": partial(_over_scales, _with_albumentations, files),
    }
    if ending == "png":
        peers["albumentations, cropping before it scales"] = partial(_over_scales, _cropping_first, files)
    return Comparison(
        name,
        f"decode, scale 0.5-2, crop {_CROP[0]}, flip: {len(_SCALES)} times {size[1]}×{size[0]} {ending} and mask, "
        "one thread",
        partial(_over_scales, _with_multiseg, files),
        peers,
        _alike,
        goal=3.0 if ending == "png" else 1.0,
        goal_peer="torchvision v2",
        images=len(_SCALES),
        repeats=9,
    )


def _over_scales(pipeline_at: Callable[[float], Load], files: tuple[Path, Path]) -> list[Pair]:
    """A load at each scale in one thread, as in a loading worker; the crops of every turn are the same."""
    pipelines = _built(pipeline_at)
    pairs = []
    with one_thread():
        for seed, load in enumerate(pipelines):
            with seeded(seed):
                pairs.append(load(*files))
    return pairs


@cache
def _built(pipeline_at: Callable[[float], Load]) -> list[Load]:
    return [pipeline_at(scale) for scale in _SCALES]


def _with_multiseg(scale: float) -> Load:
    pipeline = Pipeline(long_side=None, crop=_CROP, scale=(scale, scale), max_class_share=1.0, jitter=()).training()

    def load(image_path: Path, mask_path: Path) -> Pair:
        labels = tv_tensors.Mask(torch.from_numpy(_SPACE.from_raw(read_mask(mask_path, as_colors=False))))
        image, target = pipeline(StoredImage(image_path), labels)
        return image, target

    return load


def _with_torchvision(size: tuple[int, int], scale: float) -> Load:
    pipeline = v2.Compose(
        [
            v2.Resize([round(length * scale) for length in size]),
            v2.RandomCrop(_CROP, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}),
            v2.RandomHorizontalFlip(),
        ]
    )

    def load(image_path: Path, mask_path: Path) -> Pair:
        image = tv_tensors.Image(decode_image(str(image_path), mode=ImageReadMode.RGB))
        raw = tv_tensors.Mask(decode_image(str(mask_path), mode=ImageReadMode.UNCHANGED))
        image, target = pipeline(image, raw)
        return image, _ids_to_labels(target[0])

    return load


def _with_albumentations(scale: float) -> Load:
    """By OpenCV's bilinear resize, which unlike the others' does not smooth what it shrinks, and so has less to do."""
    return _albumentations(
        lambda a: [
            a.RandomScale((scale - 1, scale - 1), p=1),
            a.RandomCrop(*_CROP, pad_if_needed=True, fill=0, fill_mask=255),
        ]
    )


def _cropping_first(scale: float) -> Load:
    height = round(_CROP[0] / scale)
    return _albumentations(lambda a: [a.RandomSizedCrop((height, height), _CROP, p=1)])


def _albumentations(cutting: Callable[[Any], list[Any]]) -> Load:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or else it asks the network for its newest version
    import albumentations
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(1)
    pipeline = albumentations.Compose([*cutting(albumentations), albumentations.HorizontalFlip(), ToTensorV2()])

    def load(image_path: Path, mask_path: Path) -> Pair:
        pipeline.set_random_seed(0)
        image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
        made = pipeline(image=image, mask=cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED))
        return made["image"], _ids_to_labels(made["mask"])

    return load


def _alike(ours: list[Pair], theirs: list[Pair]) -> bool:
    """The crops differ by chance; their sizes, types and the share of labelled pixels must not."""
    for (image, labels), (other, other_labels) in zip(ours, theirs, strict=True):
        if image.shape != other.shape or image.dtype != other.dtype or labels.shape != other_labels.shape:
            return False
    labelled = [np.mean([float((pair[1] != IGNORE).float().mean()) for pair in pairs]) for pairs in (ours, theirs)]
    return bool(abs(labelled[0] - labelled[1]) < 0.2)


def _ids_to_labels(raw: Tensor) -> Tensor:
    return torch.where(raw == 255, IGNORE, raw.to(torch.int16))


def _write_files(folder: Path, size: tuple[int, int], ending: str) -> tuple[Path, Path]:
    """A picture of blurred noise and a mask of blocks. The PNG has 2.6 MB; those of Cityscapes have 2.2 on average."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (size[0] // 32, size[1] // 32, 3), np.uint8))
    smooth = np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)).astype(np.int16)
    picture = (smooth + random.integers(-1, 2, (*size, 3))).clip(0, 255).astype(np.uint8)
    blocks = random.integers(0, _CLASSES, (size[0] // 32, size[1] // 32), np.uint8)
    image_path, mask_path = folder / f"{size[1]}.{ending}", folder / f"{size[1]}_mask.png"
    Image.fromarray(picture).save(image_path)
    Image.fromarray(blocks.repeat(32, 0).repeat(32, 1)).save(mask_path)
    return image_path, mask_path
