import pytest
import torch
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.networks.pyramid_pooling import PyramidPooling


def _naive(decoder, level):
    maps = [level]
    for bins, reduce in zip(decoder.bins, decoder.reduce, strict=True):
        pooled = F.adaptive_avg_pool2d(level, bins)
        pooled = F.relu(F.conv2d(pooled, reduce.weight[:, :, None, None], reduce.bias))
        maps.append(F.interpolate(pooled, size=level.shape[-2:], mode="bilinear", align_corners=False))
    return decoder.fuse(torch.cat(maps, 1))


@pytest.mark.parametrize("size", [(16, 20), (6, 6), (7, 13), (4, 5), (1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_pooling_and_interpolation(size, memory_format):
    torch.manual_seed(0)
    decoder = PyramidPooling([4, 12], [4, 8], channels=16).double().eval()
    level = torch.randn(2, 12, *size, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    result, expected = decoder([level, level]), _naive(decoder, level)
    assert result.shape == (2, 16, *size)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)  # the matrices are made in float32
    weights = torch.randn_like(result)
    (gradient,) = torch.autograd.grad((result * weights).sum(), level)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), level)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_reads_the_coarsest_level_and_keeps_its_stride():
    decoder = PyramidPooling([8, 12], [4, 16], channels=10, bins=[1, 2, 3]).eval()
    assert (decoder.channels, decoder.stride) == (10, 16)
    assert decoder([torch.randn(1, 8, 16, 16), torch.randn(1, 12, 4, 4)]).shape == (1, 10, 4, 4)


def test_grids_may_be_wider_than_the_result():
    decoder = PyramidPooling([12], [8], channels=10, bins=[1, 2], grid_channels=20).eval()
    assert [reduce.out_features for reduce in decoder.reduce] == [10, 10]
    level = torch.randn(1, 12, 5, 6)
    torch.testing.assert_close(decoder([level]), _naive(decoder, level), rtol=1e-4, atol=1e-5)
    assert decoder([level]).shape == (1, 10, 5, 6)


def test_a_single_image_can_be_trained_on():
    decoder = PyramidPooling([12], [8]).train()
    decoder([torch.randn(1, 12, 4, 5)]).sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_autocast_keeps_channels_last():
    decoder = PyramidPooling([12], [8], dropout=0.0).to(memory_format=torch.channels_last)
    level = torch.randn(2, 12, 8, 8).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        result = decoder([level.bfloat16()])
    assert result.dtype == torch.bfloat16
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_works_after_validation_in_inference_mode():
    decoder = PyramidPooling([12], [8])
    level = torch.randn(2, 12, 8, 8)
    with torch.inference_mode():
        decoder([level])
    decoder([level]).sum().backward()


@pytest.mark.parametrize("bins", [[], [1, 2, 3]])
def test_bins_that_cannot_share_the_channels_are_refused(bins):
    with pytest.raises(MultisegError, match="PyramidPooling"):
        PyramidPooling([12], [8], channels=2, bins=bins)


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # old, but an export format
def test_a_trace_takes_other_batch_sizes():
    decoder = PyramidPooling([12], [8]).eval().requires_grad_(False)
    one, many = torch.randn(1, 12, 4, 5), torch.randn(3, 12, 4, 5)
    traced = torch.jit.trace(lambda level: decoder([level]), one)
    torch.testing.assert_close(traced(many), decoder([many]))
