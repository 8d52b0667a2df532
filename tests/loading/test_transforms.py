"""Cropping before resizing against resizing before cropping, and what augmentation must never do to labels."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.loading.transforms import Pipeline, RandomScaleCrop, ResizeImage, seeded


def pair(height: int, width: int, classes: int = 4) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """An image whose red channel repeats its labels, in blocks of 24 pixels."""
    labels = torch.arange((height // 24 + 1) * (width // 24 + 1)).view(height // 24 + 1, -1) % classes
    labels = labels.repeat_interleave(24, 0).repeat_interleave(24, 1)[:height, :width]
    return tv_tensors.Image((labels * 60).to(torch.uint8).expand(3, -1, -1)), tv_tensors.Mask(labels.to(torch.int16))


@pytest.mark.parametrize("size", [(60, 80), (33, 47), (200, 300)])
@pytest.mark.parametrize("scale", [(0.3, 0.5), (1.0, 1.0), (1.5, 3.0)])
def test_crops_have_their_size_and_stay_aligned(size: tuple[int, int], scale: tuple[float, float]) -> None:
    image, labels = pair(*size)
    transform = RandomScaleCrop((40, 48), scale)
    for seed in range(5):
        with seeded(seed):
            cropped, target = transform(image, labels)
        assert cropped.shape == (3, 40, 48) and target.shape == (40, 48)
        assert target.dtype == torch.int16 and cropped.dtype == torch.uint8
        shown = target != IGNORE
        assert shown.any() and (cropped[0][~shown] == 0).all()
        same = (cropped[0].int() - target.int() * 60).abs() < 12
        # block borders are blurred by resizing; inside, image and labels must tell the same class
        assert same[shown].float().mean() > 0.7


def test_scale_one_crop_is_an_exact_part_of_the_image() -> None:
    image, labels = pair(60, 80)
    with seeded(1):
        cropped, target = RandomScaleCrop((20, 30))(image, labels)
    found = [
        (y, x)
        for y in range(41)
        for x in range(51)
        if torch.equal(image[:, y : y + 20, x : x + 30], cropped)
        and torch.equal(labels[y : y + 20, x : x + 30], target)
    ]
    assert found


def test_whole_image_equals_a_plain_resize() -> None:
    image, labels = pair(60, 80)
    with seeded(0):
        cropped, _ = RandomScaleCrop((30, 40), (0.5, 0.5))(image, labels)
    assert torch.equal(cropped, F.resize(image, [30, 40], antialias=True))


def test_long_side_sets_the_size_at_scale_one() -> None:
    image, labels = pair(60, 80)
    with seeded(0):
        _, target = RandomScaleCrop((64, 64), long_side=40)(image, labels)
    shown = target != IGNORE
    assert shown[:30, :40].all() and not shown[30:].any() and not shown[:, 40:].any()


def test_a_crop_of_mostly_one_class_is_redrawn() -> None:
    labels = torch.zeros(100, 100, dtype=torch.int16)
    labels[:, 90:] = 1
    image = tv_tensors.Image(torch.zeros(3, 100, 100, dtype=torch.uint8))
    shares = []
    for limit in (1.0, 0.75):
        both = 0
        for seed in range(40):
            with seeded(seed):
                _, target = RandomScaleCrop((20, 20), max_class_share=limit)(image, tv_tensors.Mask(labels))
            both += len(target.unique()) > 1
        shares.append(both)
    assert shares[1] > 2 * shares[0]


def test_evaluation_resizes_the_image_and_leaves_the_labels() -> None:
    image, labels = pair(60, 80)
    resized, same = ResizeImage(40)(image, labels)
    assert resized.shape == (3, 30, 40) and torch.equal(same, labels)


def test_labels_hold_only_their_own_values_after_a_whole_pipeline() -> None:
    image, labels = pair(61, 83)
    training = Pipeline(long_side=50, crop=(33, 35)).training()
    for seed in range(10):
        with seeded(seed):
            _, target = training(image, labels)
        assert set(target.unique().tolist()) <= {IGNORE, 0, 1, 2, 3}


def test_seeded_depends_on_the_seed_alone_and_leaves_the_state() -> None:
    before = torch.get_rng_state()
    with seeded(5):
        first = torch.rand(3)
    torch.rand(10)
    with seeded(5):
        assert torch.equal(first, torch.rand(3))
    torch.set_rng_state(before)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("arguments", [{"jitter": (0.1,)}, {"crop": (0, 4)}, {"scale": (2.0, 1.0)}])
def test_impossible_pipelines_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(MultisegError):
        Pipeline(**arguments)  # type: ignore[arg-type]
