"""Triplets from a class-wise connected graph of patches, and as a baseline at random.

Zhan et al.: "Mix-and-Match Tuning for Self-Supervised Semantic Segmentation" (M&M), "The Match Step". Both are pure
functions of labels and of numbers drawn for each node beforehand: the same on one process or eight, and without a loop
over nodes. They work on the host, in numpy: a graph is small, and what many threads or an accelerator would spend on
starting exceeds what there is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multiseg.losses.base import Triplets

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


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

    Returns:
        the triplets, on the device of the labels.
    """

    def positives(classes: Integers, lots: Reals) -> Integers:
        by_class, first, rank, count = _by_class(classes)
        # the r-th node of its class to enter has r predecessors of it; the first one has none, and gets a later one
        drawn = np.where(rank > 0, _below(lots[by_class], rank), 1 + _below(lots[by_class], count - 1))
        found = np.empty_like(by_class)
        found[by_class] = by_class[first + np.where(count > 1, drawn, 0)]
        return found

    return _triplets(labels, lots, ignore, groups, positives, earlier=True)


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

    def positives(classes: Integers, lots: Reals) -> Integers:
        by_class, _, rank, count = _by_class(classes)
        leads = np.flatnonzero((rank % 2 == 0) & (rank + 1 < count))
        found = np.full_like(by_class, -1)
        found[by_class[leads]] = by_class[leads + 1]
        return found

    return _triplets(labels, lots, ignore, groups, positives, earlier=False)


def _triplets(
    labels: Tensor,
    lots: Tensor,
    ignore: int,
    groups: Tensor | None,
    positives_of: Callable[[Integers, Reals], Integers],
    earlier: bool,
) -> Triplets:
    """Of the nodes in the order in which they enter; a partner of -1 is none."""
    every_label, every_lot = labels.cpu().numpy(), lots.cpu().double().numpy()
    labelled = np.flatnonzero(every_label != ignore)
    nodes = labelled[np.argsort(every_lot[labelled, 0], kind="stable")]
    classes, own_lots = every_label[nodes], every_lot[nodes]
    positives = positives_of(classes, own_lots[:, 1])
    negatives = np.full(len(nodes), -1)
    for members in _members(None if groups is None else groups.cpu().numpy()[nodes], len(nodes)):
        found = _negatives(classes[members], own_lots[members, 2], earlier)
        negatives[members] = np.where(found >= 0, members[found], -1)
    kept = np.flatnonzero((positives >= 0) & (negatives >= 0))
    parts = (nodes[kept], nodes[positives[kept]], nodes[negatives[kept]])
    return Triplets(*(torch.from_numpy(part).to(labels.device) for part in parts))


def _members(groups: Integers | None, count: int) -> Iterator[Integers]:
    """The places of each group's nodes, in order."""
    if groups is None:
        yield np.arange(count)
        return
    for group in np.unique(groups):
        yield np.flatnonzero(groups == group)


def _by_class(classes: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """The places of nodes sorted by class, within a class in their order; and for each of these where its class begins,
    its number within it, and the size of the class.
    """
    order = np.argsort(classes, kind="stable")
    ordered = classes[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    counts = np.diff(starts, append=len(order))
    first, count = np.repeat(starts, counts), np.repeat(counts, counts)
    return order, first, np.arange(len(order)) - first, count


def _below(lots: Reals, limits: Integers) -> Integers:
    """A whole number from 0 to limit - 1 each; 0 where the limit is 0."""
    # a lot so near to 1 that the product is rounded up to the limit must not reach it
    drawn: Integers = np.minimum((lots * limits).astype(np.int64), limits - 1).clip(0)
    return drawn


def _negatives(classes: Integers, lots: Reals, earlier: bool) -> Integers:
    """For each of N nodes in order, the place of one of another class: among those before it if `earlier` and there is
    one, else among all; -1 where there is none at all.

    Of a class whose nodes have the places p_0 < p_1 < …, p_k - k nodes of other classes come before the k-th. So the
    j-th node of another class has the place j + #{k: p_k - k ≤ j}, which a binary search finds for all nodes at once.
    """
    total = len(classes)
    places, first, rank, count = _by_class(classes)
    others = total - count
    before = places - rank
    j = _below(lots[places], np.where((before > 0) & earlier, before, others))
    # one search for all classes: each has its own range of keys
    offset = first * (total + 1)
    found = np.empty_like(places)
    place = j + np.searchsorted(offset + before, offset + j, side="right") - first
    found[places] = np.where(others > 0, place, -1)
    return found
