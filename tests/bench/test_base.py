"""Timing in turns, and memory against jobs whose allocations are known."""

import json
from functools import partial
from io import StringIO

import pytest
import torch
from rich.console import Console

from multiseg.bench.base import Comparison, Memory, Result, discover, measure, names, peak_memory
from multiseg.bench.tables import Machine, table, to_json
from multiseg.errors import MultisegError

MB = 10**6
MACHINE = Machine("a processor", 2, 1, None, "Linux x86_64", "3.12.1", {"torch": "2.6.0"})
#: What the bookkeeping of a job may take besides.
SLACK = 10**4


def floats(megabytes: int) -> torch.Tensor:
    return torch.empty(megabytes * MB // 4)


def compare(**arguments: object) -> Comparison:
    """Ours holds 2 MB, the peer 8 MB."""
    given = {"peers": {"theirs": lambda: len(floats(8)) * 0}, "goal_peer": "theirs", **arguments}
    return Comparison("job", "some work", lambda: len(floats(2)) * 0, same=int.__eq__, **given)  # type: ignore[arg-type]


def shown(results: list[Result]) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(table(results))
    return console.export_text()


def freed_in_between() -> torch.Tensor:
    first = floats(4)
    del first
    second, third = floats(3), floats(2)
    return second + len(third)  # 3 + 2 + 3


@pytest.mark.parametrize(
    ("job", "megabytes"),
    [
        (lambda: None, 0),
        (lambda: floats(5), 5),
        (freed_in_between, 8),
        (lambda: [floats(1) for _ in range(6)], 6),
        (lambda: [floats(1).sum() for _ in range(6)], 1),
    ],
)
def test_memory_is_the_most_that_is_held_at_a_time(job, megabytes):
    assert peak_memory(job) == pytest.approx(megabytes * MB, abs=SLACK)


def test_memory_counts_what_an_operator_holds_only_while_it_runs():
    values = torch.rand(MB // 4)
    # a copy, whose values the operator moves until the middle one is in the middle; its result is 4 bytes
    assert peak_memory(lambda: values.median()) == pytest.approx(MB, abs=SLACK)


def test_memory_is_on_top_of_what_was_there():
    kept: list[torch.Tensor] = [floats(7)]
    job = partial(kept.append, floats(1))
    assert peak_memory(job) == pytest.approx(0, abs=SLACK)  # made before the job
    leaves = lambda: kept.append(floats(3))  # noqa: E731
    assert peak_memory(leaves) == pytest.approx(3 * MB, abs=SLACK)
    assert peak_memory(leaves) == pytest.approx(3 * MB, abs=SLACK)  # what the last one left is no part of it
    kept.clear()
    assert peak_memory(lambda: floats(2)) == pytest.approx(2 * MB, abs=SLACK)


def test_memory_counts_backward():
    weight = torch.ones(MB // 4, requires_grad=True)

    def job() -> None:
        loss = weight.exp().sum()  # its result is kept: 1
        torch.autograd.grad(loss, weight)  # 1

    assert peak_memory(job) == pytest.approx(2 * MB, abs=SLACK)


def test_memory_is_measured_where_asked_only():
    result = measure(compare(), repeats=2, warmup=0)
    assert result.memory is None and not {"memory", "parts"} & set(result.to_json())
    assert "MB" not in shown([result])
    asked = measure(compare(memory=True), repeats=2, warmup=0)
    assert asked.memory is not None and asked.memory.met is None
    text = shown([result, asked])
    assert "theirs, MB" in text and "0.25" in text
    assert json.loads(to_json([asked], MACHINE))["results"][0]["memory"]["shares"]["theirs"] == pytest.approx(
        0.25, abs=0.01
    )


@pytest.mark.parametrize(("goal", "met"), [(0.3, True), (0.2, False)])
def test_memory_has_a_goal(goal, met):
    result = measure(compare(memory_goal=goal), repeats=2, warmup=0)
    assert result.memory is not None and result.memory.met is met
    assert f"{goal:g} {'reached' if met else 'missed'}" in shown([result])


def test_a_goal_needs_its_peer():
    def absent() -> int:
        raise ImportError

    result = measure(compare(peers={"theirs": absent}, memory_goal=0.5, goal=1.0), repeats=2, warmup=0)
    assert result.missing == ("theirs",) and result.met is None
    assert result.memory is not None and result.memory.met is None
    assert "not installed" in shown([result])
    assert Memory(0.5, None, 1, {"theirs": 4}).met is None


def test_parts_are_timed_and_shown_below():
    calls: list[str] = []
    parts = {name: partial(calls.append, name) for name in ("one", "two")}
    result = measure(compare(parts=parts, repeats=3), warmup=1)
    assert calls == ["one", "two"] * 4 and result.repeats == 3
    assert list(result.parts) == ["one", "two"] and list(result.to_json()["parts"]) == ["one", "two"]
    text = shown([result])
    assert "of ours: one" in text and "% of ours" in text


def test_a_comparison_may_ask_for_fewer_turns():
    turns: list[int] = []
    comparison = compare(peers={"theirs": lambda: turns.append(1) or 0}, repeats=3, warmup=0)
    measure(comparison)
    assert len(turns) == 1 + 0 + 3
    measure(comparison, repeats=2, warmup=1)
    assert len(turns) == 4 + 1 + 1 + 2


def test_unequal_answers_are_not_timed():
    with pytest.raises(MultisegError, match="theirs gives another answer"):
        measure(compare(peers={"theirs": lambda: 1}))


def test_every_module_is_listed():
    assert {"pixel_contrast", "prototype_contrast", "pretraining_step", "confusion_matrix"} <= set(names())
    assert not {"base", "tables", "growth"} & set(names())


def test_a_benchmark_is_made_for_a_device_where_it_has_a_choice(monkeypatch):
    from multiseg.bench import pixel_contrast, startup

    asked = []
    monkeypatch.setattr(pixel_contrast, "comparisons", lambda device="cpu": asked.append(device) or [])
    monkeypatch.setattr(startup, "comparisons", lambda: asked.append("none") or [])
    made = discover(["pixel_contrast", "startup"], device="cuda")
    assert [make() for make in made.values()] == [[], []] and asked == ["cuda", "none"]
