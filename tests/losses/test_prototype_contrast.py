"""Eqs. 4, 7 and 8 of MDP against loops over pixels in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import naive_mdp as naive
from multiseg.losses.base import Prototypes, partition
from multiseg.losses.prototype_contrast import SparseCoding, confident_classes, prototype_contrast
from naive_mdp import IGNORE, make_labels, make_view

TAU = 0.07
K = 9  # of which 0..3 are in the labels


def make_prototypes(unknown: tuple[int, ...] = (3, 6)) -> Prototypes:
    generator = torch.Generator().manual_seed(7)
    known = torch.ones(K, dtype=torch.bool)
    known[list(unknown)] = False
    classes = F.normalize(torch.randn(K, 6, generator=generator, dtype=torch.float64), dim=1)
    classes = classes.masked_fill(~known[:, None], 0)
    return Prototypes(classes, known, classes, known)


def make_regions() -> tuple[Prototypes, list[tuple[int, Tensor]]]:
    """Several embeddings a class, as of the region bank."""
    generator = torch.Generator().manual_seed(8)
    classes = torch.tensor([0, 1, 1, 2, 2, 2, 4, 5, 5])
    entries = F.normalize(torch.randn(9, 6, generator=generator, dtype=torch.float64), dim=1)
    counts = torch.bincount(classes, minlength=K)
    means = torch.zeros(K, 6, dtype=torch.float64).index_add_(0, classes, entries) / counts.clamp(min=1)[:, None]
    prototypes = Prototypes(means, counts > 0, entries, torch.ones(9, dtype=torch.bool))
    return prototypes, list(zip(classes.tolist(), entries, strict=True))


def listed(prototypes: Prototypes) -> list[tuple[int, Tensor]]:
    return [(y, p) for y, p in enumerate(prototypes.classes) if prototypes.known[y]]


CODINGS = {
    "hard": None,
    "sparse": SparseCoding(alpha=0.5, count=3),
    "by class": SparseCoding(alpha=0.3, count=2, neighbours="class"),
    "more than there are": SparseCoding(alpha=0.5, count=50),
}


def naive_options(coding: SparseCoding | None) -> dict[str, object]:
    if coding is None:
        return {}
    return {"alpha": coding.alpha, "neighbours": coding.count, "by_class": coding.neighbours == "class"}


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("block", [1, 13, 2**20])
def test_value_and_gradient(monkeypatch: pytest.MonkeyPatch, coding: SparseCoding | None, block: int) -> None:
    monkeypatch.setitem(partition._BLOCK, "cpu", block)
    f, labels, prototypes = make_view(0).requires_grad_(), make_labels(0), make_prototypes()
    loss = prototype_contrast(f, labels, prototypes, TAU, IGNORE, coding)
    wanted, weight = naive.prototype_contrast(f, labels, listed(prototypes), TAU, **naive_options(coding))
    torch.testing.assert_close(loss.total, wanted)
    assert loss.weight == weight
    torch.testing.assert_close(*(torch.autograd.grad(value, f)[0] for value in (loss.total, wanted)))


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_every_stored_embedding_of_the_class_is_a_positive(coding: SparseCoding | None) -> None:
    f, labels = make_view(0).requires_grad_(), make_labels(0)
    prototypes, entries = make_regions()
    loss = prototype_contrast(f, labels, prototypes, TAU, IGNORE, coding)
    wanted, weight = naive.prototype_contrast(f, labels, entries, TAU, **naive_options(coding))
    torch.testing.assert_close(loss.total, wanted)
    assert loss.weight == weight
    torch.testing.assert_close(*(torch.autograd.grad(value, f)[0] for value in (loss.total, wanted)))


def test_mixed_images_weigh_each_of_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eq. 7: λ L(x, y_i) + (1 - λ) L(x, y_j)."""
    f, prototypes, share = make_view(0), make_prototypes(unknown=()), torch.tensor([0.3, 0.8])
    first, second = make_labels(0).clamp(min=0), make_labels(5).clamp(min=0)
    parts = [
        prototype_contrast(f, labels, prototypes, TAU, IGNORE, shares=weights)
        for labels, weights in ((first, share), (second, 1 - share))
    ]
    mean = (parts[0].total + parts[1].total) / (parts[0].weight + parts[1].weight)
    naive_parts = [
        naive.prototype_contrast(f[[i]], labels[[i]], listed(prototypes), TAU)[0] * weights[i]
        for labels, weights in ((first, share), (second, 1 - share))
        for i in range(2)
    ]
    torch.testing.assert_close(mean, torch.stack(naive_parts).sum() / first.numel())


