"""Reading and augmenting one image with its mask, against the usual torchvision pipeline doing the same work."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from multiseg.bench.base import Comparison
from multiseg.datasets.base import StoredImage, read_mask
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.transforms import Pipeline, seeded

_CLASSES = 19
_SPACE = LabelSpace("bench", tuple(LabelClass(str(i), (i,), (i, i, i)) for i in range(_CLASSES)), (255,))
Pair = tuple[Tensor, Tensor]


def comparisons() -> list[Comparison]:
    """A large PNG and a small JPEG, cut to 512×512 at a random scale, mirrored half of the time; one thread."""
    folder = Path(tempfile.mkdtemp(prefix="multiseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    jobs = [("loading_png", (1024, 2048), "png"), ("loading_jpeg", (480, 640), "jpg")]
    return [_comparison(name, size, ending, folder) for name, size, ending in jobs]


def _comparison(name: str, size: tuple[int, int], ending: str, folder: Path) -> Comparison:
    image_path, mask_path = _write_files(folder, size, ending)
    pipeline = Pipeline(long_side=None, crop=(512, 512), scale=(0.5, 2.0), max_class_share=1.0, jitter=()).training()
    usual = v2.Compose(
        [
            v2.RandomResize(size[0] // 2, size[0] * 2),  # of the shorter side: the same scales, 0.5 to 2
            v2.RandomCrop((512, 512), pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}),
            v2.RandomHorizontalFlip(),
        ]
    )

    def ours() -> Pair:
        labels = tv_tensors.Mask(torch.from_numpy(_SPACE.from_raw(read_mask(mask_path, as_colors=False))))
        image, target = pipeline(StoredImage(image_path), labels)
        return image, target

    def theirs() -> Pair:
        image = tv_tensors.Image(decode_image(str(image_path), mode=ImageReadMode.RGB))
        raw = tv_tensors.Mask(decode_image(str(mask_path), mode=ImageReadMode.UNCHANGED))
        image, target = usual(image, raw)
        return image, _ids_to_labels(target[0])

    what = f"decode, scale 0.5-2, crop 512, flip: {size[1]}×{size[0]} {ending} and mask, one thread"
    peer = "torchvision v2"
    goal = 3.0 if ending == "png" else 1.0
    return Comparison(name, what, _over_seeds(ours), {peer: _over_seeds(theirs)}, _alike, goal=goal, goal_peer=peer)


def _over_seeds(load: Callable[[], Pair]) -> Callable[[], list[Pair]]:
    """Eight loads in one thread, always of the same random scales, so that every turn is the same work."""

    def run() -> list[Pair]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a loading worker
        try:
            pairs = []
            for seed in range(8):
                with seeded(seed):
                    pairs.append(load())
            return pairs
        finally:
            torch.set_num_threads(threads)

    return run


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
    """A picture of blurred noise, which compresses about as well as a photograph, and a mask of blocks."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)).astype(np.int16)
    picture = (smooth + random.integers(-4, 5, (*size, 3))).clip(0, 255).astype(np.uint8)
    blocks = random.integers(0, _CLASSES, (size[0] // 32, size[1] // 32), np.uint8)
    image_path, mask_path = folder / f"{size[1]}.{ending}", folder / f"{size[1]}_mask.png"
    Image.fromarray(picture).save(image_path)
    Image.fromarray(blocks.repeat(32, 0).repeat(32, 1)).save(mask_path)
    return image_path, mask_path
