"""Optimisers as recipe objects: what a recipe says is kept until the network exists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from multiseg.optim.param_groups import param_groups


@dataclass(frozen=True)
class OptimizerSpec(ABC):
    """What all optimisers of a recipe have in common.

    Args:
        lr: learning rate at schedule factor 1.
        weight_decay: as the optimiser defines it.
        lr_multipliers: factors on `lr` by module name, such as `{"network.backbone": 0.1}`.
        no_decay_norm_bias: spare biases and the parameters of norms from weight decay.
    """

    lr: float
    weight_decay: float = 0.0
    lr_multipliers: dict[str, float] = field(default_factory=dict)
    no_decay_norm_bias: bool = False

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        return param_groups(
            module,
            lr=self.lr,
            weight_decay=self.weight_decay,
            lr_multipliers=self.lr_multipliers,
            no_decay_norm_bias=self.no_decay_norm_bias,
        )

    @abstractmethod
    def build(self, module: nn.Module) -> Optimizer:
        """The optimiser of all trainable parameters of a module."""


@dataclass(frozen=True)
class SGD(OptimizerSpec):
    """Stochastic gradient descent with momentum."""

    lr: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = False

    def build(self, module: nn.Module) -> Optimizer:
        return torch.optim.SGD(self.groups(module), momentum=self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True)
class AdamW(OptimizerSpec):
    """Adam with decoupled weight decay."""

    lr: float = 1e-4
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self, module: nn.Module) -> Optimizer:
        return torch.optim.AdamW(self.groups(module), betas=self.betas)
