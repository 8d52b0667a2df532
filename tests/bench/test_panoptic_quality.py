"""A set of two small images gives torchmetrics' answer."""

import numpy as np
import pytest

from multiseg.bench import panoptic_quality


def test_the_sides_agree():
    entry = panoptic_quality.comparison(images=2, size=(256, 512))
    ours, theirs = entry.ours(), entry.peers[str(entry.goal_peer)]()
    assert entry.same(ours, theirs)
    assert not entry.same(ours, theirs * 1.0001)
    assert ((ours > 10) & (ours < 100)).all()
    assert entry.ours().tolist() == pytest.approx(ours.tolist())  # each turn starts anew


def test_there_are_as_many_segments_as_it_says():
    true, predicted = panoptic_quality._image(np.random.default_rng(0), (256, 512))
    for part in (true, predicted):
        assert len(part) == 50 and (part.areas > 0).all()
    assert predicted.areas.sum() == 256 * 512 > true.areas.sum()  # only the truth has void
