"""Partial labels against a loop over pixels in double precision: values, gradients, extremes, nothing labelled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multiseg.losses.cross_entropy import cross_entropy_sum
from multiseg.losses.partial_label import partial_label_sum

IGNORE = -1

#: One class alone, a pair, three, everything; two of the sets share a class.
MEMBERS = torch.tensor([[0, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
SINGLE = torch.tensor([[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]).bool()


def make(dtype: torch.dtype = torch.float32, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 4, (2, 5, 6), generator=generator)
    logits = torch.randn(2, 5, 5, 6, generator=generator) * scale
    return logits.to(dtype).requires_grad_(), labels


def naive(logits: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for image, y, x in (labels != IGNORE).nonzero().tolist():
        scores = logits[image, :, y, x].double()
        chosen = [scores[u] for u in range(len(scores)) if members[labels[image, y, x], u]]
        total = total + torch.logsumexp(scores, 0) - torch.logsumexp(torch.stack(chosen), 0)
    return total


def value_and_gradient(loss: Tensor, logits: Tensor) -> tuple[float, Tensor]:
    (gradient,) = torch.autograd.grad(loss, logits)
    return float(loss.detach()), gradient


@pytest.mark.parametrize("members", [MEMBERS, SINGLE, MEMBERS[[3, 3, 3, 3]]], ids=["mixed", "single", "everything"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient(members: Tensor, memory_format: torch.memory_format) -> None:
    logits, labels = make()
    loss = partial_label_sum(logits.to(memory_format=memory_format), labels, members, IGNORE)
    value, gradient = value_and_gradient(loss, logits)
    wanted, wanted_gradient = value_and_gradient(naive(logits, labels, members), logits)
    assert value == pytest.approx(wanted, rel=1e-6, abs=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient)
    assert loss.dtype == torch.float32 and loss.shape == ()


def test_it_is_minus_log_of_the_sum_of_probabilities() -> None:
    logits = torch.tensor([0.5, 0.2, 0.1, 0.15, 0.05]).log().view(1, 5, 1, 1)
    loss = partial_label_sum(logits, torch.tensor([[[1]]]), MEMBERS, IGNORE)
    assert float(loss) == pytest.approx(-torch.tensor(0.65).log().item(), rel=1e-6)


def test_single_classes_give_the_cross_entropy() -> None:
    logits, labels = make()
    value, gradient = value_and_gradient(partial_label_sum(logits, labels, SINGLE, IGNORE), logits)
    place = torch.cat([SINGLE.int().argmax(1), torch.tensor([IGNORE])])
    wanted, wanted_gradient = value_and_gradient(cross_entropy_sum(logits, place[labels], IGNORE), logits)
    assert value == wanted and torch.equal(gradient, wanted_gradient)


def test_ignored_pixels_change_nothing_and_get_no_gradient() -> None:
    logits, labels = make()
    value, gradient = value_and_gradient(partial_label_sum(logits, labels, MEMBERS, IGNORE), logits)
    assert (gradient.permute(0, 2, 3, 1)[labels == IGNORE] == 0).all()
    other = torch.where((labels == IGNORE)[:, None], 50 * torch.randn_like(logits), logits).detach()
    assert float(partial_label_sum(other, labels, MEMBERS, IGNORE)) == pytest.approx(value, rel=1e-6)


def test_the_ignore_value_is_the_callers() -> None:
    logits, labels = make()
    other = labels.where(labels != IGNORE, 255)
    expected = partial_label_sum(logits, labels, MEMBERS, IGNORE)
    assert torch.equal(partial_label_sum(logits, other, MEMBERS, 255), expected)


@pytest.mark.parametrize("labels", [torch.full((2, 5, 6), IGNORE), torch.zeros((0, 5, 6), dtype=torch.int64)])
def test_nothing_labelled_is_zero_on_the_graph(labels: Tensor) -> None:
    logits, _ = make()
    loss = partial_label_sum(logits[: len(labels)], labels, MEMBERS, IGNORE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None and (logits.grad == 0).all()


def test_extreme_logits_stay_exact() -> None:
    """A set 1e4 below the largest logit: the sum of its probabilities underflows, the loss must not."""
    logits, labels = make(scale=1e4)
    value, gradient = value_and_gradient(partial_label_sum(logits, labels, MEMBERS, IGNORE), logits)
    wanted, wanted_gradient = value_and_gradient(naive(logits, labels, MEMBERS), logits)
    assert wanted > 1e5 and value == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, atol=2e-3, rtol=1e-3)


def test_a_sure_set_costs_nothing_however_it_is_shared_out() -> None:
    """Large logits inside the set: a difference of two large numbers would leave their rounding error."""
    logits = torch.tensor([-1e4, -1e4, 9999.0, 1e4, -1e4]).view(1, 5, 1, 1).requires_grad_()
    value, gradient = value_and_gradient(partial_label_sum(logits, torch.tensor([[[2]]]), MEMBERS, IGNORE), logits)
    assert abs(value) < 1e-6 and gradient.abs().max() < 1e-6


def test_half_precision_is_summed_in_float32() -> None:
    logits, labels = make(torch.bfloat16)
    loss = partial_label_sum(logits, labels, MEMBERS, IGNORE)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(naive(logits, labels, MEMBERS).detach()), rel=1e-5)


def test_there_is_a_deterministic_way_in_both_directions() -> None:
    logits, labels = make()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (
            value_and_gradient(partial_label_sum(logits, labels, MEMBERS, IGNORE), logits) for _ in range(2)
        )
    finally:
        torch.use_deterministic_algorithms(False)
    assert first[0] == second[0] and torch.equal(first[1], second[1])
