"""Batch plans: the right shares, no repetition within an epoch, the same for any number of ranks and any start."""

from collections import Counter

import numpy as np
import pytest

from multiseg.errors import MultisegError
from multiseg.loading.sampling import Alternating, BatchPlan, Draw, EvaluationBatches, Mixed, PlannedSampler

SIZES = {"small": 7, "large": 70}


def batches(plan: BatchPlan, start: int = 0, stop: int = 50, batch_size: int = 6, **rank: int) -> list[list[Draw]]:
    return list(PlannedSampler(plan, SIZES, batch_size, seed=3, start=start, stop=stop, **rank))


PLANS = [
    Mixed(),
    Mixed(exponent=1.0),
    Mixed(weights={"small": 1, "large": 2}),
    Alternating(),
    Alternating(exponent=0.5),
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_run_resumed_anywhere_goes_on_with_the_same_batches(plan: BatchPlan) -> None:
    whole = batches(plan)
    for start in (1, 17, 49):
        assert batches(plan, start=start) == whole[start:]


def test_resuming_crosses_the_blocks_in_which_batches_are_counted() -> None:
    whole = batches(Mixed(exponent=0.3), stop=9000)
    assert batches(Mixed(exponent=0.3), start=8500, stop=9000) == whole[8500:]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_global_batch(plan: BatchPlan, world: int) -> None:
    whole = batches(plan)
    parts = [batches(plan, rank=rank, world_size=world) for rank in range(world)]
    for number, batch in enumerate(whole):
        shared = [draw for part in parts for draw in part[number]]
        assert sorted(shared) == sorted(batch)
        assert all(len(part[number]) == len(batch) // world for part in parts)


@pytest.mark.parametrize("plan", PLANS)
def test_every_epoch_of_a_dataset_holds_each_image_once(plan: BatchPlan) -> None:
    seen = [draw.image for batch in batches(plan, stop=200) for draw in batch if draw.dataset == 0]
    for epoch in range(len(seen) // 7):
        assert sorted(seen[7 * epoch : 7 * epoch + 7]) == list(range(7))


@pytest.mark.parametrize(
    ("plan", "small"),
    [
        (Mixed(), 0.5),
        (Mixed(exponent=1.0), 7 / 77),
        (Mixed(exponent=0.5), 7**0.5 / (7**0.5 + 70**0.5)),
        (Mixed(weights={"small": 1, "large": 3}), 0.25),
        (Alternating(), 0.5),
        (Alternating(exponent=1.0), 7 / 77),
    ],
)
def test_shares(plan: BatchPlan, small: float) -> None:
    counts = Counter(draw.dataset for batch in batches(plan, stop=2000) for draw in batch)
    assert counts[0] / sum(counts.values()) == pytest.approx(small, abs=0.01)


def test_mixed_batches_vary_by_at_most_one_image() -> None:
    for batch in batches(Mixed(weights={"small": 0.3, "large": 0.7}), stop=300):
        assert sum(draw.dataset == 0 for draw in batch) in (1, 2)  # 6 × 0.3 = 1.8


def test_alternating_batches_hold_one_dataset_each_and_take_turns() -> None:
    order = [{draw.dataset for draw in batch} for batch in batches(Alternating(interval=2), stop=8)]
    assert order == [{0}, {0}, {1}, {1}, {0}, {0}, {1}, {1}]


@pytest.mark.parametrize(
    ("plan", "turns"),
    [
        (Mixed(), 1),
        (Alternating(), 3),
        (Alternating(exponent=1.0), 3),
        (Alternating(interval=1, update="cycle"), 3),
        (Alternating(update="batch"), 1),
        (Alternating(interval=4), 1),
        (Alternating(interval=4, update="batch"), 1),
    ],
)
def test_turns_of_an_update(plan: BatchPlan, turns: int) -> None:
    assert plan.turns(3) == turns


def test_a_cycle_cannot_wait_for_longer_turns() -> None:
    with pytest.raises(MultisegError, match="with an interval of 2 every batch is an update"):
        Alternating(interval=2, update="cycle")


def test_augmentation_seeds_differ_between_draws_of_one_image() -> None:
    draws = [draw for batch in batches(Mixed(), stop=100) for draw in batch]
    assert len({draw.seed for draw in draws}) == len(draws)


def test_another_seed_gives_another_order() -> None:
    other = list(PlannedSampler(Mixed(), SIZES, 6, seed=4, start=0, stop=50))
    assert other != batches(Mixed())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"smal": 1.0, "large": 1.0}, "did you mean 'small'"),
        ({"small": 1.0}, "large"),
        ({"small": 0, "large": 1}, "positive"),
    ],
)
def test_faulty_weights(weights: dict[str, float], message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        Mixed(weights=weights).probabilities(SIZES)


def test_indivisible_batch_is_refused() -> None:
    with pytest.raises(MultisegError, match="6 images cannot be shared equally among 4"):
        batches(Mixed(), world_size=4)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_covers_everything_once_in_batches_that_do_not_depend_on_the_ranks(world: int) -> None:
    shards = [list(EvaluationBatches(5, 2, rank, world)) for rank in range(world)]
    assert all(shards), "a rank without a batch would leave out the validation that others wait in"
    assert sorted(batch for shard in shards for batch in shard if batch) == [[0, 1], [2, 3], [4]]


def test_where_there_is_nothing_to_evaluate_no_rank_has_a_batch() -> None:
    assert not any(len(EvaluationBatches(0, 2, rank, 2)) for rank in range(2))


def test_many_datasets_in_a_small_batch() -> None:
    sizes = {f"d{i}": 10 for i in range(1000)}
    sampler = PlannedSampler(Mixed(), sizes, 16, seed=0, start=0, stop=1000)
    counts = np.bincount([draw.dataset for batch in sampler for draw in batch], minlength=1000)
    assert counts.sum() == 16_000 and counts.min() >= 4 and counts.max() <= 32


@pytest.mark.parametrize("plan", PLANS)
def test_partners_are_other_images_of_the_global_batch_each_once(plan: BatchPlan) -> None:
    plain, paired = batches(plan), batches(plan, pairs=True)
    for batch, same in zip(paired, plain, strict=True):
        assert [draw._replace(partner=None) for draw in batch] == same
        assert Counter(draw.partner for draw in batch) == Counter(draw[:2] for draw in batch)
    assert any(
        draw.partner is not None and draw.partner[0] != draw.dataset for b in batches(Mixed(), pairs=True) for draw in b
    )


def test_partners_do_not_depend_on_ranks_or_the_start() -> None:
    whole = batches(Mixed(), pairs=True)
    assert batches(Mixed(), start=17, pairs=True) == whole[17:]
    parts = [batches(Mixed(), rank=rank, world_size=2, pairs=True) for rank in (0, 1)]
    for batch, *own in zip(whole, *parts, strict=True):
        assert sorted(own[0] + own[1]) == sorted(batch)


def test_an_image_alone_in_its_batch_is_its_own_partner() -> None:
    (batch,) = batches(Mixed(), stop=1, batch_size=1, pairs=True)
    assert batch[0].partner == batch[0][:2]
