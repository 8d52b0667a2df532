"""Patches of images: their classes, their overlaps, and images that have few of them to give."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from multiseg.batch import Sample
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.patches import Box, PatchPlan
from multiseg.loading.transforms import seeded

SPACE = LabelSpace(
    "voc",
    tuple(LabelClass(name, (number,), (number, 0, 0)) for number, name in enumerate(["background", "cat", "dog"])),
)


def sample(height: int = 120, width: int = 160, ignored: float = 0.1, seed: int = 0) -> Sample:
    """Labels in blocks of eight pixels; the image shows each pixel's label in red and its place in green and blue."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 3, (-(-height // 8), -(-width // 8)), generator=generator)
    blocks[torch.rand(blocks.shape, generator=generator) < ignored] = IGNORE
    labels = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].short()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([(labels + 1) * 60, y, x]).to(torch.uint8)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), SPACE, "blocks")


def overlap(box: Box, before: list[Box], shape: tuple[int, ...]) -> float:
    covered = np.zeros(shape, bool)
    for other in before:
        covered[other.top : other.top + other.side, other.left : other.left + other.side] = True
    return float(covered[box.top : box.top + box.side, box.left : box.left + box.side].mean())


def drawn(plan: PatchPlan, image: Sample, seed: int = 0, long_side: int | None = None) -> list[Box]:
    with seeded(seed):
        return plan.draw(image, long_side)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_keep_to_the_rules(seed: int) -> None:
    plan, image = PatchPlan(per_image=6, size=(16, 16), sides=(15, 41), max_overlap=0.4), sample(seed=seed)
    boxes = drawn(plan, image, seed)
    assert len(boxes) == 6
    for number, box in enumerate(boxes):
        assert box.side % 2 == 0 and 16 <= box.side <= 40
        assert 0 <= box.top <= 120 - box.side and 0 <= box.left <= 160 - box.side
        assert box.label == int(image.labels[box.top + box.side // 2, box.left + box.side // 2]) != IGNORE
        assert overlap(box, boxes[:number], (120, 160)) <= 0.4
    assert boxes == drawn(plan, image, seed) != drawn(plan, image, seed + 1)


def test_sides_are_uniform_over_the_even_numbers() -> None:
    plan, image = PatchPlan(per_image=50, sides=(20, 26), max_overlap=1.0), sample(ignored=0)
    sides = [box.side for seed in range(30) for box in drawn(plan, image, seed)]
    counts = {side: sides.count(side) / len(sides) for side in set(sides)}
    assert set(counts) == {20, 22, 24, 26} and all(abs(share - 0.25) < 0.05 for share in counts.values())


def test_the_patch_is_what_the_box_shows() -> None:
    plan, image = PatchPlan(per_image=5, size=(32, 32), sides=(32, 32), flip=0.0), sample()
    boxes = drawn(plan, image, 4)
    with seeded(4):
        patches = plan.cut(image)
    assert patches.images.shape == (5, 3, 32, 32) and patches.images.dtype == torch.uint8
    assert patches.labels.tolist() == [box.label for box in boxes]
    for patch, box in zip(patches.images, boxes, strict=True):
        assert torch.equal(
            patch, image.image[:, box.top : box.top + 32, box.left : box.left + 32].as_subclass(torch.Tensor)
        )
        assert int(patch[0, 16, 16]) == (box.label + 1) * 60, "the central pixel is of the patch's class"
    assert patches.lots.shape == (5, 3) and patches.lots.min() >= 0 and patches.lots.max() < 1


def test_flip_mirrors_all_patches() -> None:
    image = sample()
    with seeded(1):
        plain = PatchPlan(per_image=3, sides=(40, 60), flip=0.0).cut(image)
    with seeded(1):
        mirrored = PatchPlan(per_image=3, sides=(40, 60), flip=1.0).cut(image)
    assert torch.equal(plain.images.flip(-1), mirrored.images) and torch.equal(plain.labels, mirrored.labels)


def test_sides_follow_the_long_side_of_the_dataset() -> None:
    plan = PatchPlan(per_image=20, sides=(16, 16), max_overlap=1.0)
    assert {box.side for box in drawn(plan, sample(), long_side=80)} == {32}
    assert {box.side for box in drawn(plan, sample(), long_side=320)} == {8}
    assert {box.side for box in drawn(replace(plan, sides=(500, 600)), sample())} == {120}, "the image is the limit"


def test_crop_keeps_patches_within_a_square() -> None:
    plan = PatchPlan(per_image=10, sides=(8, 20), crop=40, max_overlap=1.0)
    spans = []
    for seed in range(20):
        boxes = drawn(plan, sample(), seed)
        for start in ("top", "left"):
            first = min(getattr(box, start) for box in boxes)
            spans.append(max(getattr(box, start) + box.side for box in boxes) - first)
    assert max(spans) <= 40 and max(spans) > 30


def test_where_all_overlap_refused_ones_fill_up() -> None:
    boxes = drawn(PatchPlan(per_image=10, sides=(100, 120), max_overlap=0.1), sample())
    assert len(boxes) == 10 and overlap(boxes[1], boxes[:1], (120, 160)) > 0.1


def test_background_has_its_share_and_may_overlap() -> None:
    plan = PatchPlan(per_image=10, sides=(20, 30), background=2, max_overlap=0.5)
    for seed in range(5):
        boxes = drawn(plan, sample(seed=seed), seed)
        assert [box.label for box in boxes].count(0) == 2
        foreground = [box for box in boxes if box.label]
        assert all(overlap(box, foreground[:n], (120, 160)) <= 0.5 for n, box in enumerate(foreground))
    one = replace(sample(), labels=tv_tensors.Mask(torch.full((120, 160), 1, dtype=torch.int16)))
    assert [box.label for box in drawn(plan, one)] == [1] * 10, "what an image lacks, others fill"
    elsewhere = replace(plan, background_class="nothing of the kind")
    assert len({[box.label for box in drawn(elsewhere, sample(), seed)].count(0) for seed in range(8)}) > 1


def test_few_labelled_pixels_are_found() -> None:
    labels = torch.full((120, 160), IGNORE, dtype=torch.int16)
    labels[60, 81] = 2
    image = replace(sample(), labels=tv_tensors.Mask(labels))
    assert [box.label for box in drawn(PatchPlan(per_image=4, sides=(20, 40)), image)] == [2] * 4


def test_an_image_without_labels_yields_patches_without_any() -> None:
    image = replace(sample(), labels=tv_tensors.Mask(torch.full((120, 160), IGNORE, dtype=torch.int16)))
    with seeded(0):
        patches = PatchPlan(per_image=3, size=(8, 8), sides=(20, 40)).cut(image)
    assert patches.labels.tolist() == [IGNORE] * 3 and patches.images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 200), (9, 7)])
