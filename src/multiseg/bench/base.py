"""Comparing the speed of our code with that of named peers, in one run.

All sides take turns, so that a busy machine slows them alike; what counts is the ratio of the medians. Before the clock
starts all must have given the same answer.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from multiseg.errors import MultisegError, did_you_mean


@dataclass(frozen=True)
class Comparison:
    """One job that we and others can do.

    Args:
        name: of the comparison.
        what: the job, with its sizes.
        ours: does it, and returns the answer.
        peers: do it likewise, by name. One that is not installed raises ImportError when called.
        same: whether two answers agree; unequal work must not be timed.
        goal: how many times faster than `goal_peer` we want to be; None: only to be reported.
        goal_peer: one of `peers`.
    """

    name: str
    what: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    same: Callable[[Any, Any], bool]
    goal: float | None = None
    goal_peer: str | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of one side.

    Args:
        median: over the repeats.
        low: first quartile.
        high: third quartile.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """What `measure` found.

    Args:
        name: of the comparison.
        what: the job.
        goal: how many times faster we want to be.
        goal_peer: than which peer.
        repeats: timed turns a side.
        ours: our time.
        peers: the times of the peers, by name.
        missing: peers that are not installed.
    """

    name: str
    what: str
    goal: float | None
    goal_peer: str | None
    repeats: int
    ours: Timing
    peers: dict[str, Timing]
    missing: tuple[str, ...]

    @property
    def ratios(self) -> dict[str, float]:
        """By peer, how many times faster we are: the peer's median over ours."""
        return {name: timing.median / self.ours.median for name, timing in self.peers.items()}

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one, or without the peer it names."""
        if self.goal is None or self.goal_peer not in self.peers:
            return None
        return self.ratios[self.goal_peer] >= self.goal

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratios": self.ratios, "met": self.met}


def measure(comparison: Comparison, repeats: int = 15, warmup: int = 2) -> Result:
    """Times a comparison, the sides taking turns.

    Args:
        comparison: what to time.
        repeats: timed turns a side, at least two.
        warmup: untimed turns a side, after the one whose answers are compared.

    Raises:
        MultisegError: a peer's answer is not ours.
    """
    installed = _installed_and_equal(comparison)
    sides = [comparison.ours, *(comparison.peers[name] for name in installed)]
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(warmup + repeats):
        for side, times in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            if turn >= warmup:
                times.append(time.perf_counter() - start)
    ours, *peers = (_timing(times) for times in seconds)
    return Result(
        name=comparison.name,
        what=comparison.what,
        goal=comparison.goal,
        goal_peer=comparison.goal_peer,
        repeats=repeats,
        ours=ours,
        peers=dict(zip(installed, peers, strict=True)),
        missing=tuple(name for name in comparison.peers if name not in installed),
    )


def _installed_and_equal(comparison: Comparison) -> list[str]:
    answer = comparison.ours()
    installed = []
    for name, peer in comparison.peers.items():
        try:
            theirs = peer()
        except ImportError:
            continue
        if not comparison.same(answer, theirs):
            raise MultisegError(f"bench {comparison.name}: {name} gives another answer, so times would mean nothing.")
        installed.append(name)
    return installed


def _timing(seconds: Sequence[float]) -> Timing:
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high)


def names() -> list[str]:
    """What can be benchmarked. Imports nothing, so that it can be asked for in a help text."""
    package = importlib.import_module("multiseg.bench")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "base")


def discover(wanted: Sequence[str] = ()) -> dict[str, Callable[[], list[Comparison]]]:
    """The `comparisons` function of each module of this package.

    Args:
        wanted: names of modules; none for all.

    Raises:
        MultisegError: there is no such module; the message names the nearest.
    """
    known = names()
    for name in wanted:
        if name not in known:
            raise MultisegError(f"no benchmark '{name}'; {did_you_mean(name, known)}")
    modules = {name: importlib.import_module(f"multiseg.bench.{name}") for name in wanted or known}
    return {name: module.comparisons for name, module in modules.items()}


def table(results: Sequence[Result]) -> Table:
    """For the terminal: a row a peer, with the medians and their ratio; the quartiles are in the JSON."""
    out = Table("benchmark", "peer", "theirs, ms", "ours, ms", "faster", "goal")
    for result in results:
        job, ours = f"{result.name}\n[dim]{result.what}[/dim]", f"{1e3 * result.ours.median:.2f}"
        for name, timing in result.peers.items():
            is_goal = result.goal is not None and name == result.goal_peer
            goal = f"{result.goal:g}× {'reached' if result.met else 'missed'}" if is_goal else ""
            ratio = f"{result.ratios[name]:.1f}×"
            out.add_row(job, name, f"{1e3 * timing.median:.2f}", ours, ratio, goal)
        for name in result.missing:
            out.add_row(job, name, "not installed", ours, "", "")
    return out


def to_json(results: Sequence[Result]) -> str:
    """All results as a JSON text; times in seconds."""
    return json.dumps([result.to_json() for result in results], indent=2) + "\n"
