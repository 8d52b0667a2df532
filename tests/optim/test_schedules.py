import math
from functools import partial

import jsonargparse
import pytest
import torch
from torch.optim import lr_scheduler

from multiseg.errors import MultisegError
from multiseg.optim.schedules import Constant, Cosine, Poly, Schedule, Step

TOTAL = 30


def _factors(make_scheduler, steps=TOTAL):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*factors, optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("schedule", "torchs"),
    [
        (Constant(), partial(lr_scheduler.ConstantLR, factor=1.0)),
        (Poly(), partial(lr_scheduler.PolynomialLR, total_iters=TOTAL, power=0.9)),
        (Poly(power=2.0), partial(lr_scheduler.PolynomialLR, total_iters=TOTAL, power=2.0)),
        (
            Poly(power=1.0, end_factor=0.2),
            partial(lr_scheduler.LinearLR, start_factor=1, end_factor=0.2, total_iters=TOTAL),
        ),
        (Cosine(), partial(lr_scheduler.CosineAnnealingLR, T_max=TOTAL)),
        (Cosine(end_factor=0.1), partial(lr_scheduler.CosineAnnealingLR, T_max=TOTAL, eta_min=0.1)),
        (Step(milestones=[0.5, 0.9], gamma=0.3), partial(lr_scheduler.MultiStepLR, milestones=[15, 27], gamma=0.3)),
    ],
)
def test_equal_to_torchs_own(schedule, torchs):
    own = _factors(partial(lr_scheduler.LambdaLR, lr_lambda=partial(schedule, total=TOTAL)))
    assert own == pytest.approx(_factors(torchs), abs=1e-9)


def test_warmup_equal_to_torchs_own():
    def torchs(optimizer):
        warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=6)
        after = lr_scheduler.PolynomialLR(optimizer, total_iters=TOTAL - 6, power=0.9)
        return lr_scheduler.SequentialLR(optimizer, [warmup, after], milestones=[6])

    schedule = Poly(warmup_steps=6, warmup_factor=0.1)
    own = _factors(partial(lr_scheduler.LambdaLR, lr_lambda=partial(schedule, total=TOTAL)))
    assert own == pytest.approx(_factors(torchs), abs=1e-9)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [
        (Constant(warmup_steps=20, warmup_factor=0.2), 1.0, 1.0),
        (Poly(warmup_steps=20, warmup_factor=0.2), 0.5**0.9, 0.0),
        (Poly(warmup_steps=20, warmup_factor=0.2, end_factor=0.1), 0.1 + 0.9 * 0.5**0.9, 0.1),
        (Cosine(warmup_steps=20, warmup_factor=0.2), 0.5, 0.0),
        (Cosine(warmup_steps=20, warmup_factor=0.2, end_factor=0.5), 0.75, 0.5),
        (Step(warmup_steps=20, warmup_factor=0.2, milestones=[0.6, 0.8]), 0.1, 0.01),
    ],
)
def test_values_that_can_be_told_by_heart(schedule, middle, end):
    values = {step: schedule(step, 100) for step in (0, 10, 20, 60, 100)}
    assert values == pytest.approx({0: 0.2, 10: 0.6, 20: 1.0, 60: middle, 100: end})
    assert all(0 <= schedule(step, 100) <= 1 for step in range(101))


def test_milestones_of_papers_fall_on_their_steps():
    schedule = Step(milestones=[0.66667, 0.88889])
    assert [schedule(step, 90_000) for step in (59_999, 60_000, 80_000)] == pytest.approx([1, 0.1, 0.01])


def test_a_run_shorter_than_its_warmup():
    values = [Poly(warmup_steps=100, warmup_factor=0.0)(step, 10) for step in range(11)]
    assert values == pytest.approx([step / 100 for step in range(11)])
    assert Cosine(warmup_steps=10)(10, 10) == 1.0  # nothing is left to decay in


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(warmup_steps=-1),
        lambda: Cosine(warmup_factor=2.0),
        lambda: Poly(power=0.0),
        lambda: Poly(end_factor=1.5),
        lambda: Cosine(end_factor=-0.1),
        lambda: Step(milestones=[60_000]),
        lambda: Step(gamma=math.inf),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(MultisegError, match=r"schedule (Constant|Poly|Cosine|Step): "):
        make()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the new name is newer than our lower bound
def test_a_recipe_builds_it():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--schedule", type=Schedule)
    recipe = {"class_path": "multiseg.optim.schedules.Step", "init_args": {"milestones": [0.5], "warmup_steps": 3}}
    parsed = parser.parse_object({"schedule": recipe})
    schedule = parser.instantiate_classes(parser.parse_string(parser.dump(parsed))).schedule
    assert schedule == Step(milestones=[0.5], warmup_steps=3)
