"""The fully connected layers of AlexNet and VGG, as convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.networks.segmentation_network import Decoder


class FullyConvolutional(Decoder):
    """fc6 and fc7 on the pyramid's coarsest level (Long et al., "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 3.1): FCN-32s, with pool5 of `alexnet_bn` or `vgg16_bn` for the level.

    Unlike the paper, the level is padded as much as keeps its size, where the paper pads the image by 100 pixels and
    crops. An even kernel reaches one cell further to the right and down: AlexNet's windows are centred on the first
    pixel of a cell, half a cell to the left and up.

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of either layer.
        kernel: side of fc6, 7 for VGG and 6 for AlexNet; fc7 is 1×1.
        dropout: share of values dropped after either layer.
        norm: batch normalisation in either layer, for training from random weights; the paper has none.

    Raises:
        MultisegError: the kernel is not positive.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 4096,
        kernel: int = 7,
        dropout: float = 0.5,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if kernel < 1:
            raise MultisegError(f"the kernel of fc6 must have a positive side, not {kernel}.")
        self.channels = channels
        self.stride = strides[-1]
        before, after = (kernel - 1) // 2, kernel // 2
        padding = nn.ZeroPad2d((before, after, before, after))
        self.fc6 = nn.Sequential(padding, *_layer(in_channels[-1], channels, kernel, dropout, norm))
        self.fc7 = nn.Sequential(*_layer(channels, channels, 1, dropout, norm))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        features: Tensor = self.fc7(self.fc6(pyramid[-1]))
        return features


def _layer(in_channels: int, channels: int, kernel: int, dropout: float, norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, kernel, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return [conv, *([nn.BatchNorm2d(channels)] if norm else []), nn.ReLU(inplace=True), nn.Dropout(dropout)]
