"""From a network's features to class scores."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from multiseg.networks.segmentation_network import Features, SegmentationNetwork, make_classifier


class PixelClassifier(nn.Module):
    """A linear classifier of pixels, with a second one for the auxiliary features where the network has them.

    Args:
        network: whose features it reads.
        classes: their number.
    """

    def __init__(self, network: SegmentationNetwork, classes: int) -> None:
        super().__init__()
        self.main = make_classifier(network.channels, classes)
        self.auxiliary = make_classifier(network.auxiliary_channels, classes) if network.auxiliary_channels else None

    def forward(self, features: Features, rows: Sequence[int]) -> list[Tensor]:
        """
        Args:
            features: of B images.
            rows: which of them to classify; may be none.

        Returns:
            logits (len(rows), K, h, w), and likewise the auxiliary ones where there are such features.
        """
        logits: list[Tensor] = [self.main(_take(features.decoded, rows))]
        if self.auxiliary is not None and features.auxiliary is not None:
            logits.append(self.auxiliary(_take(features.auxiliary, rows)))
        return logits


def _take(features: Tensor, rows: Sequence[int]) -> Tensor:
    everything = list(rows) == list(range(len(features)))
    return features if everything else features[list(rows)]
