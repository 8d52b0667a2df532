"""Backbone, decoder and, in training, an auxiliary head: everything of a segmentation network but its classifiers.

Classifiers belong to the methods, because methods differ in just these: one for all datasets, one a dataset, text
embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.networks.backbone import Backbone
from multiseg.networks.dataset_norm import (
    extract_norms,
    norm_sets,
    plain_state,
    require_plain,
    sets_in,
    state_with_sets,
)
from multiseg.weights import LoadReport, load_weights


class Decoder(nn.Module):
    """Turns a backbone's feature pyramid into one feature map.

    A subclass first takes the pyramid's `in_channels` and `strides` (fine to coarse), then its own hyper-parameters.

    Attributes:
        channels: of the feature map.
        stride: of the feature map, in pixels of the image.
        points: pixels of each image that it wants to be trained at, in place of the whole map; None: the map. Such a
            decoder takes a second argument, (B, P, 2) rows and columns of pixels, and returns (B, channels, 1, P).

    Shape:
        pyramid: list of (B, C_i, h_i, w_i), fine to coarse; returns: (B, channels, h, w).
    """

    channels: int
    stride: int
    points: int | None = None


#: Called with the channels and strides of the backbone. In a recipe it is a class with its other arguments; in Python
#: `partial(PyramidPooling, channels=256)`, or the class itself.
DecoderFactory = Callable[[Sequence[int], Sequence[int]], Decoder]


class AuxiliaryHead(Decoder):
    """3×3 convolution on one level of the pyramid, for a second loss that helps training (PSPNet, section 3.3).

    Args:
        in_channels: of the pyramid's levels.
        strides: of the pyramid's levels.
        channels: of the features.
        level: of the pyramid; -2 is the second coarsest, stage 4 of a ResNet, as in the paper.
        dropout: share of channels dropped.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 128,
        level: int = -2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stride = strides[level]
        self.level = level
        self.layers = nn.Sequential(*conv_norm_relu(in_channels[level], channels, kernel=3), nn.Dropout2d(dropout))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        features: Tensor = self.layers(pyramid[self.level])
        return features


class Features(NamedTuple):
    """What a network yields for B images.

    Args:
        decoded: (B, D, h, w) from the decoder, for the classifier; (B, D, 1, P) where only P points were asked for.
        auxiliary: (B, D', h', w') from the auxiliary head; None without one and in evaluation.
        pyramid: of the backbone, fine to coarse.
    """

    decoded: Tensor
    auxiliary: Tensor | None
    pyramid: list[Tensor]


