"""Jigsaw puzzles: the permutations, the shuffling, a trunk that sees tiles one by one."""

from __future__ import annotations

import pytest
import torch

from multiseg.errors import MultisegError
from multiseg.methods.jigsaw import Jigsaw
from multiseg.networks.jigsaw_head import choose_permutations
from tiny_methods import PARK, TOWN, make, make_tiles, train

SMALL = {"permutations": 8, "tile_channels": 16, "channels": 32, "dropout": 0.0}


def test_permutations_are_far_apart() -> None:
    chosen = choose_permutations(30, seed=1)
    assert (chosen.sort(1).values == torch.arange(9)).all()
    distances = (chosen[:, None] != chosen[None]).sum(2)[~torch.eye(30, dtype=torch.bool)]
    random = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(n)) for n in range(30)])
    of_random = (random[:, None] != random[None]).sum(2)[~torch.eye(30, dtype=torch.bool)]
    assert distances.min() >= 7 > of_random.min() and distances.float().mean() > of_random.float().mean()
    assert torch.equal(chosen, choose_permutations(30, seed=1)) and not torch.equal(chosen, choose_permutations(30, 2))


def test_the_first_nine_differ_everywhere() -> None:
    """As many permutations as tiles can be without a common place, and a greedy choice finds at least several."""
    chosen = choose_permutations(5)
    assert ((chosen[:, None] != chosen[None]).sum(2) + 9 * torch.eye(5) == 9).all()


@pytest.mark.parametrize("count", [1, 362881])
def test_there_are_only_so_many(count: int) -> None:
    with pytest.raises(MultisegError, match="2 to 362880"):
        choose_permutations(count)


def test_the_trunk_sees_tiles_in_the_order_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(Jigsaw, **SMALL).eval()
    batch = make_tiles([TOWN, PARK, TOWN])
    seen = []
    original = method.normalize_tiles
    monkeypatch.setattr(method, "normalize_tiles", lambda tiles: (seen.append(tiles), original(tiles))[1])
    logits, answers = method.solve(batch)
    assert logits.shape == (3, 8) and answers.tolist() == [int(lot * 8) for lot in batch.lots]
    tiles = seen[0].unflatten(0, (3, 9))
    for image, (answer, shown) in enumerate(zip(answers, tiles, strict=True)):
        for place, tile in enumerate(method.permutations[answer]):
            assert torch.equal(shown[place], batch.images[image, tile])


def test_brightness_and_contrast_of_a_tile_do_not_matter() -> None:
    method = make(Jigsaw, **SMALL).eval()
    tiles = make_tiles([TOWN]).images[0]
    changed = (tiles.float() * 0.5 + 40).round()
    torch.testing.assert_close(method.normalize_tiles(changed), method.normalize_tiles(tiles), rtol=0, atol=0.1)
    flat = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert (method.normalize_tiles(flat) == 0).all()


def test_learns_a_puzzle_and_counts_what_it_solves() -> None:
    method = make(Jigsaw, **SMALL).train()
    batch = make_tiles([TOWN, PARK] * 4)
    train(method, batch, 15)
    solved, chance = method.scores_of(method.count_validation(batch)).values()
    assert chance == 1 / 8 and solved > 0.7
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_the_head_is_left_out_of_the_model() -> None:
    method = make(Jigsaw, **SMALL)
    assert not any(name.startswith("head.") for name in method.trained_state())
    assert "permutations" in method.trained_state()


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(MultisegError, match="at least 1"):
        make(Jigsaw, channels=0)
