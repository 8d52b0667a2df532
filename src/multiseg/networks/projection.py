"""From features to embeddings on the unit sphere."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.networks.segmentation_network import SegmentationNetwork, conv_norm_relu


class Projection(nn.Module):
    """1×1 convolutions with norm and ReLU between them, then scaling to unit length (MDP, section 4.1: four layers, 256
    channels). What lies between the layers, and their width, is our choice.

    Args:
        in_channels: of the features.
        channels: of the embedding.
        hidden: of the layers between.
        layers: their number.

    Shape:
        (B, in_channels, h, w) to (B, channels, h, w) float32.
    """

    def __init__(self, in_channels: int, channels: int = 256, hidden: int = 256, layers: int = 4) -> None:
        super().__init__()
        if min(in_channels, channels, hidden, layers) < 1:
            raise ValueError(f"a projection needs positive numbers, not {(in_channels, channels, hidden, layers)}.")
        self.channels = channels
        widths = [in_channels, *[hidden] * (layers - 1)]
        steps = [layer for inner, outer in itertools.pairwise(widths) for layer in conv_norm_relu(inner, outer)]
        self.layers = nn.Sequential(*steps, nn.Conv2d(widths[-1], channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.layers(features)
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(embeddings.float(), dim=1)


class PixelEncoder(nn.Module):
    """A segmentation network and a projection of what it decodes.

    Shape:
        (B, 3, H, W) normalised to (B, D, h, w) float32 of unit length.
    """

    def __init__(self, network: SegmentationNetwork, projection: Projection) -> None:
        super().__init__()
        self.network, self.projection = network, projection

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.projection(self.network(images).decoded)
        return embeddings
