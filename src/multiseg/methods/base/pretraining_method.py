"""What methods share that prepare a network for fine-tuning and learn no classes themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.methods.base.segmentation_method import SegmentationMethod
from multiseg.networks.segmentation_network import Features, SegmentationNetwork


class PretrainingMethod(SegmentationMethod):
    """Nothing can be predicted: what is trained is fine-tuned on a dataset from `--init.weights RUN`.

    A proxy task (`judged_by`) is judged by itself on held-out images: it counts in `count_validation`, and what the
    counts come to is in `proxy_scores`, by which one sees whether it learnt something.

    Args:
        spaces, network, **common: see `SegmentationMethod`.

    Attributes:
        trains_decoder: whether the decoder learns, too; else it stays as it is.
        judged_by: of the proxy's scores the one that the best checkpoint is best in; None: no validation.

    Raises:
        MultisegError: the network has an auxiliary head, which only classes can train.
    """

    trains_decoder: bool = False
    judged_by: str | None = None

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        super().__init__(spaces, network, **common)
        if network.auxiliary is not None:
            name = type(self).__name__
            raise MultisegError(f"{name} trains no auxiliary head: set method.network.auxiliary to null.")
        if not self.trains_decoder:
            self.network.decoder.requires_grad_(False)
        self.counts: dict[str, Tensor] = {}

    @property
    def compilable(self) -> list[nn.Module]:
        return [self.network if self.trains_decoder else self.network.backbone]

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {}

    def classify(self, features: Features, taxonomy: str, rows: Sequence[int]) -> list[Tensor]:
        raise MultisegError(f"{type(self).__name__} learns no classes: fine-tune it with --init.weights RUN.")

    # What a proxy task defines

    def count_validation(self, batch: Any) -> Tensor:
        """Sums over some held-out images of a dataset, from which its scores follow. Shape: (S,) float64."""
        raise NotImplementedError

    def scores_of(self, counts: Tensor) -> dict[str, float]:
        """The scores of a dataset from the sums over all its images, `judged_by` among them."""
        raise NotImplementedError

    # Validation

    @property
    def best_by(self) -> str:  # type: ignore[override]
        return f"val/{self.judged_by or 'mIoU'}"

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.counts = {}

    def validation_step(self, batches: list[Any], batch_idx: int) -> None:
        if self.judged_by is None:
            return
        for batch in batches:
            name, counts = batch.spaces[0].name, self.count_validation(batch)
            self.counts[name] = self.counts[name] + counts if name in self.counts else counts

    def on_validation_epoch_end(self) -> None:
        if self.judged_by is None:
            super().on_validation_epoch_end()
            return
        self.counts = self._of_all_processes(self.counts)
        scores = self.proxy_scores()
        for name, entry in scores.items():
            self.log_dict({f"val/{name}/{key}": value for key, value in entry.items()})
        judged = [entry[self.judged_by] for entry in scores.values()]
        self.log(self.best_by, sum(judged) / len(judged) if judged else math.nan, prog_bar=True)

    def proxy_scores(self) -> dict[str, dict[str, float]]:
        """The scores of the last validation, by dataset."""
        return {name: self.scores_of(counts.cpu()) for name, counts in self.counts.items()}

    def _of_all_processes(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Summed; a process without images of a dataset has none of its sums, nor knows how many there are."""
        if self.world_size == 1:
            return dict(counts)
        everywhere: list[Any] = [None] * self.world_size
        dist.all_gather_object(everywhere, {name: own.cpu() for name, own in counts.items()})
        names = [name for name in self.spaces if any(name in own for own in everywhere)]
        return {name: torch.stack([own[name] for own in everywhere if name in own]).sum(0) for name in names}
