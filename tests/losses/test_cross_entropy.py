"""Cross-entropy against a loop over pixels in double precision: values, gradients, nothing labelled, half precision."""

import pytest
import torch

from multiseg.losses.cross_entropy import cross_entropy_sum

IGNORE = -1


def make(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(-1, 4, (2, 5, 3))
    return (torch.randn(2, 4, 5, 3) * 3).to(dtype).requires_grad_(), labels


def naive(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for image in range(2):
        for y in range(5):
            for x in range(3):
                label = int(labels[image, y, x])
                if label != IGNORE:
                    scores = logits[image, :, y, x].double()
                    total = total + scores.exp().sum().log() - scores[label]
    return total


def test_value_and_gradient() -> None:
    logits, labels = make()
    loss = cross_entropy_sum(logits, labels, IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    (wanted,) = torch.autograd.grad(naive(logits, labels), logits)
    assert float(loss.detach()) == pytest.approx(float(naive(logits, labels).detach()), rel=1e-6)
    torch.testing.assert_close(gradient, wanted)
    assert (gradient.permute(0, 2, 3, 1)[labels == IGNORE] == 0).all()


def test_nothing_labelled_is_zero_on_the_graph() -> None:
    logits, labels = make()
    loss = cross_entropy_sum(logits, torch.full_like(labels, IGNORE), IGNORE)
    loss.backward()
    assert float(loss.detach()) == 0 and (logits.grad == 0).all()


def test_no_images() -> None:
    logits, labels = make()
    assert float(cross_entropy_sum(logits[:0], labels[:0], IGNORE).detach()) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits, labels = make(dtype)
    loss = cross_entropy_sum(logits, labels, IGNORE)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(naive(logits, labels).detach()), rel=1e-4)
