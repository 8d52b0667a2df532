"""What the batch norms and convolutions of a saved model hold, read from its file by name.

No network is built: names and shapes say which tensor is what, and only those tensors are read that are asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multiseg.errors import MultisegError
from multiseg.evaluation.weight_charts import NormSet, RunNorms
from multiseg.networks.dataset_norm import plain_state, sets_in

_MEAN, _VARIANCE = ".running_mean", ".running_var"
#: A backbone has its first norm, at least two stages, and no more of them shown than this.
_LEAST_GROUPS = 3
_STAGES_SHOWN = 5
#: What timm calls that which lies beside the main path of a block.
_SHORTCUTS = {"downsample", "shortcut", "identity"}


def read_norms(weights: Path, run: str, trained_on: Sequence[str]) -> RunNorms:
    """The running statistics of all batch norms of a model, and the filters of some.

    Args:
        weights: a model.safetensors.
        run: name of the run.
        trained_on: the datasets of the run; a norm that no dataset has of its own has seen them all.

    Returns:
        a model without batch norms gives no sets and no layers.

    Raises:
        MultisegError: the file is missing or broken, or holds statistics that are not finite.
    """
    try:
        with safe_open(os.fspath(weights), "pt") as file:
            names = {name: name for name in file.keys()}  # noqa: SIM118 (the file is no dictionary)
            found = sets_in(names)  # in the order of the alphabet, as files are
            own = sorted(found, key=[*trained_on, *found].index)
            by_set: dict[tuple[str, ...], dict[str, str]]
            by_set = {(name,): plain_state(names, name) for name in own} or {tuple(trained_on): names}
            plain = next(iter(by_set.values()))
            shapes = {name: tuple(file.get_slice(full).get_shape()) for name, full in plain.items()}
            layers = norm_layers(shapes)
            shown = choose_layers(layers)
            sets = tuple(
                NormSet(
                    datasets,
                    {layer: _array(file.get_tensor(tensors[layer + _MEAN])) for layer in layers},
                    {layer: _array(file.get_tensor(tensors[layer + _VARIANCE])) for layer in layers},
                )
                for datasets, tensors in by_set.items()
                if layers
            )
            filters = {
                layer: (convolution, filter_norms(file.get_tensor(plain[f"{convolution}.weight"])))
                for layer in shown
                if (convolution := convolution_of(layer, shapes))
            }
    except (OSError, SafetensorError) as error:
        raise MultisegError(f"{weights} cannot be read: {error}") from None
    variances = [variance for one in sets for variance in one.variance.values()]
    others = [*(mean for one in sets for mean in one.mean.values()), *(norms for _, norms in filters.values())]
    if not all(np.isfinite(array).all() for array in (*variances, *others)) or any((v < 0).any() for v in variances):
        raise MultisegError(
            f"{weights} has batch norms or filters whose numbers are not finite, or negative variances."
        )
    shared = {layer for layer in layers if own and plain[layer + _MEAN] == layer + _MEAN}
    stages = {
        stage: tuple(layer for layer in members if layer not in shared)
        for stage, members in group_by_stage(layers).items()
    }
    stages = {stage: members for stage, members in stages.items() if members}
    return RunNorms(run, tuple(trained_on), sets, shown, stages, filters)


def norm_layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The batch norms in a state dict and their numbers of channels, from input to output as far as names tell.

    Names are all there is: a file does not keep the order of modules. `layer2` comes before `layer10`, and what lies
    directly in a module before what lies deeper in it, as a stem does.

    Args:
        shapes: of the tensors by name, without dataset-specific ones.
    """
    found = {
        name.removesuffix(_MEAN): shape[0]
        for name, shape in shapes.items()
        if name.endswith(_MEAN) and name.removesuffix(_MEAN) + _VARIANCE in shapes
    }
    return {layer: found[layer] for layer in sorted(found, key=_in_order)}


