"""The class-wise connected graph and the pairs it is compared with: the properties that the paper states, on graphs of
many sizes, and a naive construction.
"""

from __future__ import annotations

import time
from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from multiseg.losses.base import Triplets
from multiseg.losses.patch_graph import connected_graph, random_pairs

IGNORE = -1
graphs = st.tuples(st.lists(st.integers(-1, 5), max_size=60), st.integers(0, 2**31), st.integers(1, 3))


def drawn(labels: list[int], seed: int, groups: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lots = torch.rand(len(labels), 3, generator=generator)
    return torch.tensor(labels, dtype=torch.long), lots, torch.randint(groups, (len(labels),), generator=generator)


def naive_graph(labels: list[int], lots: Tensor) -> list[tuple[int, int, int]]:
    """Node by node, as the paper tells it."""
    order = sorted((n for n, label in enumerate(labels) if label != IGNORE), key=lambda n: (float(lots[n, 0]), n))

    def pick(nodes: list[int], lot: float) -> int:
        return nodes[min(int(lot * len(nodes)), len(nodes) - 1)]

    found = []
    for number, node in enumerate(order):
        inside, everything = order[:number], [other for other in order if other != node]
        own = [n for n in inside if labels[n] == labels[node]] or [n for n in everything if labels[n] == labels[node]]
        others = [n for n in inside if labels[n] != labels[node]] or [
            n for n in everything if labels[n] != labels[node]
        ]
        if others:
            positive = pick(own, float(lots[node, 1])) if own else node
            found.append((node, positive, pick(others, float(lots[node, 2]))))
    return found


def as_rows(triplets: Triplets) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in triplets), strict=True))


@settings(max_examples=150, deadline=None)
@given(graphs)
def test_the_graph_is_that_of_the_naive_construction(graph: tuple[list[int], int, int]) -> None:
    labels, seed, _ = graph
    tensor, lots, _ = drawn(labels, seed)
    assert as_rows(connected_graph(tensor, lots, IGNORE)) == naive_graph(labels, lots)


@settings(max_examples=150, deadline=None)
@given(graphs)
def test_every_class_is_one_component_and_every_node_an_anchor_once(graph: tuple[list[int], int, int]) -> None:
    labels, seed, parts = graph
    tensor, lots, groups = drawn(labels, seed, parts)
    triplets = connected_graph(tensor, lots, IGNORE, groups)
    count = len(labels)
    assert len(triplets.anchors.unique()) == len(triplets.anchors)
    # every labelled node whose group has another class is an anchor
    classes = defaultdict(set)
    for label, group in zip(labels, groups.tolist(), strict=True):
        if label != IGNORE:
            classes[group].add(label)
    wanted = {n for n in range(count) if labels[n] != IGNORE and len(classes[int(groups[n])]) > 1}
    assert set(triplets.anchors.tolist()) == wanted
    check_labels(tensor, triplets, groups)
    if parts == 1 and wanted:
        edges = coo_array((torch.ones(len(wanted)), (triplets.anchors, triplets.positives)), (count, count))
        component = connected_components(edges, directed=False)[1]
        for label in classes[0]:
            assert len({component[n] for n in range(count) if labels[n] == label}) == 1


@settings(max_examples=150, deadline=None)
@given(graphs)
def test_random_pairs_are_disconnected(graph: tuple[list[int], int, int]) -> None:
    labels, seed, parts = graph
    tensor, lots, groups = drawn(labels, seed, parts)
    triplets = random_pairs(tensor, lots, IGNORE, groups)
    check_labels(tensor, triplets, groups)
    paired = torch.cat([triplets.anchors, triplets.positives])
    assert len(paired.unique()) == len(paired), "a node is in one pair"
    if parts == 1 and len({label for label in labels if label != IGNORE}) > 1:
        assert len(triplets.anchors) == sum(labels.count(label) // 2 for label in set(labels) - {IGNORE})


def check_labels(labels: Tensor, triplets: Triplets, groups: Tensor) -> None:
    anchors, positives, negatives = (labels[part] for part in triplets)
    assert (anchors == positives).all() and (anchors != negatives).all()
    assert not torch.cat([anchors, positives, negatives]).eq(IGNORE).any()
    assert (groups[triplets.anchors] == groups[triplets.negatives]).all()


def test_the_only_node_of_a_class_is_its_own_positive() -> None:
    triplets = connected_graph(*drawn([0, 1, 1], 0)[:2], IGNORE)
    rows = {anchor: positive for anchor, positive, _ in as_rows(triplets)}
    assert rows == {0: 0, 1: 2, 2: 1}
    assert 0 not in random_pairs(*drawn([0, 1, 1], 0)[:2], IGNORE).anchors


@pytest.mark.parametrize("labels", [[], [IGNORE] * 4, [2, 2, 2], [2, IGNORE, 2]])
def test_without_two_classes_there_is_no_triplet(labels: list[int]) -> None:
    for match in (connected_graph, random_pairs):
        assert not len(match(*drawn(labels, 1)[:2], IGNORE).anchors)


def test_partners_are_drawn_evenly() -> None:
    """Over many graphs of one class of four and one of three: of the nodes that may be linked, each as often."""
    counts = torch.zeros(2, 7, 7)
    for seed in range(1500):
        triplets = connected_graph(*drawn([0, 0, 0, 0, 1, 1, 1], seed)[:2], IGNORE)
        counts[0, triplets.anchors, triplets.positives] += 1
        counts[1, triplets.anchors, triplets.negatives] += 1
    of_first, of_second, across = counts[0, :4, :4], counts[0, 4:, 4:], counts[1, :4, 4:]
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    for part, expected in ((of_first[off_diagonal], 500), (of_second[~torch.eye(3, dtype=torch.bool)], 750)):
        assert (part - expected).abs().max() < 0.2 * expected
    assert (across - 500).abs().max() < 100


def test_the_same_lots_give_the_same_graph_and_others_another() -> None:
    labels, lots, _ = drawn([0, 1, 2] * 20, 3)
    first, again = connected_graph(labels, lots, IGNORE), connected_graph(labels, lots.clone(), IGNORE)
    assert as_rows(first) == as_rows(again)
    assert as_rows(first) != as_rows(connected_graph(labels, drawn([0, 1, 2] * 20, 4)[1], IGNORE))


def test_lots_of_almost_one_stay_in_range() -> None:
    labels = torch.tensor([0, 0, 1, 1, 0])
    check_labels(labels, connected_graph(labels, torch.full((5, 3), 1 - 2**-24), IGNORE), torch.zeros(5))


def test_a_graph_of_400_nodes_takes_less_than_five_milliseconds() -> None:
    labels, lots, _ = drawn([n % 21 for n in range(400)], 0)
    times = []
    for _ in range(20):
        started = time.process_time()
        connected_graph(labels, lots, IGNORE)
        times.append(time.process_time() - started)
    assert sorted(times)[len(times) // 2] < 0.005
