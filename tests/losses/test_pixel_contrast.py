"""Eq. 2 of MDP against a loop over pixels in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import naive_mdp as naive
from multiseg.losses.base import partition
from multiseg.losses.pixel_contrast import pixel_contrast
from naive_mdp import IGNORE, make_labels, make_view

TAU = 0.07


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return make_view(0).to(dtype).requires_grad_(), make_labels(0), make_view(1).to(dtype), make_labels(1)


@pytest.mark.parametrize("block", [1, 7, 2**20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient(monkeypatch: pytest.MonkeyPatch, block: int, dtype: torch.dtype) -> None:
    monkeypatch.setitem(partition._BLOCK, "cpu", block)
    queries, query_labels, keys, key_labels = inputs(dtype)
    loss = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    wanted, count = naive.pixel_contrast(queries, query_labels, keys, key_labels, TAU)
    (gradient,) = torch.autograd.grad(loss.total, queries)
    (wanted_gradient,) = torch.autograd.grad(wanted, queries)
    assert loss.weight == count
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(loss.total.double(), wanted, **tolerance)
    torch.testing.assert_close(gradient, wanted_gradient.to(dtype), **tolerance)


def test_views_of_another_size() -> None:
    keys, key_labels = make_view(3, size=(3, 7)), make_labels(3, size=(3, 7))
    queries, query_labels, *_ = inputs()
    wanted, _ = naive.pixel_contrast(queries, query_labels, keys, key_labels, TAU)
    torch.testing.assert_close(pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE).total, wanted)


def test_ignored_pixels_are_neither_anchors_nor_positives_nor_negatives() -> None:
    queries, query_labels, keys, key_labels = inputs()
    loss = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    (gradient,) = torch.autograd.grad(loss.total, queries)
    assert (gradient.movedim(1, -1)[query_labels == IGNORE] == 0).all()
    moved_queries = torch.where((query_labels == IGNORE)[:, None], -queries.detach(), queries)
    moved_keys = torch.where((key_labels == IGNORE)[:, None], -keys, keys)
    moved = pixel_contrast(moved_queries, query_labels, moved_keys, key_labels, TAU, IGNORE)
    torch.testing.assert_close(moved.total, loss.total)


def test_images_do_not_meet() -> None:
    queries, query_labels, keys, key_labels = inputs()
    parts = [pixel_contrast(queries[[i]], query_labels[[i]], keys[[i]], key_labels[[i]], TAU, IGNORE) for i in range(2)]
    whole = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    torch.testing.assert_close(whole.total, parts[0].total + parts[1].total)
    assert whole.weight == parts[0].weight + parts[1].weight


def test_a_class_that_the_other_view_lacks_is_skipped() -> None:
    queries, query_labels, keys, key_labels = inputs()
    key_labels[1][key_labels[1] == 2] = IGNORE
    loss = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    wanted, count = naive.pixel_contrast(queries, query_labels, keys, key_labels, TAU)
    torch.testing.assert_close(loss.total, wanted)
    assert loss.weight == count < int((query_labels != IGNORE).sum())


def test_a_single_class_is_pulled_together_only_as_far_as_its_own_spread() -> None:
    """All keys are positives: the loss is the cross-entropy with the uniform distribution, at least log N."""
    queries, _, keys, _ = inputs()
    labels = torch.zeros(2, 4, 5, dtype=torch.int64)
    loss = pixel_contrast(queries, labels, keys, labels, TAU, IGNORE)
    wanted, _ = naive.pixel_contrast(queries, labels, keys, labels, TAU)
    torch.testing.assert_close(loss.total, wanted)
    assert loss.mean > torch.tensor(20.0).log()


@pytest.mark.parametrize("which", ["queries", "keys", "both"])
def test_nothing_labelled_is_zero_on_the_graph(which: str) -> None:
    queries, query_labels, keys, key_labels = inputs()
    nothing = torch.full_like(query_labels, IGNORE)
    loss = pixel_contrast(
        queries,
        query_labels if which == "keys" else nothing,
        keys,
        key_labels if which == "queries" else nothing,
        TAU,
        IGNORE,
    )
    (gradient,) = torch.autograd.grad(loss.mean, queries)
    assert loss.total == 0 and loss.weight == 0 and (gradient == 0).all()


def test_an_image_without_labels_beside_another() -> None:
    queries, query_labels, keys, key_labels = inputs()
    query_labels[0], key_labels[0] = IGNORE, IGNORE
    loss = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    alone = pixel_contrast(queries[1:], query_labels[1:], keys[1:], key_labels[1:], TAU, IGNORE)
    (gradient,) = torch.autograd.grad(loss.total, queries)
    torch.testing.assert_close(loss.total, alone.total)
    assert torch.isfinite(gradient).all() and (gradient[0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    queries, query_labels, keys, key_labels = inputs(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = pixel_contrast(queries, query_labels, keys, key_labels, TAU, IGNORE)
    wanted, _ = naive.pixel_contrast(queries, query_labels, keys, key_labels, TAU)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total.double(), wanted, rtol=1e-5, atol=1e-3)
    (gradient,) = torch.autograd.grad(loss.total, queries)
    assert gradient.dtype == dtype and torch.isfinite(gradient).all()


def test_no_gradient_reaches_the_keys() -> None:
    queries, query_labels, keys, key_labels = inputs()
    loss = pixel_contrast(queries, query_labels, keys.requires_grad_(), key_labels, TAU, IGNORE)
    loss.total.backward()
    assert keys.grad is None
