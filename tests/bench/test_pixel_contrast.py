"""The contrast of pixels gives the whole matrix' answer at any size; small ones here."""

import pytest
import torch

from multiseg.bench import pixel_contrast


@pytest.mark.parametrize(("images", "side", "classes"), [(1, 14, 2), (2, 14, 3), (3, 21, 10)])
def test_the_sides_agree(images, side, classes):
    entry = pixel_contrast.comparison(images, side, channels=8, classes=classes)
    ours, theirs = entry.ours(), entry.peers[str(entry.goal_peer)]()
    assert entry.same(ours, theirs)
    assert ours[1].abs().max() > 0
    assert not entry.same(ours, (theirs[0], theirs[1] * 1.01))
    assert not entry.same(ours, (theirs[0] * 1.01, theirs[1]))


def test_some_pixels_are_ignored_and_some_have_no_partner():
    entry = pixel_contrast.comparison(2, 14, channels=8, classes=3)
    gradient = entry.ours()[1]
    untouched = (gradient == 0).all(1)
    assert untouched.any() and not untouched.all()
    assert entry.memory_goal == 0.1 and entry.goal == 1.0


def test_the_whole_matrix_is_the_mean_over_positives():
    generator = torch.Generator().manual_seed(1)
    queries, keys = (torch.randn(1, 4, 1, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    labels, key_labels = torch.tensor([[[0, 1, -1]]]), torch.tensor([[[0, 0, -1]]])
    similarities = (queries[0, :, 0].T @ keys[0, :, 0] / 0.07)[0, :2]
    expected = similarities.exp().sum().log() - similarities.mean()
    found = pixel_contrast.whole_matrix(queries, labels, keys, key_labels)
    torch.testing.assert_close(found, expected)
