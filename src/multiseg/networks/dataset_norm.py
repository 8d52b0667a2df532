"""Dataset-specific batch norm: one set of norms a dataset, in any network that has batch norms.

CDCL's dataset-aware block is a convolution that all datasets share, a batch norm of each dataset's own, and an
activation (Wang et al., arXiv 2103.11351; the norm itself is of Chang et al., CVPR 2019):

    DSBN_k(x; γ_k, β_k) = γ_k (x - μ_k) / sqrt(σ_k² + ε) + β_k                    (Eqs. 1 and 2)

In training μ_k and σ_k² are of dataset k's images in the batch, in evaluation they are the running ones of dataset k.

It is a conversion, not a family of networks:

    convert_norms(network, ["camvid", "idd_lite"])          # outputs are what they were
    with images_of(network, "camvid"):                       # or one name an image
        network(images)
    plain = extract_norms(network, "camvid")                 # an ordinary network, with the same outputs
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from multiseg.errors import MultisegError, did_you_mean

Network = TypeVar("Network", bound=nn.Module)
Value = TypeVar("Value")

#: How tensors of a dataset's norm are called: `layer1.0.bn1.of_dataset.camvid.weight`.
_OF_DATASET = re.compile(r"(^|\.)of_dataset\.([\w-]+)\.")


#: Graphs a dataset, those of training and of validation at several sizes: torch's own limit for a network.
_GRAPHS = 8


@dataclass
class _Selection:
    """Whose images a network sees, shared by its norms; nobody's outside of `images_of`.

    Args:
        parts: names and numbers of images, in the order of the batch; None as number: all there are.
        order: (B,) where the images of each dataset are not next to each other; None where they are.
        inverse: (B,) the way back.

    Attributes:
        lock: held as long as a thread has said whose images it shows the network.
    """

    parts: tuple[tuple[str, int | None], ...] = ()
    order: Tensor | None = None
    inverse: Tensor | None = None
    lock: RLock = field(default_factory=RLock, repr=False)

    def __reduce__(self) -> tuple[type[_Selection], tuple[()]]:
        """A copy, of a network in use too, sees nobody's images."""
        return _Selection, ()

    @contextmanager
    def of(self, chosen: _Selection) -> Iterator[None]:
        """Within it, this is the same as another."""
        with self.lock:
            before = self.parts, self.order, self.inverse
            self.parts, self.order, self.inverse = chosen.parts, chosen.order, chosen.inverse
            try:
                yield
            finally:
                self.parts, self.order, self.inverse = before


