"""Triplet ranking against a loop, its gradient, and the paper's margin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multiseg.losses.base import Triplets
from multiseg.losses.triplet_ranking import triplet_ranking


def some(seed: int = 0, nodes: int = 12, count: int = 9) -> tuple[Tensor, Triplets]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(nodes, 5, generator=generator, dtype=torch.float64)  # not negative, as after a ReLU
    return features, Triplets(*torch.randint(nodes, (3, count), generator=generator))


def naive(features: Tensor, triplets: Triplets, margin: float) -> Tensor:
    """Eqs. 1 and 2, triplet by triplet."""
    total = torch.zeros((), dtype=torch.float64)
    for a, p, n in zip(*triplets, strict=True):
        x = [features[i] / features[i].norm() for i in (a, p, n)]
        near, far = (((x[0] - other) ** 2).sum() for other in x[1:])
        total = total + max(near - far + margin, torch.zeros((), dtype=torch.float64))
    return total / len(triplets.anchors)


@pytest.mark.parametrize("margin", [0.05, 0.5, 2.1])
def test_loss_and_gradient_are_those_of_the_equations(margin: float) -> None:
    features, triplets = some()
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    ranking, expected = triplet_ranking(ours, triplets, margin), naive(theirs, triplets, margin)
    ranking.loss.backward()
    expected.backward()
    torch.testing.assert_close(ranking.loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_with_the_papers_margin_the_loss_is_linear_after_a_relu() -> None:
    """D is at most 2 there, so the hinge of 2.1 never closes, however well apart: L is α + mean(D_ap - D_an)."""
    for seed in range(20):
        ranking = triplet_ranking(*some(seed), 2.1)
        torch.testing.assert_close(ranking.loss, 2.1 - ranking.apart)
    perfect = torch.eye(4)
    triplets = Triplets(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([1, 0]))
    assert triplet_ranking(perfect, triplets, 2.1).loss == pytest.approx(0.1)
    assert triplet_ranking(perfect, triplets, 0.5).loss == 0


def test_length_does_not_matter() -> None:
    features, triplets = some()
    torch.testing.assert_close(
        triplet_ranking(features * torch.rand(12, 1) * 9 + 0, triplets, 2.1).loss,
        triplet_ranking(features, triplets, 2.1).loss,
    )


def test_ordered_counts_triplets_the_right_way_round() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    triplets = Triplets(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([2, 1]))
    ranking = triplet_ranking(features, triplets, 2.1)
    assert ranking.ordered == 0.5 and abs(float(ranking.apart)) < 1e-6


def test_without_triplets_the_loss_is_zero_and_on_the_graph() -> None:
    features = torch.rand(4, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    ranking = triplet_ranking(features, Triplets(none, none, none), 2.1)
    ranking.loss.backward()
    assert ranking.loss == 0 and ranking.ordered == 0 and (features.grad == 0).all()


def test_half_precision_and_a_feature_of_zeros() -> None:
    features, triplets = some()
    features[3] = 0
    half = features.bfloat16().requires_grad_()
    ranking = triplet_ranking(half, triplets, 2.1)
    ranking.loss.backward()
    assert ranking.loss.dtype == torch.float32 and torch.isfinite(half.grad).all()
