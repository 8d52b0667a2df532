"""Colourisation as a proxy task: a network learns from images without labels what colours things have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from multiseg.batch import Batch
from multiseg.errors import MultisegError
from multiseg.evaluation.color_inference import colors_from_histograms
from multiseg.label_space import LabelSpace
from multiseg.losses.color_histogram import ColorHistograms, color_histograms, histogram_loss
from multiseg.methods.base import PretrainingMethod
from multiseg.networks.segmentation_network import Features, SegmentationNetwork, make_classifier, upsample


class Colorization(PretrainingMethod):
    """Automatic colourisation (Larsson, Maire & Shakhnarovich, ECCV 2016, and "Colorization as a Proxy Task for Visual
    Understanding", CVPR 2017): a proxy task of M&M.

    From the lightness (R + G + B) / 3 alone the network predicts, for points of the image, the histograms of hue and
    of chroma around them (`losses.color_histogram`). With a decoder that is trained sparsely, as hypercolumns are,
    these are a few random points of every image; with any other the centres of its cells. The lightness enters as
    three equal channels, so that the backbone can be handed on as it is.

    Labels play no part. On held-out images the loss is compared with that of the best constant answer, the mean
    histograms of all of them: what it `gain`s on this, in nats, is what it has learnt from the pictures.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        bins: of either histogram.
        window: height and width, in pixels, of what the histogram of a point is taken of; odd.
        hue_weight: λ; the paper's 5 is about one over the mean chroma.

    Raises:
        MultisegError: a number is out of range.
    """

    unlabelled_welcome = True
    trains_decoder = True
    judged_by = "gain"

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        bins: int = 32,
        window: int = 7,
        hue_weight: float = 5.0,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        if bins < 2 or window < 1 or window % 2 == 0 or hue_weight < 0:
            raise MultisegError("colorization: bins must be at least 2, window odd, and hue_weight not negative.")
        self.bins, self.window, self.hue_weight = bins, window, hue_weight
        self.head = make_classifier(network.channels, 2 * bins)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.point_losses(batch, self.network.draw_points(batch.images, batch.seeds))[0].mean()
        self.log("loss", loss.detach(), prog_bar=True, sync_dist=self.world_size > 1)
        return loss

    def point_losses(self, batch: Batch, points: Tensor | None = None) -> tuple[Tensor, ColorHistograms]:
        """The loss of some points of each image, and what is to be predicted there.

        Args:
            batch: of images.
            points: (B, P, 2) rows and columns; None: the centres of the decoder's cells.

        Returns:
            (B, P), and the histograms.
        """
        decoded = self.of_lightness(batch.images, [space.name for space in batch.spaces], points).decoded
        hue, chroma = self.head(decoded).float().flatten(2).mT.chunk(2, 2)
        if points is None:
            points = self.cell_centres(decoded, batch.images)
        with torch.autocast(self.device.type, enabled=False):
            target = color_histograms(batch.images.float() / 255, points, self.bins, self.window)
            return histogram_loss(hue, chroma, target, self.hue_weight), target

    def cell_centres(self, decoded: Tensor, images: Tensor) -> Tensor:
        """The pixel at the centre of each cell; those of cells in the backbone's padding are the image's last ones.

        Shape: decoded (B, D, h, w), images (B, 3, H, W) to (B, h · w, 2).
        """
        stride = self.network.stride
        rows, columns = (
            (torch.arange(cells, device=images.device) * stride + stride // 2).clamp(max=length - 1)
            for cells, length in zip(decoded.shape[-2:], images.shape[-2:], strict=True)
        )
        return torch.cartesian_prod(rows, columns).expand(len(images), -1, -1)

    def of_lightness(self, images: Tensor, datasets: str | Sequence[str], points: Tensor | None = None) -> Features:
        """What the network makes of the lightness of images. Shape: images (B, 3, H, W) uint8."""
        lightness = images.float().mean(1, keepdim=True).expand_as(images)
        return self.features(self.normalize(lightness), datasets, points=points)

    @torch.no_grad()
    def colorize(self, images: Tensor, dataset: str) -> Tensor:
        """Images in the colours that the network makes up from their lightness.

        Args:
            images: (B, 3, H, W) uint8.
            dataset: whose they are, or like whose.

        Returns:
            (B, 3, H, W) uint8.
        """
        logits = self.head(self.of_lightness(images, dataset).decoded).float()
        height, width = images.shape[-2:]
        hue, chroma = upsample(logits, self.network.stride, (height, width)).chunk(2, 1)
        colors = colors_from_histograms(images.float().mean(1) / 255, hue.softmax(1), chroma.softmax(1))
        return (colors * 255).round().to(torch.uint8)

    def count_validation(self, batch: Batch) -> Tensor:
        losses, target = self.point_losses(batch)
        chroma, hue = target.chroma.sum((0, 1)), (target.weight[..., None] * target.hue).sum((0, 1))
        return torch.cat([torch.stack([losses.sum(), losses.new_tensor(losses.numel())]), chroma, hue]).double()

    def scores_of(self, counts: Tensor) -> dict[str, float]:
        (total, points), chroma, hue = counts[:2].tolist(), *counts.detach()[2:].chunk(2)
        # of all constant answers the mean histogram has the least cross-entropy: its own entropy
        entropies = [-(part * (part / part.sum()).log().nan_to_num(0, 0, 0)).sum() for part in (chroma, hue)]
        constant = float(entropies[0] + self.hue_weight * entropies[1]) / points
        return {"loss": total / points, "constant": constant, "gain": constant - total / points}