def test_images_of_any_size(height: int, width: int) -> None:
    with seeded(0):
        patches = PatchPlan(per_image=4, size=(8, 8)).cut(sample(height, width, ignored=0), None, 300)
    assert patches.images.shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_image": 0}, "patches.per_image must be at least 1"),
        ({"sides": (40, 20)}, "patches.sides"),
        ({"size": (0, 8)}, "patches.size"),
        ({"crop": 1}, "patches.crop"),
        ({"max_overlap": 1.5}, "patches.max_overlap must lie in 0 to 1"),
        ({"background": 11}, "patches.background must be 0 to patches.per_image"),
        ({"jitter": (0.4,)}, "patches.jitter"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        PatchPlan(**settings)


@pytest.mark.real_data
@pytest.mark.skipif("MULTISEG_DATA" not in os.environ, reason="MULTISEG_DATA names no folder of real datasets")
@pytest.mark.parametrize("reader", ["camvid", "idd_lite", "labelmefacade_swapped"])
def test_boxes_on_real_images_keep_to_the_rules(reader: str) -> None:
    root = Path(os.environ["MULTISEG_DATA"]) / reader.removesuffix("_swapped")
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    dataset, plan = find_reader(reader)(root, "train"), PatchPlan(sides=(16, 48))
    for index in range(0, len(dataset), len(dataset) // 5):
        image = dataset[index]
        boxes = drawn(plan, image, index, long_side=240)
        assert len(boxes) == 10
        for number, box in enumerate(boxes):
            assert box.label == int(image.labels[box.top + box.side // 2, box.left + box.side // 2]) != IGNORE
            assert overlap(box, boxes[:number], tuple(image.labels.shape)) <= 0.6
