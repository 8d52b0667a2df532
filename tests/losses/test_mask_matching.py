"""Costs against a loop over pairs and against transformers, assignments against all permutations."""

from itertools import permutations

import torch
from torch import Tensor
from transformers.models.maskformer import modeling_maskformer as transformers_maskformer

from multiseg.losses.base import MaskTargets
from multiseg.losses.mask_losses import mask_losses
from multiseg.losses.mask_matching import assign_queries, matching_cost


def make_targets(ignored: bool = True) -> MaskTargets:
    ids = torch.randint(-1 if ignored else 0, 3, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    if ignored:
        ids[1].clamp_(max=0)  # the second image has one segment
    return MaskTargets.of(ids, torch.tensor([[1, 0, 1], [3, -1, -1]] if ignored else [[1, 0, 1], [3, 2, 2]]), most=10)


def make_logits() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    classes = torch.randn(2, 4, 5)
    classes[0, :, 2:4] = -torch.inf  # of a dataset with two classes
    return classes, 2 * torch.randn(2, 4, 5, 6)


def test_costs_are_those_of_the_losses() -> None:
    """Each query's mask against each segment, by `mask_losses`, which has its own naive test."""
    targets = make_targets()
    classes, masks = make_logits()
    found = matching_cost(classes, masks, targets, class_weight=2.0, focal_weight=20.0, dice_weight=3.0)
    count = targets.classes.shape[1]
    for query in range(4):
        repeated = masks[:, query, None].expand(-1, count, -1, -1)[None]
        focal, dice = mask_losses(repeated, targets)
        for image in range(2):
            for segment, label in enumerate(targets.classes[image].tolist()):
                if label >= 0:
                    cost = 20 * focal[0, image, segment] + 3 * dice[0, image, segment]
                    cost = cost - 2 * classes[image, query].softmax(-1)[label]
                    torch.testing.assert_close(found[image, query, segment], cost, rtol=1e-4, atol=1e-5)


def test_costs_and_assignment_equal_those_of_transformers_where_nothing_is_ignored() -> None:
    targets = make_targets(ignored=False)
    torch.manual_seed(1)
    classes, masks = torch.randn(2, 4, 5), 2 * torch.randn(2, 4, 5, 6)
    costs = matching_cost(classes, masks, targets, 1.0, 20.0, 1.0)
    truth = targets.masks().view(2, 3, 5, 6).float()
    for image in range(2):
        flat, wanted = masks[image].flatten(1), truth[image].flatten(1)
        expected = 20 * transformers_maskformer.pair_wise_sigmoid_focal_loss(flat, wanted)
        expected += transformers_maskformer.pair_wise_dice_loss(flat, wanted)
        expected -= classes[image].softmax(-1)[:, targets.classes[image]]
        torch.testing.assert_close(costs[image], expected, rtol=1e-4, atol=1e-5)
    matcher = transformers_maskformer.MaskFormerHungarianMatcher(1.0, 20.0, 1.0)
    theirs = matcher(masks, classes, list(truth), list(targets.classes))
    ours = assign_queries(costs[None], targets)[0]
    for row, (queries, segments) in zip(ours, theirs, strict=True):
        assert dict(zip(segments.tolist(), queries.tolist(), strict=True)) == dict(enumerate(row.tolist()))


def test_ignored_pixels_cost_nothing() -> None:
    targets = make_targets()
    classes, masks = make_logits()
    changed = torch.where(targets.labelled[:, None], masks, 100.0)
    assert torch.equal(matching_cost(classes, masks, targets), matching_cost(classes, changed, targets))


def test_assignment_is_the_best_of_all_and_no_query_answers_twice() -> None:
    targets = make_targets()
    costs = torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(2))
    found = assign_queries(costs, targets)
    assert found.shape == (3, 2, 3)
    for layer in range(3):
        best = min(sum(costs[layer, 0, q, t] for t, q in enumerate(p)) for p in permutations(range(4), 3))
        chosen = found[layer, 0].tolist()
        assert len(set(chosen)) == 3
        assert float(sum(costs[layer, 0, q, t] for t, q in enumerate(chosen))) == float(best)
        assert int(found[layer, 1, 0]) == int(costs[layer, 1, :, 0].argmin())


def test_an_overflow_and_no_segment_are_no_crash() -> None:
    targets = make_targets()
    costs = torch.full((1, 2, 4, 3), torch.nan)
    assert len(set(assign_queries(costs, targets)[0, 0].tolist())) == 3
    nothing = MaskTargets.of(torch.full((2, 5, 6), -1), torch.zeros(2, 0, dtype=torch.long), most=5)
    cost = matching_cost(*make_logits(), nothing)
    assert cost.shape == (2, 4, 0)
    assert assign_queries(cost[None], nothing).shape == (1, 2, 0)
