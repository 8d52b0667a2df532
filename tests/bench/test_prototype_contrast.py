"""The contrast with prototypes gives the whole matrix' answer at any size; small ones here."""

import pytest

from multiseg.bench import prototype_contrast
from multiseg.losses.prototype_contrast import SparseCoding


@pytest.mark.parametrize("coding", [None, SparseCoding(), SparseCoding(0.7, 2)], ids=["Eq. 4", "Eq. 8", "two others"])
@pytest.mark.parametrize("classes", [12, 100])
def test_the_sides_agree(coding, classes):
    entry = prototype_contrast.comparison(coding, classes, images=3, side=14, channels=8)
    ours, theirs = entry.ours(), entry.peers[str(entry.goal_peer)]()
    assert entry.same(ours, theirs)
    assert ours[1].abs().max() > 0 and (ours[1] == 0).all(1).any()  # some are ignored
    assert not entry.same(ours, (theirs[0], theirs[1] * 1.01))
    assert not entry.same(ours, (theirs[0] * 1.01, theirs[1]))


def test_the_equations_differ():
    losses = [prototype_contrast.comparison(coding, 20, 2, 14, 8).ours()[0] for coding in (None, SparseCoding())]
    assert losses[0] != losses[1]
