"""From the classes of datasets to those of their union, on whatever device a method is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multiseg.label_space import IGNORE, Union


class UnionTables(nn.Module):
    """The tables of a union as buffers, in no checkpoint: the label spaces say what is in them.

    Args:
        union: of datasets.
    """

    def __init__(self, union: Union) -> None:
        super().__init__()
        self.space = union.space
        for name, table in union.tables.items():  # the last entry serves IGNORE = -1
            self.register_buffer(f"of_{name}", torch.tensor([*table, IGNORE]), persistent=False)

    def to_union(self, labels: Tensor, dataset: str) -> Tensor:
        """A dataset's labels, int64 of any shape, as the union's; `IGNORE` stays."""
        return self.get_buffer(f"of_{dataset}")[labels]

    def classes(self, dataset: str) -> Tensor:
        """The union's id of each of a dataset's classes. Shape: (K,) int64."""
        return self.get_buffer(f"of_{dataset}")[:-1]