class DatasetNorm(nn.Module):
    """One batch norm a dataset in the place of one.

    Args:
        norm: the layer it stands for, with activation and all that timm fuses into it; each dataset gets a copy.
        datasets: names.
        selection: whose images the network sees; the same for all norms of a network.

    Attributes:
        of_dataset: the norm of each dataset.
    """

    def __init__(self, norm: _BatchNorm, datasets: Sequence[str], selection: _Selection) -> None:
        super().__init__()
        self.of_dataset = nn.ModuleDict({name: _copy(norm) for name in datasets})
        self.selection = selection

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, C, …) to the same.

        Raises:
            RuntimeError: nobody has said whose images these are, or of how many.
        """
        parts = self.selection.parts
        if not parts:
            raise RuntimeError(
                f"this network has batch norms of {', '.join(self.of_dataset)}: say whose images it sees, "
                "with `multiseg.networks.dataset_norm.images_of`."
            )
        if len(parts) == 1 and parts[0][1] in (None, len(x)):
            only: Tensor = self.of_dataset[parts[0][0]](x)
            return only
        if self.selection.order is not None:
            x = x[self.selection.order.to(x.device)]
        chunks = torch.split(x, [count or 0 for _, count in parts])
        out = torch.cat([self._normal(name, chunk) for (name, _), chunk in zip(parts, chunks, strict=True)])
        return out if self.selection.inverse is None else out[self.selection.inverse.to(x.device)]

    def _normal(self, dataset: str, part: Tensor) -> Tensor:
        norm = self.of_dataset[dataset]
        # Without images a process only joins in the sums of others, which are float32 also where their images are not;
        # torch's SyncBatchNorm would send zeros of the type that it is given.
        normal: Tensor = norm(part) if len(part) else norm(part.float()).to(part.dtype)
        return normal


def convert_norms(network: Network, datasets: Sequence[str]) -> Network:
    """Replaces, in place, every batch norm of a network by one a dataset. Its outputs are what they were, whichever
    dataset is chosen: every norm is a copy, running statistics included.

    A norm that stands in several places stands there still, as one.

    Args:
        network: with batch norms of any dimension, torch's, timm's or synchronised ones; those frozen for good, which
            are no `_BatchNorm`, stay.
        datasets: names, each once, of letters, digits, `_` and `-`.

    Returns:
        the network; a new module where it is a batch norm itself.

    Raises:
        MultisegError: the network has no batch norm, has been converted before, or a name cannot be used.
    """
    for name in datasets:
        if not re.fullmatch(r"[\w-]+", name) or hasattr(nn.ModuleDict(), name) or list(datasets).count(name) > 1:
            raise MultisegError(f"'{name}' cannot name the batch norms of a dataset, or stands there twice.")
    if known := norm_sets(network):
        raise MultisegError(f"the network has batch norms of {', '.join(known)} already.")
    selection, made = _Selection(), dict[int, DatasetNorm]()

    def converted(layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, _BatchNorm):
            return None
        if any(is_lazy(tensor) for tensor in layer.parameters()):
            raise MultisegError("a lazy batch norm must have seen an image before it can be copied.")
        if id(layer) not in made:
            made[id(layer)] = DatasetNorm(layer, datasets, selection)
        return made[id(layer)]

    converted_network = _replaced(network, converted, set())
    if not made:
        raise MultisegError(f"{type(network).__name__} has no batch norm that datasets could have of their own.")
    return converted_network


def extract_norms(network: Network, dataset: str, share: bool = False) -> Network:
    """The reverse of `convert_norms`: an ordinary network with the norms of one dataset and the same outputs, to be
    exported or trained further.

    Args:
        network: left as it is.
        dataset: whose norms.
        share: the new network's tensors are the old one's, not copies.

    Raises:
        MultisegError: the network has no norms of that dataset.
    """
    require_norms(network, dataset)
    tensors = [*network.parameters(), *network.buffers()] if share else []
    plain = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    return _replaced(plain, lambda layer: layer.of_dataset[dataset] if isinstance(layer, DatasetNorm) else None, set())


@contextmanager
def images_of(network: nn.Module, datasets: str | Sequence[str], elsewhere: Iterable[str] = ()) -> Iterator[None]:
    """Within it the network sees images of these datasets; another thread that wants to show it its own waits.

    Args:
        network: may have no dataset-specific norms; then nothing happens.
        datasets: of all images, or one name for each.
        elsewhere: datasets of which only other processes may have images in this batch. Where norms are synchronised,
            all processes must call the same ones.

    Raises:
        MultisegError: the network has no norms of a dataset.
    """
    norm = _first_norm(network)
    if norm is None:
        yield
        return
    with norm.selection.of(_select(norm, datasets, elsewhere)):
        yield


def _select(norm: DatasetNorm, datasets: str | Sequence[str], elsewhere: Iterable[str]) -> _Selection:
    known, wanted = [*norm.of_dataset], {datasets} if isinstance(datasets, str) else {*datasets, *elsewhere}
    for name in wanted:
        require_norms(norm, name)
    if isinstance(datasets, str):
        return _Selection(((datasets, None),))
    # in the order of the network: every process must come to the norms in the same order
    rows = {name: [row for row, own in enumerate(datasets) if own == name] for name in known if name in wanted}
    parts = tuple((name, len(own)) for name, own in rows.items())
    order = [row for own in rows.values() for row in own]
    if order == sorted(order):
        return _Selection(parts)
    return _Selection(parts, torch.tensor(order), torch.tensor(order).argsort())


def dataset_norms(network: nn.Module) -> list[DatasetNorm]:
    """The dataset-specific norms of a network, from input to output as they are registered."""
    return [module for module in network.modules() if isinstance(module, DatasetNorm)]


def norm_sets(network: nn.Module) -> tuple[str, ...]:
    """The datasets of which a network has norms; none for an ordinary network."""
    norm = _first_norm(network)
    return () if norm is None else tuple(norm.of_dataset)


def _first_norm(network: nn.Module) -> DatasetNorm | None:
    """Any of them knows the sets and the selection of all; looking for all takes a while where there are many sets."""
    return next((module for module in network.modules() if isinstance(module, DatasetNorm)), None)


def require_norms(network: nn.Module, dataset: str) -> None:
    """
    Raises:
        MultisegError: the network has no norms of a dataset.
    """
    _require(norm_sets(network), dataset, "the network")


def _require(known: Sequence[str], dataset: str, owner: str) -> None:
    if not known:
        raise MultisegError(f"{owner} has no batch norms of '{dataset}': all its datasets share the same.")
    if dataset not in known:
        raise MultisegError(f"{owner} has no batch norms of '{dataset}'; {did_you_mean(dataset, known)}")


def add_norms(network: nn.Module, dataset: str, like: str) -> None:
    """Gives a network the norms of a further dataset, copied from those of another.

    Raises:
        MultisegError: the network has no norms of that other.
    """
    require_norms(network, like)
    for norm in dataset_norms(network):
        norm.of_dataset[dataset] = _copy(norm.of_dataset[like])


def remove_norms(network: nn.Module, dataset: str) -> None:
    """Takes the norms of a dataset away.

    Raises:
        MultisegError: the network has no norms of that dataset.
    """
    require_norms(network, dataset)
    for norm in dataset_norms(network):
        del norm.of_dataset[dataset]


def untouched(network: nn.Module, present: Iterable[str]) -> Tensor | None:
    """Zero, on the graph of all norms but those of some datasets.

    Added to a loss it gives the norms of absent datasets a gradient of zero instead of none: every process then finds
    every parameter used, and one process does the same as many.

    Args:
        network: whose norms.
        present: the datasets that have images in this process.

    Returns:
        (); None where there are no others.
    """
    absent = set(norm_sets(network)) - set(present)
    parameters = [
        parameter
        for norm in dataset_norms(network)
        for name in sorted(absent)
        for parameter in norm.of_dataset[name].parameters()
    ]
    return torch.cat([parameter.flatten() for parameter in parameters]).sum() * 0 if parameters else None


def compile_network(network: nn.Module) -> None:
    """Compiles a network in place, one graph a shape, and for each dataset its own.

    Torch gives up after a number of graphs that is a global setting of its own, and interprets from then on. That
    number is raised so that each dataset has as many as an ordinary network.
    """
    # its name until torch 2.6
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    wanted = _GRAPHS * max(1, len(norm_sets(network)))
    setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), wanted))
    # by shape: crops have one, and inductor cannot trace the padding to a multiple of the stride symbolically
    network.compile(dynamic=False)


def sets_in(state: Mapping[str, Any]) -> tuple[str, ...]:
    """The datasets of whose norms a state dict holds tensors, sorted: files do not keep an order."""
    return tuple(sorted({match[2] for name in state if (match := _OF_DATASET.search(name))}))


def plain_state(state: Mapping[str, Value], dataset: str, source: str = "weights") -> dict[str, Value]:
    """What the network of `extract_norms` has, from the state dict of a converted one.

    Args:
        state: of a converted network, or of something that holds one; whatever stands for its tensors.
        dataset: whose norms.
        source: the file, for the message.

    Raises:
        MultisegError: the state has no norms of that dataset.
    """
    _require(sets_in(state), dataset, source)
    kept = {
        name: value
        for name, value in state.items()
        if (match := _OF_DATASET.search(name)) is None or match[2] == dataset
    }
    return {_OF_DATASET.sub(r"\1", name): value for name, value in kept.items()}


def state_with_sets(
    state: Mapping[str, Tensor], datasets: Iterable[str], like: str | None, source: str = "weights"
) -> dict[str, Tensor]:
    """A state dict with the norms of some datasets: its own where it has them, else those of another.

    Args:
        state: of a converted network, or of something that holds one.
        datasets: wanted.
        like: whose norms a dataset gets that the state does not have; None: there must be none.
        source: the file, for the message.

    Raises:
        MultisegError: a dataset lacks norms and nobody's are chosen, or the chosen ones are not there.
    """
    known = sets_in(state)
    missing = [name for name in datasets if name not in known]
    if missing and like is None:
        raise MultisegError(
            f"{source} has batch norms of {', '.join(known)}, none of '{missing[0]}': choose whose it starts from with "
            "--init.norms NAME."
        )
    if like is not None:
        _require(known, like, source)
    chosen = {key: value for key, value in state.items() if (match := _OF_DATASET.search(key)) and match[2] == like}
    copies = {
        _OF_DATASET.sub(rf"\g<1>of_dataset.{name}.", key): value for name in missing for key, value in chosen.items()
    }
    return {**state, **copies}


def require_plain(state: Mapping[str, Tensor], source: str) -> None:
    """
    Raises:
        MultisegError: the state has norms of datasets, so that one of them must be chosen first.
    """
    if known := sets_in(state):
        raise MultisegError(
            f"{source} has batch norms of {', '.join(known)}, and here is room for one: "
            "choose with --init.weights … --init.norms NAME."
        )


def _replaced(module: Network, replacement: Callable[[nn.Module], nn.Module | None], seen: set[int]) -> Network:
    """A module in which others are replaced, in place, or the one it is replaced by itself.

    Args:
        module: the outermost.
        replacement: of a module; None to keep it, and look inside.
        seen: modules that are done: one may stand in several places, and a replacement is left alone.
    """
    if id(module) in seen:
        return module
    new = replacement(module)
    seen.add(id(module if new is None else new))
    if new is not None:
        return cast(Network, new)
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _replaced(child, replacement, seen)
    return module


def _copy(norm: nn.Module) -> nn.Module:
    """A copy; a process group cannot be copied, and is the same for all."""
    group = getattr(norm, "process_group", None)
    return copy.deepcopy(norm, {id(group): group} if group is not None else None)
