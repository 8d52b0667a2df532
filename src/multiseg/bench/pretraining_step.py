"""A step of MDP, against what its network alone would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import MixedSample, Sample, ViewBatch, Views, collate_views
from multiseg.bench.base import Comparison
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.losses.prototype_bank import ClassBank
from multiseg.losses.prototype_contrast import SparseCoding
from multiseg.methods.mdp import MDP
from multiseg.networks.backbone import Backbone
from multiseg.networks.projection import PixelEncoder
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant

#: Steps a turn, so that 3.2 passes a step are a whole number of them.
_STEPS = 5
_PASSES = 16
_BLOCK_PX = 16


def comparisons() -> list[Comparison]:
    """The network and the views of the recipe `mdp`, for three datasets of 20 classes."""
    network = SegmentationNetwork(
        Backbone("resnet18", output_stride=8), partial(PyramidPooling, channels=256, dropout=0.0)
    )
    return [comparison(network, "PSPNet ResNet-18")]


def comparison(
    network: SegmentationNetwork,
    name: str,
    images: int = 8,
    size: tuple[int, int] = (128, 160),
    classes: int = 20,
    channels: int = 256,
    repeats: int = 5,
) -> Comparison:
    """Two views and one mixed view, with no optimiser on either side.

    A step is allowed 3.2 passes of one view, forward and backward, and a forward without gradient for each of the two
    key views. The parts of a step are timed by themselves, too; losses and bank work on kept embeddings.

    Args:
        network: with no auxiliary head.
        name: of the network.
        images: B.
        size: of the views.
        classes: of each of three datasets.
        channels: of the embeddings.
        repeats: see `Comparison`.
    """
    spaces = [_space(f"set{number}", classes) for number in range(3)]
    batch = collate_views([_views(spaces, number, size) for number in range(images)]).to("cpu")
    torch.manual_seed(0)
    method = MDP(
        spaces,
        network,
        bank=partial(ClassBank, batches=64),
        coding=SparseCoding(),
        projection_channels=channels,
        optimizer=SGD(lr=0.05),
        schedule=Constant(),
    ).train()
    method.to(memory_format=torch.channels_last)
    method.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer
    parts = _Parts(method, batch)

    def steps(*of_each: Callable[[], None]) -> int:
        for _ in range(_STEPS):
            for part in of_each:
                part()
        return _STEPS

    def plain() -> int:
        for _ in range(_PASSES):
            parts.query_views(1)
        for _ in range(_STEPS):
            parts.key_views()
        return _STEPS

    of_step: dict[str, Callable[[], None]] = {
        "query views, forward and backward": partial(parts.query_views, 3),
        "key views, forward": parts.key_views,
        "losses and bank": parts.losses_and_bank,
        "momentum update": parts.momentum_update,
    }
    peer = "the network: 3.2 passes of a view and 2 forwards a step"
    height, width = size
    return Comparison(
        "pretraining_step",
        f"{_STEPS} steps of MDP without optimiser, {name}, {images} views of {height}×{width}, bfloat16, CPU",
        ours=partial(steps, parts.step, parts.momentum_update),
        peers={peer: plain},
        same=int.__eq__,
        goal=1.0,
        goal_peer=peer,
        repeats=repeats,
        parts={what: partial(steps, part) for what, part in of_step.items()},
    )


class _Parts:
    """A step and what it consists of.

    Args:
        method: in training.
        batch: with mixed views.
    """

    def __init__(self, method: MDP, batch: ViewBatch) -> None:
        assert batch.mixed is not None
        self.method, self.batch = method, batch
        self.views: list[tuple[Tensor, Sequence[LabelSpace]]] = [
            (batch.first.images, batch.first.spaces),
            (batch.second.images, batch.second.spaces),
            (batch.mixed.images, batch.mixed.spaces[0]),
        ]
        with _autocast(), torch.no_grad():
            self.queries = [method.embed(*view).requires_grad_() for view in self.views]
            self.keys = [method.embed_keys(*view) for view in self.views[:2]]
        self.gradients = [torch.randn_like(query) for query in self.queries]
        self.without_network = self._without_network()

    def step(self) -> None:
        with _autocast():
            loss = self.method.training_step(self.batch, 0)
        self.method.zero_grad()
        torch.autograd.backward(loss)

    def query_views(self, number: int) -> None:
        """Forward and backward of some of the views, from a gradient made up before."""
        with _autocast():
            embeddings = [self.method.embed(*view) for view in self.views[:number]]
        self.method.zero_grad()
        torch.autograd.backward(embeddings, self.gradients[:number])

    def key_views(self) -> None:
        with _autocast():
            for view in self.views[:2]:
                self.method.embed_keys(*view)

    def losses_and_bank(self) -> None:
        """With the gradient to the embeddings."""
        with _autocast():
            loss = self.without_network.training_step(self.batch, 0)
        torch.autograd.grad(loss, self.queries)

    def momentum_update(self) -> None:
        self.method.key.follow(PixelEncoder(self.method.network, self.method.projection))

    def _without_network(self) -> MDP:
        """The same method, with kept embeddings in the order in which a step asks for them."""
        method = deepcopy(self.method)
        asked = {"queries": 0, "keys": 0}

        def kept(which: str, embeddings: Sequence[Tensor]) -> Tensor:
            asked[which] += 1
            return embeddings[(asked[which] - 1) % len(embeddings)]

        method.embed = lambda *args: kept("queries", self.queries)  # type: ignore[method-assign]
        method.embed_keys = lambda *args: kept("keys", self.keys)  # type: ignore[method-assign]
        return method


def _autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def _space(name: str, classes: int) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(str(i), (i,), (i, i, i)) for i in range(classes)), (255,))


def _views(spaces: Sequence[LabelSpace], number: int, size: tuple[int, int]) -> Views:
    """Two views of an image and one mixed with the next dataset's, at a share of 0.7."""
    own, other = (spaces[place % len(spaces)] for place in (number, number + 1))
    generator = torch.Generator().manual_seed(number)
    first, second, partner = (_sample(space, size, generator) for space in (own, own, other))
    image = (0.7 * first.image + 0.3 * partner.image).to(torch.uint8)
    labels = torch.stack([first.labels, partner.labels])
    return Views(first, second, MixedSample(image, labels, torch.tensor([0.7, 0.3]), (own, other)))


def _sample(space: LabelSpace, size: tuple[int, int], generator: torch.Generator) -> Sample:
    """Noise, labelled in blocks, a tenth of which are ignored."""
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    grid = [length // _BLOCK_PX for length in size]
    labels = torch.randint(0, len(space), grid, generator=generator, dtype=torch.int16)
    labels.masked_fill_(torch.rand(grid, generator=generator) < 0.1, IGNORE)
    labels = labels.repeat_interleave(_BLOCK_PX, 0).repeat_interleave(_BLOCK_PX, 1)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, "")
