"""The feature pyramid decoder against its definition."""

import pytest
import torch
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.feature_pyramid import FeaturePyramid

CHANNELS, STRIDES = [4, 6, 8], [2, 4, 8]


def pyramid(height: int = 16, width: int = 24) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, c, height // s, width // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def test_levels_are_added_from_coarse_to_fine() -> None:
    decoder = FeaturePyramid(CHANNELS, STRIDES, channels=5).eval()
    _, middle, coarse = pyramid()
    summed = decoder.lateral[0](middle) + F.interpolate(decoder.lateral[1](coarse), scale_factor=2)
    torch.testing.assert_close(decoder([pyramid()[0], middle, coarse]), decoder.output(summed))


@pytest.mark.parametrize("finest", [2, 3, 4, 8])
def test_stride_and_size(finest: int) -> None:
    decoder = FeaturePyramid(CHANNELS, STRIDES, channels=5, finest_stride=finest).eval()
    assert decoder.stride >= finest
    assert decoder(pyramid()).shape == (2, 5, 16 // decoder.stride, 24 // decoder.stride)


def test_odd_levels_fit() -> None:
    levels = [torch.randn(1, c, h, w) for c, h, w in zip(CHANNELS, (9, 5, 3), (7, 4, 2), strict=True)]
    assert FeaturePyramid(CHANNELS, STRIDES, finest_stride=2).eval()(levels).shape[-2:] == (9, 7)


def test_every_parameter_learns() -> None:
    decoder = FeaturePyramid(CHANNELS, STRIDES, channels=5)
    decoder(pyramid()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_too_fine_a_backbone_is_refused() -> None:
    with pytest.raises(MultisegError, match="no level of stride 16"):
        FeaturePyramid(CHANNELS, STRIDES, finest_stride=16)
