"""The class-wise connected graph of M&M, against building it node by node."""

from __future__ import annotations

import torch
from torch import Tensor

from multiseg.bench.base import Comparison
from multiseg.label_space import IGNORE
from multiseg.losses.base import Triplets
from multiseg.losses.patch_graph import connected_graph

_CLASSES = 21
#: Nodes of the paper's largest graph, and of eight processes with such graphs together.
_NODES = (400, 3200)


def comparisons() -> list[Comparison]:
    return [comparison(nodes) for nodes in _NODES]


def comparison(nodes: int) -> Comparison:
    """Classes as unequal as those of real images, a twentieth of the patches without label."""
    generator = torch.Generator().manual_seed(0)
    shares = 1.0 / torch.arange(1, _CLASSES + 1)
    labels = torch.multinomial(shares, nodes, replacement=True, generator=generator)
    labels[torch.rand(nodes, generator=generator) < 0.05] = IGNORE
    lots = torch.rand(nodes, 3, generator=generator)
    peer = "node by node"
    return Comparison(
        f"patch_graph_{nodes}",
        f"triplets of {nodes} patches of {_CLASSES} classes",
        lambda: connected_graph(labels, lots, IGNORE),
        {peer: lambda: node_by_node(labels, lots)},
        lambda ours, theirs: all(torch.equal(own, other) for own, other in zip(ours, theirs, strict=True)),
        goal=10,
        goal_peer=peer,
    )


def node_by_node(labels: Tensor, lots: Tensor) -> Triplets:
    """As the paper tells it: nodes enter one at a time, each draws among those that are there."""
    classes, numbers = labels.tolist(), lots.tolist()
    order = sorted((node for node in range(len(classes)) if classes[node] != IGNORE), key=lambda node: numbers[node][0])
    rows = []
    for place, node in enumerate(order):
        own, other = _partners(classes, order[:place], node)
        if not own or not other:
            everywhere = _partners(classes, order, node)
            own, other = own or everywhere[0] or [node], other or everywhere[1]
        if other:
            rows.append((node, _drawn(own, numbers[node][1]), _drawn(other, numbers[node][2])))
    return Triplets(*torch.tensor(rows, dtype=torch.long).reshape(-1, 3).unbind(1))


def _partners(classes: list[int], nodes: list[int], node: int) -> tuple[list[int], list[int]]:
    own = [other for other in nodes if classes[other] == classes[node] and other != node]
    return own, [other for other in nodes if classes[other] != classes[node]]


def _drawn(nodes: list[int], lot: float) -> int:
    return nodes[min(int(lot * len(nodes)), len(nodes) - 1)]
