"""Colourisation: what the network sees, what it is to say, what it learnt, and pictures in colour."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from multiseg.batch import Batch
from multiseg.errors import MultisegError
from multiseg.losses.color_histogram import color_histograms, histogram_loss
from multiseg.methods.colorization import Colorization
from multiseg.networks.backbone import Backbone
from multiseg.networks.hypercolumn import Hypercolumn
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant
from tiny_methods import PARK, TOWN, make, make_batch, train

SMALL = {"bins": 8, "window": 3}


def sparse(points: int = 12, stride: int = 4) -> Colorization:
    torch.manual_seed(0)
    network = SegmentationNetwork(
        Backbone("test_resnet"), partial(Hypercolumn, channels=16, points=points, stride=stride)
    )
    method = Colorization([TOWN, PARK], network=network, optimizer=SGD(lr=0.05), schedule=Constant(), **SMALL)
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    return method


def colorful() -> Batch:
    """Bright is red, dark is blue: lightness tells the colour."""
    batch = make_batch([TOWN, PARK] * 2)
    bright = torch.zeros(64, 96, dtype=torch.bool)
    bright[:, ::32] = bright[:, 1::32] = bright[:, 40:] = True
    red, blue = torch.tensor([230, 120, 120]), torch.tensor([20, 20, 120])
    image = torch.where(bright, red[:, None, None], blue[:, None, None]).to(torch.uint8)
    return replace(batch, images=image.expand(4, -1, -1, -1).contiguous())


def test_it_sees_the_lightness_only() -> None:
    method = make(Colorization, **SMALL).eval()
    batch = make_batch([TOWN])
    turned = batch.images.roll(1, 1)  # other colours, the same mean
    for images in (batch.images, turned):
        assert torch.equal(method.of_lightness(images, "town").decoded, method.of_lightness(turned, "town").decoded)
    assert not torch.equal(method.colorize(batch.images, "town"), batch.images)


def test_dense_losses_are_those_at_the_centres_of_cells() -> None:
    method = make(Colorization, **SMALL).eval()
    batch = make_batch([TOWN, PARK], (60, 90))  # no multiples of the stride: the last cells reach into the padding
    losses, _ = method.point_losses(batch)
    logits = method.head(method.of_lightness(batch.images, ["town", "park"]).decoded)
    stride, (rows, columns) = method.network.stride, logits.shape[-2:]
    assert losses.shape == (2, rows * columns)
    for cell in (0, 3, rows * columns - 1):
        y, x = cell // columns, cell % columns
        point = torch.tensor([min(y * stride + stride // 2, 59), min(x * stride + stride // 2, 89)])
        target = color_histograms(batch.images.float() / 255, point.expand(2, 1, 2), 8, 3)
        hue, chroma = logits[:, :8, y, x][:, None], logits[:, 8:, y, x][:, None]
        torch.testing.assert_close(losses[:, cell], histogram_loss(hue, chroma, target, 5.0)[:, 0])


def test_points_have_the_losses_of_the_dense_map() -> None:
    """Of the same network; at stride 1 a cell is a pixel."""
    method = sparse(stride=1).eval()
    batch = make_batch([TOWN, PARK])
    points = torch.randint(60, (2, 12, 2), generator=torch.Generator().manual_seed(0))
    at_points, everywhere = method.point_losses(batch, points)[0], method.point_losses(batch)[0].view(2, 64, 96)
    expected = torch.stack([dense[rows, columns] for dense, (rows, columns) in zip(everywhere, points.mT, strict=True)])
    torch.testing.assert_close(at_points, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_it_learns_colours_and_the_gain_says_so(kind: str) -> None:
    method = (sparse(64) if kind == "sparse" else make(Colorization, **SMALL)).train()
    batch = colorful()
    before = method.scores_of(method.count_validation(batch))
    train(method, batch, 25)
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    after = method.scores_of(method.count_validation(batch))
    assert before["gain"] < 0 < after["gain"] and after["constant"] == pytest.approx(before["constant"])
    method.eval()
    painted = method.colorize(batch.images, "town").float()
    assert (
        painted[:, 0, 10, 80].gt(painted[:, 2, 10, 80]).all() and painted[:, 2, 10, 10].gt(painted[:, 0, 10, 10]).all()
    )


def test_the_constant_answer_is_the_best_one() -> None:
    """Its loss is that of the mean histograms, whatever else one answers everywhere."""
    method = make(Colorization, **SMALL).eval()
    batch = make_batch([TOWN, PARK])
    target = method.point_losses(batch)[1]
    constant = method.scores_of(method.count_validation(batch))["constant"]

    def loss_of(hue: Tensor, chroma: Tensor) -> float:
        answers: list[Any] = [part.log().expand_as(target.hue) for part in (hue, chroma)]
        return float(histogram_loss(*answers, target, 5.0).mean())

    chroma = target.chroma.mean((0, 1)).clamp(min=1e-9)
    hue = (target.weight[..., None] * target.hue).sum((0, 1))
    best = loss_of(hue / hue.sum(), chroma)
    assert best == pytest.approx(constant, rel=1e-4)
    assert (
        loss_of((hue + 20) / (hue + 20).sum(), chroma)
        > best
        < loss_of(hue / hue.sum(), (chroma + 0.2) / (chroma + 0.2).sum())
    )


@pytest.mark.parametrize("settings", [{"bins": 1}, {"window": 4}, {"hue_weight": -1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(MultisegError, match="colorization: bins"):
        make(Colorization, **settings)


def test_an_auxiliary_head_is_refused() -> None:
    network = SegmentationNetwork(Backbone("test_resnet"), Hypercolumn, AuxiliaryHead)
    with pytest.raises(MultisegError, match="trains no auxiliary head"):
        Colorization([TOWN], network=network, optimizer=SGD(lr=0.05), schedule=Constant())
