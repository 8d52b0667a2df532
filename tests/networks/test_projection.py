"""Embeddings on the unit sphere, and the encoder that follows."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from multiseg.networks.backbone import Backbone
from multiseg.networks.momentum_encoder import MomentumEncoder
from multiseg.networks.projection import PixelEncoder, Projection
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork, labels_at, upsample


def test_four_convolutions_and_unit_length() -> None:
    projection = Projection(24, 16, 32)
    convolutions = [layer for layer in projection.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [
        (24, 32, (1, 1)), (32, 32, (1, 1)), (32, 32, (1, 1)), (32, 16, (1, 1)),
    ]  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = projection(torch.randn(2, 24, 5, 7))
        assert out.shape == (2, 16, 5, 7) and out.dtype == torch.float32
        torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 5, 7))


def test_a_projection_needs_positive_numbers() -> None:
    with pytest.raises(ValueError, match="positive"):
        Projection(24, layers=0)


def test_the_encoder_projects_what_the_network_decodes() -> None:
    network = SegmentationNetwork(Backbone("test_resnet"), partial(PyramidPooling, channels=16, bins=[1, 2])).eval()
    projection = Projection(16, 8).eval()
    images = torch.randn(2, 3, 64, 96)
    assert torch.equal(PixelEncoder(network, projection)(images), projection(network(images).decoded))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_parameters_follow_exactly(momentum: float) -> None:
    torch.manual_seed(0)
    query = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    key = MomentumEncoder(query, momentum)
    wanted = [parameter.detach().double() for parameter in query.parameters()]
    for _ in range(5):
        for parameter in query.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        key.follow(query)
        wanted = [
            momentum * own + (1 - momentum) * p.detach().double()
            for own, p in zip(wanted, query.parameters(), strict=True)
        ]
    for parameter, own in zip(key.encoder.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.double(), own, rtol=1e-5, atol=1e-6)
        assert not parameter.requires_grad


def test_keys_have_no_gradient_and_norms_of_their_own() -> None:
    query = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    key = MomentumEncoder(query, 0.9)
    before = deepcopy(query.state_dict())
    assert not key(torch.randn(2, 3, 8, 8)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in query.state_dict().items())
    assert int(key.encoder[1].num_batches_tracked) == 1


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_an_impossible_momentum_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum"):
        MomentumEncoder(nn.Linear(1, 1), momentum)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (30, 41), (33, 47)])
def test_labels_are_those_at_the_centres_of_cells(height: int, width: int) -> None:
    """A cell's label is the one at its centre in the image; in the padding there is none."""
    labels = torch.arange(height * width).view(1, height, width)
    size = (-(-height // 8), -(-width // 8))
    found = labels_at(labels, 8, size, -1)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row * 8 + 4, column * 8 + 4
            assert found[0, row, column] == (labels[0, y, x] if y < height and x < width else -1)


def test_labels_and_scores_lie_in_the_same_place() -> None:
    """What is enlarged by `upsample` has, at the centre of a cell, that cell's label."""
    labels = torch.randint(0, 5, (1, 64, 64)).repeat_interleave(1, 0)
    cells = labels_at(labels, 16, (4, 4), -1)
    scores = upsample(torch.nn.functional.one_hot(cells, 5).movedim(-1, 1).float(), 16, (64, 64))
    assert torch.equal(scores.argmax(1)[:, 8::16, 8::16], cells)
