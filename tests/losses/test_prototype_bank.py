"""The banks against a recomputation from the last batches, kept in a list."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import naive_mdp as naive
from multiseg.errors import MultisegError
from multiseg.losses.base import Prototypes, class_means, merge_means
from multiseg.losses.prototype_bank import Bank, ClassBank, RegionBank
from multiseg.losses.prototype_contrast import SparseCoding, prototype_contrast
from naive_mdp import IGNORE, make_labels, make_view

K, D, IMAGES = 5, 6, 2


def batch(seed: int) -> tuple[Tensor, Tensor]:
    return make_view(seed), make_labels(seed)


def packed(bank: Bank, seed: int) -> tuple[Tensor, ...]:
    embeddings, labels = batch(seed)
    return bank.pack(class_means(embeddings, labels, IGNORE), IMAGES)


def regions(seeds: list[int]) -> list[dict[int, Tensor]]:
    """Class embeddings of each image of several batches."""
    return [image for seed in seeds for image in naive.class_embeddings(*batch(seed))]


def assert_prototypes(found: Prototypes, wanted: dict[int, Tensor]) -> None:
    assert set(found.known.nonzero()[:, 0].tolist()) == set(wanted)
    for y, prototype in wanted.items():
        torch.testing.assert_close(found.classes[y].double(), prototype, rtol=1e-5, atol=1e-6)
    assert (found.classes[~found.known] == 0).all()


def test_class_means_of_each_image() -> None:
    embeddings, labels = batch(0)
    found = class_means(embeddings, labels, IGNORE)
    wanted = naive.class_embeddings(embeddings, labels)
    assert list(zip(found.images.tolist(), found.classes.tolist(), strict=True)) == [
        (image, y) for image, own in enumerate(wanted) for y in sorted(own)
    ]
    for image, y, mean, pixels in zip(*found, strict=True):
        torch.testing.assert_close(mean, wanted[image][int(y)])
        assert pixels == (labels[image] == y).sum()


def test_class_means_of_nothing() -> None:
    embeddings, labels = batch(0)
    found = class_means(embeddings, torch.full_like(labels, IGNORE), IGNORE)
    assert len(found.classes) == 0 and found.means.shape == (0, D)
    assert len(merge_means(found, found).classes) == 0


def test_two_views_are_averaged_where_both_show_a_class() -> None:
    one, two = batch(0), batch(1)
    found = merge_means(class_means(*one, IGNORE), class_means(*two, IGNORE))
    first, second = naive.class_embeddings(*one), naive.class_embeddings(*two)
    for image, y, mean, _ in zip(*found, strict=True):
        seen = [view[image][int(y)] for view in (first, second) if int(y) in view[image]]
        torch.testing.assert_close(mean, torch.stack(seen).mean(0))
    assert len(found.classes) == sum(len(a.keys() | b.keys()) for a, b in zip(first, second, strict=True))
    swapped = merge_means(class_means(*two, IGNORE), class_means(*one, IGNORE))
    assert all(torch.equal(a, b) for a, b in zip(found, swapped, strict=True))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_a_class_bank_is_the_mean_over_the_last_batches(normalize: bool, size: int) -> None:
    bank = ClassBank(K, D, batches=size, normalize=normalize)
    for newest in range(8):
        kept = list(range(max(0, newest - size + 1), newest + 1))
        (found,) = bank.with_batch(packed(bank, newest))
        assert_prototypes(found, naive.prototypes(regions(kept), normalize))
        assert torch.equal(found.entries, found.classes) and torch.equal(found.valid, found.known)
        bank.push(packed(bank, newest))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("images", [2, 5, 7])
def test_a_region_bank_holds_every_class_embedding_of_the_last_images(normalize: bool, images: int) -> None:
    bank = RegionBank(K, D, images=images, normalize=normalize)
    for newest in range(8):
        kept = regions(list(range(newest + 1)))[-images:]
        wanted = [(y, F.normalize(p, dim=0) if normalize else p) for image in kept for y, p in image.items()]
        (found,) = bank.with_batch(packed(bank, newest))
        order = [entry[0] for entry in wanted]
        means = {y: torch.stack([p for label, p in wanted if label == y]).mean(0) for y in set(order)}
        assert_prototypes(found, means)
        assert len(found.entries) == len(wanted) and found.valid.all()
        gram = torch.stack([p for _, p in wanted])
        torch.testing.assert_close(
            found.entries.double().T @ found.entries.double(), gram.T @ gram, rtol=1e-5, atol=1e-5
        )
        bank.push(packed(bank, newest))


BANKS: dict[str, Callable[[], Bank]] = {
    "class": lambda: ClassBank(K, D, batches=3),
    "region": lambda: RegionBank(K, D, images=5),
}


@pytest.mark.parametrize("make", BANKS.values(), ids=BANKS)
def test_asking_changes_nothing(make: Callable[[], Bank]) -> None:
    bank = make()
    bank.push(packed(bank, 0))
    before = {name: value.clone() for name, value in bank.state_dict().items()}
    bank.with_batch(packed(bank, 1), packed(bank, 2))
    assert all(torch.equal(value, before[name]) for name, value in bank.state_dict().items())


@pytest.mark.parametrize("make", BANKS.values(), ids=BANKS)
def test_the_state_goes_on_where_it_stood(make: Callable[[], Bank]) -> None:
    bank, other = make(), make()
    for seed in range(4):
        bank.push(packed(bank, seed))
    other.load_state_dict(bank.state_dict())
    for seed in range(4, 7):
        for entry in (bank, other):
            entry.push(packed(entry, seed))
        found = [entry.with_batch(packed(entry, 9))[0] for entry in (bank, other)]
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("make", BANKS.values(), ids=BANKS)
def test_a_class_that_leaves_the_ring_has_no_prototype_any_more(make: Callable[[], Bank]) -> None:
    bank = make()
    bank.push(packed(bank, 0))
    empty = bank.pack(class_means(make_view(0), torch.full((IMAGES, 4, 5), IGNORE), IGNORE), IMAGES)
    for _ in range(4):
        bank.push(empty)
    (found,) = bank.with_batch(empty)
    assert not found.known.any() and not found.valid.any() and len(found.entries)
    loss = prototype_contrast(make_view(1), make_labels(1), found, 0.07, IGNORE, SparseCoding())
    assert loss.total == 0 and loss.weight == 0


def test_counts_are_of_images_not_of_pixels() -> None:
    """A class on one pixel of an image and on all of another has the mean of the two images' embeddings."""
    embeddings = make_view(0)
    labels = torch.ones(IMAGES, 4, 5, dtype=torch.int64)
    labels[0] = 0
    labels[0, 0, 0] = 1
    bank = ClassBank(K, D, batches=2, normalize=False)
    (found,) = bank.with_batch(bank.pack(class_means(embeddings, labels, IGNORE), IMAGES))
    wanted = (embeddings[0, :, 0, 0] + embeddings[1].flatten(1).mean(1)) / 2
    torch.testing.assert_close(found.classes[1].double(), wanted, rtol=1e-5, atol=1e-6)


def test_a_region_bank_smaller_than_the_batch_is_refused() -> None:
    bank = RegionBank(K, D, images=1)
    with pytest.raises(MultisegError, match="cannot hold a batch of 2"):
        bank.with_batch(packed(bank, 0))


@pytest.mark.parametrize("kind", [ClassBank, RegionBank])
def test_an_empty_bank_is_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        kind(K, D, 0)