class SegmentationNetwork(nn.Module):
    """Backbone, decoder, and an auxiliary head that works in training only.

    Args:
        backbone: of the feature pyramid.
        decoder: makes the decoder for the backbone's channels and strides.
        auxiliary: makes the auxiliary head likewise; None for none.

    Attributes:
        channels: of `Features.decoded`.
        stride: of `Features.decoded`.
        auxiliary_channels: of `Features.auxiliary`; 0 without.
        auxiliary_stride: of `Features.auxiliary`; 0 without.
        mean, std: by which images must be normalised, RGB in 0..1.
    """

    def __init__(self, backbone: Backbone, decoder: DecoderFactory, auxiliary: DecoderFactory | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder(backbone.channels, backbone.strides)
        self.auxiliary = auxiliary(backbone.channels, backbone.strides) if auxiliary else None
        self.channels = self.decoder.channels
        self.stride = self.decoder.stride
        self.auxiliary_channels = self.auxiliary.channels if self.auxiliary else 0
        self.auxiliary_stride = self.auxiliary.stride if self.auxiliary else 0
        self.mean, self.std = backbone.mean, backbone.std

    def load(
        self,
        state: Mapping[str, Tensor],
        part: Literal["network", "backbone"] = "network",
        source: str = "weights",
        norms: str | None = None,
    ) -> LoadReport:
        """Takes the weights of any run, to train further. What does not fit keeps its values.

        Args:
            state: of `read_weights`.
            part: everything here, or the backbone only; that also takes the weights of a plain timm model.
            source: the file, for the report.
            norms: where the file has batch norms of several datasets, whose an ordinary network takes, and a dataset
                that has none of its own there.

        Where each dataset has norms of its own, and the file has one set for all, all get a copy.

        Raises:
            MultisegError: nothing fits, or it must be said whose norms are wanted.
        """
        own, given = norm_sets(self), sets_in(state)
        if norms is not None and not (own and given):
            state = plain_state(state, norms, source)
        elif own and given:
            state = state_with_sets(state, own, norms, source)
        if own and not sets_in(state):
            reports = [extract_norms(self, name, share=True).load(state, part, source) for name in own]
            return reports[0]
        if part == "backbone":
            return self.backbone.load(state, source)
        if not own:
            require_plain(state, source)
        prefix = "network." if any(name.startswith("network.") for name in state) else None
        return load_weights(self, state, prefix=prefix, source=source)

    def draw_points(self, images: Tensor, seeds: Sequence[int]) -> Tensor | None:
        """Random pixels of each image to train the decoder at; None where it is trained at all of them.

        Each is drawn from the whole image as it comes, independently of the others: the padding to the backbone's
        stride has none. An image's are drawn by its own seed, on the host: the same whichever process has the image.

        Args:
            images: (B, 3, H, W).
            seeds: of the B images.

        Returns:
            (B, P, 2) int64, rows and columns.
        """
        count = self.decoder.points
        if count is None:
            return None
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = [
            torch.stack([torch.randint(length, (count,), generator=own) for length in images.shape[-2:]], -1)
            for own in generators
        ]
        return torch.stack(drawn).to(images.device, non_blocking=True)

    def forward(self, images: Tensor, points: Tensor | None = None) -> Features:
        """
        Whoever trains a decoder that has `points` draws them; without, its map is dense, in training, too.

        Args:
            images: (B, 3, H, W) float, normalised by `mean` and `std`; H and W as they come.
            points: (B, P, 2) of `draw_points`, where the decoder has them: decode these pixels only.
        """
        pyramid = self.backbone(images)
        auxiliary = self.auxiliary(pyramid) if self.auxiliary and self.training else None
        decoded = self.decoder(pyramid) if points is None else self.decoder(pyramid, points)
        return Features(decoded, auxiliary, pyramid)


def upsample(scores: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Scores at a feature map's resolution to the image's, bilinear.

    The backbone pads images to whole multiples of its stride, so scores are enlarged by the stride and what exceeds the
    image is cut; stretching them to the image's size instead would shift them by up to `stride - 1` pixels.

    Shape:
        scores: (B, C, h, w); returns: (B, C, *size).
    """
    height, width = scores.shape[-2:]
    full = F.interpolate(scores, size=(height * stride, width * stride), mode="bilinear", align_corners=False)
    return full[..., : size[0], : size[1]]


def labels_at(labels: Tensor, stride: int, size: tuple[int, int], ignore: int) -> Tensor:
    """Labels at a feature map's resolution: those at the centres of its cells, by nearest neighbour.

    Cells that lie in the backbone's padding, outside the image, are ignored.

    Shape:
        labels: (..., H, W); returns: (..., *size).
    """
    height, width = (length * stride for length in size)
    padding = (0, max(width - labels.shape[-1], 0), 0, max(height - labels.shape[-2], 0))
    padded = F.pad(labels, padding, value=ignore)
    return padded[..., stride // 2 : height : stride, stride // 2 : width : stride]


def labels_of_points(labels: Tensor, points: Tensor) -> Tensor:
    """The labels of some pixels, shaped like an image one pixel high.

    Shape:
        labels: (B, H, W); points: (B, P, 2) rows and columns; returns: (B, 1, P).
    """
    rows, columns = points.unbind(-1)
    return labels[torch.arange(len(labels), device=labels.device)[:, None], rows, columns][:, None]


def make_classifier(channels: int, classes: int) -> nn.Conv2d:
    """A 1×1 convolution from features to class scores; small weights, so that training starts from even scores."""
    classifier = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(classifier.weight, std=0.01)
    if classifier.bias is not None:
        nn.init.zeros_(classifier.bias)
    return classifier


def conv_norm_relu(
    in_channels: int, channels: int, kernel: int = 1, dilation: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]:
    """The three layers decoders are built of; the size of the map stays (He et al. 2015 for the initialisation)."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