def test_it_is_the_cross_entropy_of_similarities() -> None:
    """Against torch, where every class is known."""
    f, labels, prototypes = make_view(0), make_labels(0), make_prototypes(unknown=())
    logits = torch.einsum("bdhw,kd->bkhw", f, prototypes.classes) / TAU
    wanted = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(prototype_contrast(f, labels, prototypes, TAU, IGNORE).mean, wanted)


def test_a_class_never_seen_is_no_negative_and_no_target() -> None:
    f, labels, prototypes = make_view(0).requires_grad_(), make_labels(0), make_prototypes(unknown=(2, 8))
    loss = prototype_contrast(f, labels, prototypes, TAU, IGNORE, SparseCoding())
    (gradient,) = torch.autograd.grad(loss.total, f)
    assert (gradient.movedim(1, -1)[(labels == 2) | (labels == IGNORE)] == 0).all()
    moved = prototypes.classes.clone()
    moved[[2, 8]] = 5.0
    again = prototype_contrast(f, labels, Prototypes(moved, prototypes.known, moved, prototypes.known), TAU, IGNORE)
    torch.testing.assert_close(again.total, prototype_contrast(f, labels, prototypes, TAU, IGNORE).total)


def test_a_single_class_has_nothing_to_be_told_apart_from() -> None:
    f = make_view(0).requires_grad_()
    prototypes = make_prototypes(unknown=(0, 2, 3, 4, 5, 6, 7, 8))
    for coding in (None, SparseCoding()):
        loss = prototype_contrast(f, torch.ones(2, 4, 5, dtype=torch.int64), prototypes, TAU, IGNORE, coding)
        (gradient,) = torch.autograd.grad(loss.total, f)
        torch.testing.assert_close(loss.total.detach(), torch.zeros((), dtype=torch.float64))
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("case", ["ignored", "nothing known", "no image"])
def test_nothing_to_learn_is_zero_on_the_graph(coding: SparseCoding | None, case: str) -> None:
    f, labels, prototypes = make_view(0).requires_grad_(), make_labels(0), make_prototypes()
    if case == "ignored":
        labels = torch.full_like(labels, IGNORE)
    elif case == "nothing known":
        prototypes = make_prototypes(tuple(range(K)))
    else:
        f, labels = f[:0], labels[:0]
    loss = prototype_contrast(f, labels, prototypes, TAU, IGNORE, coding)
    (gradient,) = torch.autograd.grad(loss.mean, f)
    assert loss.total == 0 and loss.weight == 0 and (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    f, labels, prototypes = make_view(0).to(dtype).requires_grad_(), make_labels(0), make_prototypes()
    single = Prototypes(*(t.float() if t.is_floating_point() else t for t in prototypes))
    coding = SparseCoding(count=3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = prototype_contrast(f, labels, single, TAU, IGNORE, coding)
    wanted, _ = naive.prototype_contrast(f, labels, listed(prototypes), TAU, alpha=0.5, neighbours=3)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total.double(), wanted, rtol=1e-5, atol=1e-3)
    (gradient,) = torch.autograd.grad(loss.total, f)
    assert gradient.dtype == dtype and torch.isfinite(gradient).all()


def test_no_gradient_reaches_the_prototypes() -> None:
    f, prototypes = make_view(0).requires_grad_(), make_prototypes()
    prototypes.classes.requires_grad_()
    prototype_contrast(f, make_labels(0), prototypes, TAU, IGNORE, SparseCoding()).total.backward()
    assert prototypes.classes.grad is None


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.5}, {"count": 0}])
def test_impossible_codes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sparse coding"):
        SparseCoding(**wrong)  # type: ignore[arg-type]


def test_the_confident_take_the_nearest_class() -> None:
    prototypes = make_prototypes()
    f = make_view(2, images=3)
    probabilities = (
        (torch.einsum("bdhw,kd->bkhw", f, prototypes.classes) / TAU)
        .masked_fill(~prototypes.known[:, None, None], -torch.inf)
        .softmax(1)
    )
    best, nearest = probabilities.max(1)
    for threshold in (0.0, 0.5, 0.9):
        found = confident_classes(f, prototypes, TAU, threshold)
        assert torch.equal(found, nearest.where(best >= threshold, -1))
    assert (confident_classes(f, prototypes, TAU, 1.1) == -1).all()
    assert (confident_classes(f, make_prototypes(tuple(range(K))), TAU, 0.0) == -1).all()
