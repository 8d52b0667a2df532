"""Both sides read the same samples; small ones here."""

import pytest

from multiseg.bench import streaming

pytest.importorskip("litdata", reason="the extra `shards` is not installed")


def test_the_sides_agree(tmp_path):
    entry = streaming._comparison(tmp_path, (32, 64), images=20, read=10, shard_bytes=5000)
    ours, theirs = entry.ours(), entry.peers["packed"]()
    assert len(ours) == 10
    assert entry.same(ours, theirs)
    assert not entry.same(ours, theirs[::-1])
