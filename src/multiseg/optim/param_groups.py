"""Parameters of a module as the groups an optimiser takes: learning rates by part, weight decay by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from multiseg.errors import MultisegError, did_you_mean


def param_groups(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    lr_multipliers: Mapping[str, float] | None = None,
    no_decay_norm_bias: bool = False,
) -> list[dict[str, Any]]:
    """Every trainable parameter in exactly one group, in the order of `named_parameters`.

    Args:
        module: whose parameters; frozen ones are left out, shared ones come once.
        lr: learning rate.
        weight_decay: weight decay.
        lr_multipliers: factors on `lr` by the name of a submodule, such as {"network.backbone": 0.1}. Of names within
            each other the longest counts.
        no_decay_norm_bias: no weight decay for parameters of less than two dimensions: biases, and scales and shifts of
            normalisations.

    Returns:
        dicts of "params", "lr", "weight_decay" and "name", which is unique and shows in logs.

    Raises:
        MultisegError: a multiplier's name fits no parameter, or nothing is trainable.
    """
    multipliers = dict(lr_multipliers or {})
    _refuse_unmatched(module, multipliers)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = max((prefix for prefix in multipliers if _within(name, prefix)), key=len, default="")
        decays = not (no_decay_norm_bias and parameter.ndim < 2)
        group_name = (prefix or "default") + ("" if decays else ", no decay")
        if group_name not in groups:
            groups[group_name] = {
                "name": group_name,
                "lr": lr * multipliers.get(prefix, 1.0),
                "weight_decay": weight_decay if decays else 0.0,
                "params": [],
            }
        groups[group_name]["params"].append(parameter)
    if not groups:
        raise MultisegError(f"{type(module).__name__} has no trainable parameters.")
    return list(groups.values())


def _refuse_unmatched(module: nn.Module, prefixes: Mapping[str, float]) -> None:
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    for prefix in prefixes:
        if not any(_within(name, prefix) for name in names):
            parts = [name for name, part in module.named_modules() if name and any(True for _ in part.parameters())]
            raise MultisegError(f"lr_multipliers: no parameters under '{prefix}'; {did_you_mean(prefix, parts)}")


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
