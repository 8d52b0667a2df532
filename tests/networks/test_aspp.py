import pytest
import torch

from multiseg.networks.aspp import ASPP


@pytest.mark.parametrize(("stride", "dilations"), [(8, [1, 12, 24, 36]), (16, [1, 6, 12, 18]), (32, [1, 3, 6, 9])])
def test_rates_follow_the_output_stride(stride, dilations):
    decoder = ASPP([8, 12], [4, stride], channels=6)
    assert [branch[0].dilation[0] for branch in decoder.branches] == dilations
    assert (decoder.channels, decoder.stride) == (6, stride)


def test_shape_and_receptive_field():
    torch.manual_seed(0)
    decoder = ASPP([8, 12], [4, 16], channels=6, rates=(2, 4), dropout=0.0).eval()
    level = torch.randn(1, 12, 16, 16, requires_grad=True)
    result = decoder([torch.zeros(1, 8, 64, 64), level])
    assert result.shape == (1, 6, 16, 16)
    result[0, :, 8, 8].sum().backward()
    reached = level.grad.abs().sum(1)[0]
    assert (reached > 0).all()  # image pooling
    near = reached[8, [4, 6, 8, 10, 12]]
    assert (near > reached[0, 0] * 1.5).all()  # the branches


def test_a_single_image_can_be_trained_on():
    decoder = ASPP([12], [8], channels=6).train()
    decoder([torch.randn(1, 12, 4, 5)]).sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_image_pooling_is_the_mean():
    decoder = ASPP([12], [16], channels=6, rates=()).eval()
    level = torch.randn(2, 12, 3, 5)
    permuted = level.flatten(2)[..., torch.randperm(15)].view_as(level)
    pooled, other = (torch.relu(decoder.pool(x.mean((2, 3), keepdim=True))) for x in (level, permuted))
    torch.testing.assert_close(pooled, other)
    expected = decoder.fuse(torch.cat([decoder.branches[0](level), pooled.expand(-1, -1, 3, 5)], 1))
    torch.testing.assert_close(decoder([level]), expected)
