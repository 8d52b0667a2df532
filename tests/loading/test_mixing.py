"""Two images in one: Eqs. 5 and 6 of MDP, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from multiseg.batch import Sample, Views, collate_views
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.loading.mixing import Mixing, draw_box, mix_pixels, mix_regions
from multiseg.loading.transforms import seeded
from tiny_methods import PARK, TOWN, make_batch


@pytest.fixture
def pair() -> tuple[Sample, Sample]:
    batch = make_batch([TOWN, PARK], (24, 32))
    return tuple(Sample(batch.images[i], batch.labels[i].short(), batch.spaces[i], str(i)) for i in (0, 1))  # type: ignore


def test_a_box_of_the_second_image_lies_in_the_first(pair: tuple[Sample, Sample]) -> None:
    first, second = pair
    mixed = mix_regions(first, second, (5, 17, 20, 31))
    for y in range(24):
        for x in range(32):
            inside = 5 <= y < 17 and 20 <= x < 31
            source = second if inside else first
            assert torch.equal(mixed.image[:, y, x], source.image[:, y, x])
            assert mixed.labels[0, y, x] == (IGNORE if inside else first.labels[y, x])
            assert mixed.labels[1, y, x] == (second.labels[y, x] if inside else IGNORE)
    assert mixed.shares.tolist() == [1, 1] and mixed.spaces == (TOWN, PARK)


def test_pixels_are_weighted_means_with_both_labels(pair: tuple[Sample, Sample]) -> None:
    first, second = pair
    mixed = mix_pixels(first, second, 0.3)
    wanted = 0.3 * first.image.double() + 0.7 * second.image.double()
    assert (mixed.image.double() - wanted).abs().max() <= 0.5 + 1e-3 and mixed.image.dtype == torch.uint8
    assert torch.equal(mixed.labels[0], first.labels) and torch.equal(mixed.labels[1], second.labels)
    assert mixed.shares.tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("share", [0.0, 0.36, 0.75, 1.0])
def test_a_box_has_the_sides_and_centres_of_cutmix(share: float) -> None:
    """Sides W sqrt(1 - λ) and H sqrt(1 - λ), a uniform centre; what lies outside is cut."""
    torch.manual_seed(0)
    boxes = [draw_box(40, 60, share) for _ in range(3000)]
    rows, columns = round(40 * (1 - share) ** 0.5), round(60 * (1 - share) ** 0.5)
    for top, bottom, left, right in boxes:
        assert 0 <= top <= bottom <= 40 and 0 <= left <= right <= 60
        assert bottom - top <= rows and right - left <= columns
        if top > 0 and bottom < 40:
            assert bottom - top == rows
        if left > 0 and right < 60:
            assert right - left == columns
    if share == 0.75:
        centres = torch.tensor([(top + bottom) / 2 for top, bottom, _, _ in boxes if top > 0 and bottom < 40])
        assert centres.min() < 12 and centres.max() > 28 and abs(centres.mean() - 20) < 0.5


def test_shares_are_drawn_from_a_beta_distribution(pair: tuple[Sample, Sample]) -> None:
    torch.manual_seed(0)
    uniform = torch.tensor([float(Mixing("pixel")(*pair).shares[0]) for _ in range(600)])
    extreme = torch.tensor([float(Mixing("pixel", concentration=0.2)(*pair).shares[0]) for _ in range(600)])
    assert abs(uniform.mean() - 0.5) < 0.05 and abs(uniform.var() - 1 / 12) < 0.02
    assert abs(extreme.mean() - 0.5) < 0.07 and abs(extreme.var() - 0.25 / 1.4) < 0.03


def test_both_means_either_by_a_fair_coin(pair: tuple[Sample, Sample]) -> None:
    torch.manual_seed(0)
    boxes = [Mixing("both")(*pair).shares.sum().item() == 2 for _ in range(400)]
    assert 150 < sum(boxes) < 250
    assert all(Mixing("region")(*pair).shares.tolist() == [1, 1] for _ in range(20))
    assert not any(Mixing("pixel")(*pair).shares.tolist() == [1, 1] for _ in range(20))


def test_a_seed_makes_the_same_mixture(pair: tuple[Sample, Sample]) -> None:
    made = []
    for _ in range(2):
        with seeded(5):
            made.append(Mixing()(*pair))
    assert torch.equal(made[0].image, made[1].image) and torch.equal(made[0].labels, made[1].labels)


def test_mixtures_join_a_batch(pair: tuple[Sample, Sample]) -> None:
    first, second = pair
    views = [
        Views(first, second, mix_regions(first, second, (1, 5, 2, 9))),
        Views(second, first, mix_pixels(*pair, 0.2)),
    ]
    batch = collate_views(views)
    assert len(batch) == 2 and batch.first.spaces == (TOWN, PARK) and batch.second.spaces == (PARK, TOWN)
    assert batch.mixed is not None
    assert batch.mixed.images.shape == (2, 3, 24, 32) and batch.mixed.labels.shape == (2, 2, 24, 32)
    assert batch.mixed.spaces == ((TOWN, TOWN), (PARK, PARK))
    for part, (labels, spaces, shares) in enumerate(batch.mixed.to("cpu").parts):
        assert labels.dtype == torch.int64 and labels.shape == (2, 24, 32)
        assert shares.tolist() == pytest.approx([1, (0.2, 0.8)[part]]) and len(spaces) == 2
    assert collate_views([Views(first, second)]).mixed is None


def test_an_impossible_concentration_is_refused() -> None:
    with pytest.raises(MultisegError, match="concentration"):
        Mixing(concentration=0)
