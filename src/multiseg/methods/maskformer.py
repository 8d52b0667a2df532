"""MaskFormer, with a classifier of queries for each dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.label_space import LabelSpace
from multiseg.methods.base import MaskMethod
from multiseg.networks.mask_decoder import Words
from multiseg.networks.segmentation_network import SegmentationNetwork


class MaskFormer(MaskMethod):
    """MaskFormer of one dataset; of several, the baseline "MaskFormer + Multi-head" of LMSeg (section 4.2): all is
    shared but the last linear layer, from queries to classes.

    Args:
        spaces, network, **common: see `MaskMethod`.
    """

    def __init__(self, spaces: list[LabelSpace], network: SegmentationNetwork, **common: Any) -> None:
        super().__init__(spaces, network, **common)
        self.classifiers = nn.ModuleDict({space.name: nn.Linear(self.width, len(space) + 1) for space in spaces})

    def class_logits(self, queries: Tensor, datasets: Sequence[str], words: Words | None) -> Tensor:
        most = max(len(self.spaces[name]) for name in datasets)
        layers, batch, count, _ = queries.shape
        logits = torch.full((layers, batch, count, most + 1), -torch.inf, device=queries.device)
        for name, classifier in self.classifiers.items():
            rows = [row for row, dataset in enumerate(datasets) if dataset == name]
            if not rows and not self.training:
                continue
            own = classifier(queries[:, rows]).float()  # of no image: a zero gradient, as DDP wants one
            classes = own.shape[-1] - 1
            if rows:
                widened = F.pad(own[..., :-1], (0, most - classes), value=-torch.inf)
                logits = logits.index_copy(
                    1, torch.tensor(rows, device=own.device), torch.cat([widened, own[..., -1:]], -1)
                )
            else:
                logits = logits + own.sum()
        return logits
