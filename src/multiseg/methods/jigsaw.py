"""Jigsaw puzzles as a proxy task: a backbone learns from images without labels how the parts of a picture fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.batch import TileBatch
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.methods.base import PretrainingMethod
from multiseg.networks.dataset_norm import images_of
from multiseg.networks.jigsaw_head import TILES, JigsawHead, choose_permutations
from multiseg.networks.segmentation_network import SegmentationNetwork

#: Below this standard deviation, of pixels in 0..255, a tile is as good as of one colour.
_FLAT = 1.0


class Jigsaw(PretrainingMethod):
    """Solving jigsaw puzzles (Noroozi & Favaro, ECCV 2016): a proxy task of M&M.

    Nine tiles of a 3×3 grid are put in the order of one of a set of permutations; the network is to say which. One
    trunk, the backbone, sees every tile by itself. Against shortcuts there are gaps between the tiles, at random
    places, and shifted colour channels and grey images (`loading.tiles`); each tile has its own mean and standard
    deviation taken out, so that brightness does not tell neighbours.

    Labels play no part. Accuracy on held-out images is that of one permutation an image; by chance it is 1 over their
    number.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        permutations: number of permutations.
        tile_channels, channels, dropout: of the head; see `JigsawHead`.

    Raises:
        MultisegError: a number is out of range.
    """

    trains_on = "tiles"
    unlabelled_welcome = True
    judged_by = "accuracy"
    training_only = ("head.",)

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        permutations: int = 100,
        tile_channels: int = 1024,
        channels: int = 4096,
        dropout: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        if min(tile_channels, channels) < 1:
            raise MultisegError("jigsaw: tile_channels and channels must be at least 1.")
        width = network.backbone.channels[-1]
        self.head = JigsawHead(width, permutations, tile_channels, channels, dropout=dropout)
        self.permutations: Tensor
        self.register_buffer("permutations", choose_permutations(permutations))

    def training_step(self, batch: TileBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        logits, answers = self.solve(batch)
        loss = F.cross_entropy(logits.float(), answers)
        right = (logits.detach().argmax(1) == answers).float().mean()
        self.log_dict({"loss": loss.detach(), "accuracy": right}, prog_bar=True, sync_dist=self.world_size > 1)
        return loss

    def solve(self, batch: TileBatch) -> tuple[Tensor, Tensor]:
        """The logits of every image's puzzle, (B, permutations), and the answers, (B,) int64."""
        answers = (batch.lots * len(self.permutations)).long().clamp(max=len(self.permutations) - 1)
        order = self.permutations[answers]
        tiles = batch.images[torch.arange(len(batch), device=order.device)[:, None], order].flatten(0, 1)
        with images_of(self.network.backbone, [space.name for space in batch.spaces for _ in range(TILES)]):
            features = self.network.backbone(self.normalize_tiles(tiles))[-1]
        return self.head(features), answers

    def normalize_tiles(self, tiles: Tensor) -> Tensor:
        """Every tile to mean 0 and standard deviation 1 in each channel. Shape: (N, 3, h, w) uint8 to float."""
        pixels = tiles.float()
        std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True)
        return ((pixels - mean) / std.clamp(min=_FLAT)).to(memory_format=torch.channels_last)

    def count_validation(self, batch: TileBatch) -> Tensor:
        logits, answers = self.solve(batch)
        return torch.stack([(logits.argmax(1) == answers).sum(), answers.new_tensor(len(answers))]).double()

    def scores_of(self, counts: Tensor) -> dict[str, float]:
        right, images = counts.tolist()
        return {"accuracy": right / max(images, 1), "chance": 1 / len(self.permutations)}
