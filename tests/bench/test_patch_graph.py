"""Both sides build the same graph, at any size; small ones here."""

import pytest

from multiseg.bench import patch_graph


@pytest.mark.parametrize("nodes", [1, 5, 60])
def test_the_sides_agree(nodes):
    entry = patch_graph.comparison(nodes)
    ours, theirs = entry.ours(), entry.peers[str(entry.goal_peer)]()
    assert entry.same(ours, theirs)
    assert nodes == 1 or not entry.same(ours, theirs._replace(negatives=theirs.negatives.roll(1)))
