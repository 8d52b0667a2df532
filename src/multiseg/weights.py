"""Weights from files into modules, with a report of what did and what did not fit."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from multiseg.errors import MultisegError

#: Where training scripts keep the weights within a checkpoint; averaged ones first, as they are the better ones.
_CONTAINERS = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model")

#: What wrappers of a module leave in the names of its tensors.
_WRAPPERS = re.compile(r"^module\.|\b_orig_mod\.")

#: The encoder of keys in checkpoints of MoCo. It only follows the encoder of queries, which is the one that is meant.
_FOLLOWER = re.compile(r"\bencoder_k\.")


class Mismatch(NamedTuple):
    """A tensor whose shape differs between file and module."""

    name: str
    in_file: tuple[int, ...]
    in_module: tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file and of a module.

    Args:
        source: the file, for messages.
        loaded: names in the module.
        missing: names in the module that the file lacks; they keep their values. Counters of batches, which old files
            lack, are not listed.
        unexpected: names in the file that were not used.
        mismatched: present in both, of different shapes; the module keeps its values.
        loaded_parameters: numbers loaded.
        module_parameters: numbers in the module.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    loaded_parameters: int
    module_parameters: int

    @property
    def complete(self) -> bool:
        """Whether the module got everything it has, though the file may hold more."""
        return not self.missing and not self.mismatched

    def summary(self) -> str:
        """A line of counts, and one for each kind of tensor that did not fit."""
        tensors = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [
            f"{self.source}: {len(self.loaded)} of {tensors} tensors loaded, "
            f"{self.loaded_parameters:,} of {self.module_parameters:,} parameters."
        ]
        if self.missing:
            lines.append(f"  {len(self.missing)} not in the file, left as they were: {_shorten(self.missing)}")
        if self.mismatched:
            shapes = [f"{name} {list(in_file)} instead of {list(here)}" for name, in_file, here in self.mismatched]
            lines.append(f"  {len(shapes)} of another shape, left as they were: {_shorten(shapes)}")
        if self.unexpected:
            lines.append(f"  {len(self.unexpected)} of the file not used: {_shorten(self.unexpected)}")
        return "\n".join(lines)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Nothing in the file is executed.

    Args:
        path: a run folder, a `.safetensors` file, or a checkpoint written by `torch.save`. In a checkpoint the weights
            may lie under "state_dict", "model" or the like; wrappers' "module." and "_orig_mod." leave the names.

    Raises:
        MultisegError: there is no such file, it cannot be read without executing code, or it holds no tensors.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "model" / "model.safetensors"
    if not file.is_file():
        raise MultisegError(f"weights {file}: there is no such file.")
    try:
        content = load_file(file) if file.suffix == ".safetensors" else _load_checkpoint(file)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MultisegError(f"weights {file} cannot be read: {reason}") from None
    state = {_WRAPPERS.sub("", name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise MultisegError(f"weights {file}: holds no tensors by name; found {_shorten([*content])}.")
    return state


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], *, prefix: str | None = None, source: str = "weights"
) -> LoadReport:
    """Copies those tensors of a file into a module whose names and shapes fit.

    Names may also be those of a plain timm model where the module is one of timm's feature networks, which wrap the
    model as `model.` or join `stages.0` to `stages_0`.

    Args:
        module: takes the weights.
        state: of `read_weights`.
        prefix: of the names in the file, such as "network.backbone."; None for the one under which most tensors fit.
        source: the file, for the report.

    Raises:
        MultisegError: nothing fits.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    spellings = {spelling: name for name in own for spelling in _spellings(name)} | {name: name for name in own}
    if prefix is None:
        prefix = _best_prefix(state, own, spellings)
    fitting: dict[str, Tensor] = {}
    unexpected: list[str] = []
    mismatched: list[Mismatch] = []
    for file_name, value in state.items():
        name = spellings.get(file_name.removeprefix(prefix)) if file_name.startswith(prefix) else None
        if name is None:
            unexpected.append(file_name)
        elif value.shape != own[name].shape:
            mismatched.append(Mismatch(name, tuple(value.shape), tuple(own[name].shape)))
        else:
            fitting[name] = value
    if not fitting:
        raise MultisegError(
            f"{source}: none of its {len(state)} tensors fits {type(module).__name__}; "
            f"the file has {_shorten([*state], 2)}, wanted are {_shorten([*own], 2)}."
        )
    module.load_state_dict(fitting, strict=False)
    left = own.keys() - fitting.keys() - {name for name, *_ in mismatched}
    missing = tuple(name for name in own if name in left and not name.endswith("num_batches_tracked"))
    return LoadReport(
        source,
        tuple(fitting),
        missing,
        tuple(unexpected),
        tuple(mismatched),
        sum(value.numel() for value in fitting.values()),
        sum(value.numel() for value in own.values()),
    )


def _load_checkpoint(file: Path) -> dict[str, Any]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    while isinstance(content, dict):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return {str(name): value for name, value in content.items()}
        content = inner
    raise ValueError(f"it holds a {type(content).__name__} instead of tensors by name")


def _spellings(name: str) -> Iterator[str]:
    """How a plain timm model calls a tensor of a feature network."""
    plain = name.removeprefix("model.")
    yield plain
    head, dot, rest = plain.partition(".")
    if "_" in head:
        yield ".".join(head.rsplit("_", 1)) + dot + rest


def _best_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor], spellings: Mapping[str, str]) -> str:
    """The prefix under which most tensors fit by name and shape; of equals one that follows none, then the shortest."""
    votes: Counter[str] = Counter()
    for file_name, value in state.items():
        parts = file_name.split(".")
        for count in range(len(parts)):
            name = spellings.get(".".join(parts[count:]))
            if name is not None and own[name].shape == value.shape:
                votes["".join(part + "." for part in parts[:count])] += 1

    def order(prefix: str) -> tuple[Any, ...]:
        return -votes[prefix], _FOLLOWER.search(prefix) is not None, len(prefix), prefix

    return min(votes, key=order, default="")


def _shorten(names: Sequence[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
