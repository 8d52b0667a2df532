"""MaskFormer's rule, against a loop over queries and pixels written from its description."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.batch import Segments
from multiseg.evaluation.panoptic_inference import PanopticThresholds, segments_from_queries
from multiseg.label_space import IGNORE

THINGS = np.array([False, True, False, True])


def naive(probabilities: Tensor, masks: Tensor, things: np.ndarray, thresholds: PanopticThresholds) -> list[set]:
    """The segments as (class, pixels). Masks are at the size of the result."""
    kept = []
    for query in range(len(probabilities)):
        label = int(probabilities[query].argmax())
        if label < probabilities.shape[1] - 1 and float(probabilities[query, label]) > thresholds.confidence:
            kept.append((label, float(probabilities[query, label]), masks[query].sigmoid()))
    found: dict[object, set] = {}
    height, width = masks.shape[1:]
    owner = {
        (y, x): max(range(len(kept)), key=lambda q: kept[q][1] * float(kept[q][2][y, x]))
        for y in range(height)
        for x in range(width)
        if kept
    }
    for place, (label, _, mask) in enumerate(kept):
        won = {pixel for pixel, winner in owner.items() if winner == place}
        own = int((mask >= 0.5).sum())
        if not won or not own or len(won) / own < thresholds.overlap:
            continue
        found.setdefault((label, place) if things[label] else label, set()).update(won)
    return sorted((key[0] if isinstance(key, tuple) else key, sorted(pixels)) for key, pixels in found.items())


def as_sets(segments: Segments) -> list:
    return sorted(
        (int(label), sorted(map(tuple, (segments.ids == number).nonzero().tolist())))
        for number, label in enumerate(segments.classes)
    )


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(7, 5, generator=generator)).softmax(-1)
    masks = 3 * torch.randn(7, 2, 3, generator=generator)
    full = F.interpolate(masks[None], (8, 12), mode="bilinear", align_corners=False)[0]
    for thresholds in (PanopticThresholds(0.6, 0.8), PanopticThresholds(0.3, 0.3), PanopticThresholds(0.0, 0.0)):
        found = segments_from_queries(probabilities, masks, (8, 12), THINGS, thresholds)
        assert as_sets(found) == naive(probabilities, full, THINGS, thresholds)
        assert not found.crowd.any() and found.ids.dtype == torch.int16


def test_what_the_network_padded_is_cut_off() -> None:
    masks = torch.full((1, 4, 4), -9.0)
    masks[0, :, 2:] = 9.0
    probabilities = torch.tensor([[0.0, 0.95, 0.0, 0.0, 0.05]])
    found = segments_from_queries(probabilities, masks, (16, 10), THINGS, PanopticThresholds(), (1.0, 10 / 16))
    assert found.ids.shape == (16, 10)
    alone = segments_from_queries(probabilities, masks, (16, 16), THINGS)
    assert torch.equal(found.ids, alone.ids[:, :10])


def test_two_stuff_queries_are_one_segment_and_two_things_two() -> None:
    masks = torch.full((4, 4, 4), -9.0)
    for query in range(4):
        masks[query, query] = 9.0
    probabilities = torch.eye(5)[[2, 2, 1, 1]]
    found = segments_from_queries(probabilities, masks, (4, 4), THINGS)
    assert sorted(found.classes.tolist()) == [1, 1, 2]
    assert len(found.ids[0].unique()) == 1 and torch.equal(found.ids[0], found.ids[1])
    assert not torch.equal(found.ids[2], found.ids[3])


def test_nothing_sure_is_nothing() -> None:
    found = segments_from_queries(torch.full((3, 5), 0.2), torch.randn(3, 2, 2), (4, 4), THINGS)
    assert len(found) == 0 and (found.ids == IGNORE).all()
