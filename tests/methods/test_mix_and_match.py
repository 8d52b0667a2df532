"""M&M's step: which patches become which nodes, the loss against a loop, several datasets in one graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from multiseg.batch import PatchBatch
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.losses.base import Triplets
from multiseg.methods.mix_and_match import MixAndMatch
from tiny_methods import PARK, TOWN, make, make_batch, make_patches, step, train

BATCH = make_patches([TOWN, PARK, TOWN, PARK])


def test_loss_is_that_of_the_papers_equations() -> None:
    method = make(MixAndMatch).train()
    features = method.embed(BATCH.images, [space.name for space in BATCH.spaces])
    assert features.shape[:2] == (4, 4) and features.min() >= 0, "after a ReLU"
    x = (features / features.norm(dim=2, keepdim=True)).flatten(0, 1)
    rows = list(zip(*method.match_nodes(*method.nodes(BATCH)), strict=True))
    distances = [((x[a] - x[p]) ** 2).sum() - ((x[a] - x[n]) ** 2).sum() for a, p, n in rows]
    torch.testing.assert_close(step(method, BATCH), torch.stack([(d + 2.1).clamp(min=0) for d in distances]).mean())


def test_nodes_are_the_labelled_patches_in_their_own_classes() -> None:
    triplets = triplets_of(BATCH)
    classes = torch.stack(
        [labels + 3 * (space is PARK) for labels, space in zip(BATCH.labels, BATCH.spaces, strict=True)]
    ).flatten()
    ignored = (BATCH.labels.flatten() == IGNORE).nonzero().flatten()
    assert sorted(triplets.anchors.tolist()) == [node for node in range(16) if node not in ignored]
    assert (classes[triplets.anchors] == classes[triplets.positives]).all()
    assert (classes[triplets.anchors] != classes[triplets.negatives]).all()
    assert not set(torch.cat([*triplets]).tolist()) & set(ignored.tolist())


@pytest.mark.parametrize("union", ["disjoint", "by_name"])
def test_equal_names_are_one_class_only_by_name(union: str) -> None:
    """TOWN's sky is its third class, PARK's Sky its second."""
    labels = torch.tensor([[2, 2, 0], [1, 1, 0]])
    batch = replace(make_patches([TOWN, PARK], 3), labels=labels)
    sky, of_park = {0, 1, 3, 4}, {3, 4}
    crossing = 0
    for seed in range(20):
        lots = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(seed))
        triplets = triplets_of(replace(batch, lots=lots), union=union)
        for a, p, n in zip(*(part.tolist() for part in triplets), strict=True):
            crossing += a in sky and p in sky and (a in of_park) != (p in of_park)
            assert not (union == "by_name" and a in sky and n in sky)
    assert (crossing > 0) == (union == "by_name")


def triplets_of(batch: PatchBatch, **options: object) -> Triplets:
    method = make(MixAndMatch, **options)
    assert isinstance(method, MixAndMatch)
    return method.match_nodes(*method.nodes(batch))


def test_negatives_can_be_kept_within_a_dataset() -> None:
    def crossing(**options: object) -> bool:
        triplets = triplets_of(BATCH, **options)
        of_park = torch.tensor([space is PARK for space in BATCH.spaces]).repeat_interleave(4)
        return bool((of_park[triplets.anchors] != of_park[triplets.negatives]).any())

    assert crossing() and not crossing(negatives="own")


def test_random_triplets_are_half_as_many() -> None:
    graph, pairs = (triplets_of(BATCH, match=match) for match in ("graph", "random"))
    assert len(pairs.anchors) <= len(graph.anchors) / 2
    assert len(torch.cat([pairs.anchors, pairs.positives]).unique()) == 2 * len(pairs.anchors)


def test_mean_pooling_forgets_the_place() -> None:
    flat, mean = (make(MixAndMatch, pooling=pooling).eval() for pooling in ("flatten", "mean"))
    size = make_patches([TOWN], size=(64, 96)).images
    a, b = (method.embed(size, ["town"]) for method in (flat, mean))
    assert a.shape[2] == b.shape[2] * 6
    torch.testing.assert_close(a.unflatten(2, (-1, 6)).mean(3), b)


def test_tuning_draws_classes_apart() -> None:
    method = make(MixAndMatch).train()
    losses = train(method, BATCH, 15)
    assert losses[-1] < losses[0] - 0.5
    decoder = [parameter for parameter in method.network.decoder.parameters()]
    assert decoder and all(parameter.grad is None for parameter in decoder)
    assert all(p.grad is not None for name, p in method.named_parameters() if p.requires_grad)


def test_it_is_judged_by_the_order_of_held_out_triplets() -> None:
    method = make(MixAndMatch).eval()
    features = method.embed(BATCH.images, [space.name for space in BATCH.spaces]).flatten(0, 1).detach()
    x = features / features.norm(dim=1, keepdim=True)
    apart = [float(x[a] @ x[p] - x[a] @ x[n]) * 2 for a, p, n in zip(*triplets_of(BATCH), strict=True)]
    scores = method.scores_of(2 * method.count_validation(BATCH))
    assert scores["ordered"] == pytest.approx(sum(d > 0 for d in apart) / len(apart))
    assert scores["apart"] == pytest.approx(sum(apart) / len(apart), abs=1e-5)
    assert method.scores_of(torch.zeros(3)) == {"ordered": 0, "apart": 0}


def test_it_predicts_nothing_and_says_so() -> None:
    method = make(MixAndMatch)
    assert not method.taxonomies
    with pytest.raises(MultisegError, match="MixAndMatch learns no classes: fine-tune it with"):
        method.classify(method.network(method.normalize(make_batch([TOWN]).images)), "town", [0])


def test_a_margin_of_nothing_is_refused() -> None:
    with pytest.raises(MultisegError, match=r"method\.margin must be positive"):
        make(MixAndMatch, margin=0)
