"""Triplets from a class-wise connected graph of patches, and as a baseline at random.

Zhan et al.: "Mix-and-Match Tuning for Self-Supervised Semantic Segmentation" (M&M), "The Match Step". Both are pure
functions of labels and of numbers drawn for each node beforehand: the same on one process or eight, and without a loop
over nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multiseg.losses.base import Triplets


def connected_graph(labels: Tensor, lots: Tensor, ignore: int, groups: Tensor | None = None) -> Triplets:
    """Every node once as an anchor, with the two edges by which it entered the graph.

    Nodes enter one at a time, in random order. Each is linked to one node already there of its own class ("attractive")
    and to one of another class ("rejective"), drawn uniformly. So the attractive edges of a class are a tree over all
    its nodes: one connected component. Where a node finds no partner as it enters, it gets one from the whole graph.
    The only node of a class is its own positive; a node without any of another class is in no triplet.

    Args:
        labels: (N,) int64, or `ignore`: the node is passed over.
        lots: (N, 3) in [0, 1), independent: of its place in the order, of its positive, of its negative.
        ignore: see `labels`.
        groups: (N,) int64; negatives then come from the node's own group only. None: from anywhere.
    """
    nodes = _entering(labels, lots[:, 0], ignore)
    classes, lots = labels[nodes], lots[nodes]
    # the r-th node of its class to enter has r predecessors of it; the first one has none, and gets a later one
    by_class = torch.argsort(classes, stable=True)
    first, rank, count = _runs(classes[by_class])
    drawn = torch.where(rank > 0, _below(lots[by_class, 1], rank), 1 + _below(lots[by_class, 1], count - 1))
    alone = count == 1
    positives = torch.empty_like(nodes)
    positives[by_class] = by_class[first + torch.where(alone, 0, drawn)]
    negatives = torch.full_like(nodes, -1)
    for members in _members(None if groups is None else groups[nodes], len(nodes), labels.device):
        found = _negatives(classes[members], lots[members, 2], earlier=True)
        negatives[members] = torch.where(found >= 0, members[found.clamp(min=0)], -1)
    kept = torch.nonzero(negatives >= 0).flatten()
    return Triplets(nodes[kept], nodes[positives[kept]], nodes[negatives[kept]])


def random_pairs(labels: Tensor, lots: Tensor, ignore: int, groups: Tensor | None = None) -> Triplets:
    """Triplets of disconnected pairs: the baseline "random triplets" (Fig. 3a, after Schroff et al. 2015).

    The nodes of each class are paired at random, each once; of an odd number one is left out. The first of a pair is
    the anchor, the second its positive, any node of another class its negative: half as many triplets as nodes, and as
    many components of a class as pairs.

    Args:
        labels: see `connected_graph`, as for the others; of the lots the second is not used.
        lots: of each node.
        ignore: label of nodes that are passed over.
        groups: within which negatives lie.
    """
    nodes = _entering(labels, lots[:, 0], ignore)
    classes, lots = labels[nodes], lots[nodes]
    by_class = torch.argsort(classes, stable=True)
    _, rank, count = _runs(classes[by_class])
    leads = torch.nonzero((rank % 2 == 0) & (rank + 1 < count)).flatten()
    positives = torch.full_like(nodes, -1)
    positives[by_class[leads]] = by_class[leads + 1]
    negatives = torch.full_like(nodes, -1)
    for members in _members(None if groups is None else groups[nodes], len(nodes), labels.device):
        found = _negatives(classes[members], lots[members, 2], earlier=False)
        negatives[members] = torch.where(found >= 0, members[found.clamp(min=0)], -1)
    kept = torch.nonzero((negatives >= 0) & (positives >= 0)).flatten()
    return Triplets(nodes[kept], nodes[positives[kept]], nodes[negatives[kept]])


def _entering(labels: Tensor, lots: Tensor, ignore: int) -> Tensor:
    """The labelled nodes in the order in which they enter."""
    nodes = torch.nonzero(labels != ignore).flatten()
    return nodes[torch.argsort(lots[nodes], stable=True)]


def _members(groups: Tensor | None, count: int, device: torch.device) -> list[Tensor]:
    """The places of each group's nodes, in order."""
    if groups is None:
        return [torch.arange(count, device=device)]
    return [torch.nonzero(groups == group).flatten() for group in torch.unique(groups)]


def _runs(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of sorted values, for each place: where the run of equal ones begins, the place within it, and its length."""
    _, run, lengths = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
    starts = lengths.cumsum(0) - lengths
    first = starts[run]
    return first, torch.arange(len(values), device=values.device) - first, lengths[run]


def _below(lots: Tensor, limits: Tensor) -> Tensor:
    """A whole number from 0 to limit - 1 each; 0 where the limit is 0."""
    # a lot so near to 1 that the product is rounded up to the limit must not reach it
    return torch.minimum((lots.double() * limits).long(), limits - 1).clamp(min=0)


def _negatives(classes: Tensor, lots: Tensor, earlier: bool) -> Tensor:
    """For each of N nodes in order, the place of one of another class: among those before it if `earlier` and there is
    one, else among all; -1 where there is none at all.

    Of a class whose nodes have the places p_0 < p_1 < …, p_k - k nodes of other classes come before the k-th. So the
    j-th node of another class has the place j + #{k: p_k - k ≤ j}, which a binary search finds for all nodes at once.
    """
    total = len(classes)
    by_class = torch.argsort(classes, stable=True)
    first, rank, count = _runs(classes[by_class])
    others = total - count
    before = by_class - rank  # by_class holds the places p_k
    choice = torch.where((before > 0) & earlier, before, others)
    j = _below(lots[by_class], choice)
    # one search for all classes: each has its own range of keys
    offset = first * (total + 1)
    place = j + torch.searchsorted(offset + before, offset + j, right=True) - first
    found = torch.empty_like(by_class)
    found[by_class] = torch.where(others > 0, place, -1)
    return found