def choose_layers(layers: Mapping[str, int]) -> tuple[str, ...]:
    """A handful of norms that stand for a network: the first, the last of each stage of the backbone, the last of the
    decoder.

    Norms of shortcuts are none of these. Where successive stages have the same number of channels, the last of them is
    taken; of more than five, five that are spread evenly.

    Args:
        layers: numbers of channels, as from `norm_layers`.
    """
    backbone, decoder = (_part(layers, name) for name in ("backbone", "decoder"))
    if not backbone and not decoder:
        backbone = list(layers)
    groups = split_into_stages(backbone)
    first = groups[0][:1] if groups else []
    lasts = [([layer for layer in group if not _is_shortcut(layer)] or group)[-1] for group in groups]
    ends = [
        [*same_width][-1]
        for _, same_width in groupby([layer for layer in lasts if layer not in first], layers.__getitem__)
    ]
    count = min(len(ends), _STAGES_SHOWN)
    spread = [ends[(index + 1) * len(ends) // count - 1] for index in range(count)]
    return tuple(dict.fromkeys([*first, *spread, *decoder[-1:]]))


def split_into_stages(layers: Sequence[str]) -> list[list[str]]:
    """Layers of a backbone by the module they lie in: the outermost of at least three, where there are so many.

    That with the shortest way to a layer comes first, since it is the stem: `stem.bn` before `s1.b1.conv1.bn`.
    """
    groups = [list(layers)] if layers else []
    while 0 < len(groups) < _LEAST_GROUPS:
        largest = max(groups, key=len)
        if len(largest) == 1:
            break
        depth = len(_common_path(largest)) + 1
        paths = [layer.split(".")[:depth] for layer in largest]
        parts = [[layer for layer, _ in part] for _, part in groupby(zip(largest, paths, strict=True), itemgetter(1))]
        at = groups.index(largest)
        groups[at : at + 1] = parts
    stem = min(groups, key=lambda group: min(layer.count(".") for layer in group), default=[])
    return sorted(groups, key=lambda group: group is not stem)


def group_by_stage(layers: Iterable[str]) -> dict[str, list[str]]:
    """All layers by stage of the backbone, or by the part of the model where they are outside of it."""
    names = list(layers)
    backbone = _part(names, "backbone")
    others: dict[str, list[str]] = {}
    for layer in names:
        if layer not in backbone:
            others.setdefault(_inside(layer).split(".")[0], []).append(layer)
    groups = [*split_into_stages(backbone), *filter(None, [others.pop("decoder", [])]), *others.values()]
    return {".".join(_common_path(group)): group for group in groups}


def convolution_of(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The convolution beside a norm; None where names and shapes show none.

    It has as many filters as the norm has channels and lies in the same module. Of several that is taken which has no
    bias and lies least deep, and the last whose number is not above the norm's: `conv2` for `bn2`, `fuse.0` for
    `fuse.1`.

    Args:
        layer: name of a norm.
        shapes: of all tensors by name.
    """
    channels, number = shapes[layer + _MEAN][0], _number(layer)
    module = layer[: layer.rfind(".") + 1]
    beside = [
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.startswith(module) and name.endswith(".weight") and len(shape) == 4 and shape[0] == channels
    ]

    def fitness(name: str) -> tuple[bool, int, bool, int]:
        before = _number(name) <= number
        return f"{name}.bias" not in shapes, -name.count("."), before, _number(name) if before else -_number(name)

    return max(sorted(beside, key=_in_order), key=fitness, default=None)


def filter_norms(weight: Tensor) -> NDArray[Any]:
    """L2 norms of filters.

    Shape: (O, I, h, w) to (O,).
    """
    return _array(weight.float().flatten(1).norm(dim=1))


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.double().numpy()
    return array


def _inside(layer: str) -> str:
    """Every method calls its network `network`."""
    return layer.removeprefix("network.")


def _part(layers: Iterable[str], part: str) -> list[str]:
    return [layer for layer in layers if _inside(layer).split(".")[0] == part]


def _is_shortcut(layer: str) -> bool:
    return not _SHORTCUTS.isdisjoint(layer.split("."))


def _common_path(layers: Sequence[str]) -> list[str]:
    at_depth = zip(*(layer.split(".") for layer in layers), strict=False)
    return [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, at_depth)]


def _in_order(layer: str) -> list[tuple[bool, list[tuple[str, int]]]]:
    """To sort by: what lies directly in a module before its inner modules, and numbers by value."""
    path = layer.split(".")
    pieces = [[(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", part)] for part in path]
    return [(depth < len(path) - 1, part) for depth, part in enumerate(pieces)]


def _number(layer: str) -> int:
    digits = re.search(r"\d+$", layer)
    return int(digits[0]) if digits else 0
