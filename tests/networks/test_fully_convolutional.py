"""fc6 and fc7 as convolutions."""

import pytest
import torch
from torch import nn

from multiseg.errors import MultisegError
from multiseg.networks.fully_convolutional import FullyConvolutional


@pytest.mark.parametrize("kernel", [1, 2, 6, 7])
@pytest.mark.parametrize("norm", [True, False])
def test_the_coarsest_level_keeps_its_size(kernel: int, norm: bool) -> None:
    decoder = FullyConvolutional([4, 5], [16, 32], channels=8, kernel=kernel, norm=norm)
    assert (decoder.channels, decoder.stride) == (8, 32)
    features = decoder([torch.randn(2, 4, 6, 10), torch.randn(2, 5, 3, 5)])
    assert features.shape == (2, 8, 3, 5)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


@pytest.mark.parametrize(("kernel", "first"), [(3, -1), (6, -2), (7, -3)])
def test_windows_are_centred_or_reach_one_further_right_and_down(kernel: int, first: int) -> None:
    decoder = FullyConvolutional([1], [32], channels=3, kernel=kernel, dropout=0.0).eval()
    level = torch.zeros(1, 1, 12, 12, requires_grad=True)
    decoder.fc6[:2](level)[0, :, 5, 6].sum().backward()
    rows, columns = level.grad[0, 0].nonzero().T
    assert (rows.min(), rows.max()) == (5 + first, 5 + first + kernel - 1)
    assert (columns.min(), columns.max()) == (6 + first, 6 + first + kernel - 1)


def test_fc6_is_a_fully_connected_layer_on_a_window() -> None:
    decoder = FullyConvolutional([4], [32], channels=6, kernel=3, norm=False).eval()
    level = torch.randn(1, 4, 5, 5)
    conv6, conv7 = decoder.fc6[1], decoder.fc7[0]
    for conv in (conv6, conv7):
        nn.init.normal_(conv.bias)
    hidden = (conv6.weight.flatten(1) @ level[0, :, 1:4, 2:5].flatten() + conv6.bias).relu()
    expected = (conv7.weight.flatten(1) @ hidden + conv7.bias).relu()
    torch.testing.assert_close(decoder([level])[0, :, 2, 3], expected)


def test_dropout_works_in_training_only() -> None:
    decoder = FullyConvolutional([4], [32], channels=64, kernel=1)
    level = [torch.randn(2, 4, 4, 4)]
    assert not torch.equal(decoder(level), decoder(level))
    decoder.eval()
    assert torch.equal(decoder(level), decoder(level))


def test_a_kernel_without_a_side_is_refused() -> None:
    with pytest.raises(MultisegError, match="fc6 must have a positive side, not 0"):
        FullyConvolutional([4], [32], kernel=0)
