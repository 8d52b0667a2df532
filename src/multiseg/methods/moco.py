"""Self-supervised pretraining on the images of all datasets: what MDP is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from multiseg.batch import ViewBatch
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.methods.base import PretrainingMethod
from multiseg.networks.dataset_norm import images_of
from multiseg.networks.momentum_encoder import MomentumEncoder
from multiseg.networks.segmentation_network import SegmentationNetwork


class _ImageEncoder(nn.Module):
    """Images, normalised, to one vector each. Shape: (B, 3, H, W) to (B, D)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        vectors: Tensor = self.head(self.backbone(images)[-1].mean((2, 3)))
        return vectors


class MoCo(PretrainingMethod):
    """MoCo-v2 (Chen et al.: "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297).

    The backbone's coarsest level, averaged over the image, goes through a projection; the query of a view is to be
    nearer to the key of the other view than to those of other images in a queue,

        L = -log( exp(q · k₊ / τ) / (exp(q · k₊ / τ) + Σ_{k in queue} exp(q · k / τ)) ).

    Labels play no part, so datasets may have none. The backbone is what is trained, the decoder stays as it is. Loss,
    queue and head are those of lightly.

    With several processes batch norms have the statistics of all images, so there is no shuffling of images between
    processes as in the original, whose norms are each process's own.

    Args:
        spaces, network, **common: see `SegmentationMethod`.
        queue: keys of earlier images; the paper's is 65,536. It should be a multiple of the batch.
        temperature: τ.
        momentum: of the key encoder.
        projection_channels: of queries and keys; the layer before has as many channels as the backbone's features.

    Raises:
        MultisegError: lightly is not installed, or a number is out of range.
    """

    trains_on = "views"
    unlabelled_welcome = True
    training_only = ("key.", "head.")

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        queue: int = 65536,
        temperature: float = 0.2,
        momentum: float = 0.999,
        projection_channels: int = 128,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, **common)
        try:
            from lightly.loss import NTXentLoss
            from lightly.models.modules import MoCoProjectionHead
            from lightly.models.modules.memory_bank import MemoryBankModule
        except ImportError:
            raise MultisegError("moco needs lightly: pip install lightly.") from None
        if min(queue, temperature, projection_channels) <= 0:
            raise MultisegError("moco: queue, temperature and projection_channels must be positive.")
        width = network.backbone.channels[-1]
        self.head = MoCoProjectionHead(width, width, projection_channels)
        try:
            self.key = MomentumEncoder(_ImageEncoder(self.network.backbone, self.head), momentum)
        except ValueError as error:
            raise MultisegError(f"moco: {error}") from None
        join = self.joined_over_processes

        class Queue(MemoryBankModule):
            """Holds the keys of all processes; lightly would join them in another order than one process has."""

            def forward(self, output: Tensor, labels: Tensor | None = None, update: bool = False) -> Any:
                own, negatives = super().forward(output, labels)
                if update:
                    super().forward(join(output), labels, update=True)
                return own, negatives

        self.contrast = NTXentLoss(temperature)
        self.contrast.memory_bank = Queue((queue, projection_channels))

    @property
    def compilable(self) -> list[nn.Module]:
        return [self.network.backbone, self.key.encoder]

    def training_step(self, batch: ViewBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        names = [space.name for space in batch.first.spaces]
        encoder = _ImageEncoder(self.network.backbone, self.head)
        with images_of(encoder, names):
            queries = encoder(self.normalize(batch.first.images))
        with images_of(self.key, names):
            keys = self.key(self.normalize(batch.second.images))
        with torch.autocast(self.device.type, enabled=False):
            loss: Tensor = self.contrast(queries.float(), keys.float())
        self.log("loss", loss.detach(), prog_bar=True, sync_dist=self.world_size > 1)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.key.follow(_ImageEncoder(self.network.backbone, self.head))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        # lightly leaves its queue out of the state
        memory = self.contrast.memory_bank
        checkpoint["queue"] = {"keys": memory.bank.clone(), "position": memory.bank_ptr.clone()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        memory = self.contrast.memory_bank
        memory.bank.copy_(checkpoint["queue"]["keys"])
        memory.bank_ptr.copy_(checkpoint["queue"]["position"])
