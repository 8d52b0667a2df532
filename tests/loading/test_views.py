"""Views of images: aligned with their labels, of the right size, reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from multiseg.batch import Sample, collate_views
from multiseg.datasets import find_reader
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.loading.datamodule import DrawnCuts
from multiseg.loading.mixing import Mixing
from multiseg.loading.sampling import Draw, Mixed, PlannedSampler
from multiseg.loading.transforms import seeded
from multiseg.loading.views import ViewPlan, _Blur
from tiny_methods import TOWN

GEOMETRY: dict[str, Any] = {"jitter_probability": 0.0, "gray": 0.0, "blur": 0.0}


def stripes(height: int = 96, width: int = 128) -> Sample:
    """A chessboard of labels 0 and 1; the image shows the label in its brightness."""
    y, x = torch.meshgrid(torch.arange(height) // 24, torch.arange(width) // 32, indexing="ij")
    labels = ((y + x) % 2).short()
    image = (labels * 200).to(torch.uint8).expand(3, -1, -1).contiguous()
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), TOWN, "stripes")


def test_labels_follow_the_geometry() -> None:
    plan = ViewPlan(size=(48, 80), **GEOMETRY)
    for seed in range(30):
        with seeded(seed):
            views = plan.cut(stripes(), None)
        for view in (views.first, views.second):
            assert view.image.shape == (3, 48, 80) and view.labels.shape == (48, 80)
            seen = view.image[0].float() / 200
            right = (seen - view.labels).abs() < 0.5
            assert right.float().mean() > 0.99  # both choose by the nearer of two centres at an edge


def test_photometry_leaves_labels_alone() -> None:
    loud = ViewPlan(size=(48, 64), jitter_probability=1.0, gray=1.0, blur=1.0)
    quiet = ViewPlan(size=(48, 64), **GEOMETRY)
    with seeded(3):
        changed = loud.transform()(stripes().image, stripes().labels)
    with seeded(3):
        plain = quiet.transform()(stripes().image, stripes().labels)
    assert torch.equal(changed[1], plain[1]) and not torch.equal(changed[0], plain[0])
    assert (changed[0][0] == changed[0][1]).all(), "grey"


def test_ignored_pixels_stay_ignored() -> None:
    sample = stripes()
    sample.labels[:, 64:] = IGNORE
    with seeded(1):
        view = ViewPlan(size=(48, 64), scale=(1, 1), ratio=(1, 1), flip=0.0, **GEOMETRY).cut(sample, None).first
    assert (view.labels[:, 33:] == IGNORE).all() and (view.labels[:, :31] != IGNORE).all()


def test_views_show_the_shares_asked_for() -> None:
    """Of a ramp the area shown can be read off."""
    ramp = torch.arange(200, dtype=torch.float32)
    image = torch.stack([ramp.expand(200, -1), ramp[:, None].expand(-1, 200), torch.zeros(200, 200)]).to(torch.uint8)
    sample = Sample(tv_tensors.Image(image), tv_tensors.Mask(torch.zeros(200, 200, dtype=torch.int16)), TOWN, "ramp")
    plan = ViewPlan(size=(100, 100), scale=(0.2, 0.4), flip=0.0, **GEOMETRY)
    areas = []
    for seed in range(60):
        with seeded(seed):
            view = plan.cut(sample, None).first.image.float()
        width, height = (view[c].max() - view[c].min() + 2 for c in (0, 1))
        areas.append(float(width * height) / 200**2)
        assert 0.6 < width / height < 1.6
    assert 0.17 < min(areas) < 0.25 and 0.35 < max(areas) < 0.43


def test_both_views_differ_and_a_seed_repeats_them() -> None:
    plan, made = ViewPlan(size=(48, 64), mixing=Mixing()), []
    for _ in range(2):
        with seeded(9):
            made.append(plan.cut(stripes(), stripes()))
    assert torch.equal(made[0].first.image, made[1].first.image)
    assert made[0].mixed is not None and torch.equal(made[0].mixed.image, made[1].mixed.image)
    assert not torch.equal(made[0].first.image, made[0].second.image)


def test_the_blur_is_torchvisions() -> None:
    image = tv_tensors.Image(torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8))
    mask = tv_tensors.Mask(torch.randint(0, 5, (40, 50), dtype=torch.int16))
    for seed in range(5):
        with seeded(seed):
            ours, labels = _Blur(13, (0.1, 2.0))(image, mask)
        with seeded(seed):
            theirs, _ = v2.GaussianBlur(13, (0.1, 2.0))(image, mask)
        assert (ours.int() - theirs.int()).abs().max() <= 1 and torch.equal(labels, mask)


def test_images_are_read_once_a_batch_and_mixed_with_their_partners(data_roots: dict[str, Path]) -> None:
    datasets = [find_reader("folder")(data_roots[name], "train") for name in ("town", "park")]
    reads: list[tuple[str, int]] = []

    class Counting:
        def __init__(self, place: int) -> None:
            self.place = place

        def __getitem__(self, index: int) -> Sample:
            reads.append((str(self.place), index))
            return datasets[self.place][index]

    sampler = PlannedSampler(Mixed(), {"town": 9, "park": 5}, 6, seed=0, start=0, stop=5, pairs=True)
    source = DrawnCuts([Counting(0), Counting(1)], ViewPlan(size=(32, 48), mixing=Mixing()), [None, None])  # type: ignore[list-item]
    for draws in sampler:
        reads.clear()
        batch = collate_views(source.__getitems__(draws))
        assert len(reads) == len(set(reads)) == len({draw[:2] for draw in draws})
        assert batch.mixed is not None
        names = [("town", "park")[draw.dataset] for draw in draws]
        partners = [("town", "park")[draw.partner[0]] for draw in draws if draw.partner]
        assert [space.name for space in batch.mixed.spaces[0]] == names == [s.name for s in batch.first.spaces]
        assert [space.name for space in batch.mixed.spaces[1]] == partners
        alone = collate_views([source[draw] for draw in draws])
        assert torch.equal(alone.first.images, batch.first.images)
        assert alone.mixed is not None and torch.equal(alone.mixed.images, batch.mixed.images)


def test_without_mixing_there_is_no_third_view(data_roots: dict[str, Path]) -> None:
    dataset = find_reader("folder")(data_roots["town"], "train")
    assert DrawnCuts([dataset], ViewPlan(size=(32, 48)), [None])[Draw(0, 0, 1)].mixed is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (0, 10)}, "views.size"),
        ({"scale": (0.5, 1.5)}, "views.scale"),
        ({"ratio": (2.0, 1.0)}, "views.ratio"),
        ({"blur_sigma": (0.0, 1.0)}, "views.blur_sigma"),
        ({"flip": 2.0}, "views.flip is a probability"),
    ],
)
def test_impossible_views_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        ViewPlan(**wrong)


def test_tensors_are_plain_enough_to_collate() -> None:
    batch = collate_views([ViewPlan(size=(16, 16)).cut(stripes(), None)])
    assert type(batch.first.images) is Tensor and batch.first.images.shape == (1, 3, 16, 16)
