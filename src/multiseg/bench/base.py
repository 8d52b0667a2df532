"""Comparing the speed of our code with that of named peers, in one run, and where asked the memory that it takes.

All sides take turns, so that a busy machine slows them alike; what counts is the ratio of the medians. Before the clock
starts all must have given the same answer. Memory is measured once, before the clock starts.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from multiseg.errors import MultisegError, did_you_mean

#: Modules of this package that compare nothing.
_NO_BENCHMARKS = frozenset({"base", "growth", "tables"})


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
        memory: also compare how much memory the sides take.
        memory_goal: at most which share of the memory of `goal_peer` ours may take; asks for `memory`, too.
        device: where the sides work.
        images: that a turn deals with, for images a second.
        flops: floating-point operations of a turn of ours, two a multiply-add, for the share of the device's peak.
        repeats: timed turns a side, where it is not the usual number.
        warmup: untimed turns a side after the one whose answers are compared, likewise.
        parts: what ours consists of, by name: timed in the same turns, for a breakdown.
    """

    name: str
    what: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    same: Callable[[Any, Any], bool]
    goal: float | None = None
    goal_peer: str | None = None
    memory: bool = False
    memory_goal: float | None = None
    device: str = "cpu"
    images: int | None = None
    flops: int | None = None
    repeats: int | None = None
    warmup: int | None = None
    parts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


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
class Memory:
    """Of a comparison, the most bytes each side held on top of what was there before it ran.

    Args:
        goal: at most which share of the goal's peer we may take.
        goal_peer: which.
        ours: our bytes.
        peers: the bytes of the peers, by name.
    """

    goal: float | None
    goal_peer: str | None
    ours: int
    peers: dict[str, int]

    @property
    def shares(self) -> dict[str, float]:
        """By peer, our bytes over the peer's."""
        return {name: self.ours / max(size, 1) for name, size in self.peers.items()}

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one, or without the peer it names."""
        if self.goal is None or self.goal_peer not in self.peers:
            return None
        return self.shares[self.goal_peer] <= self.goal

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shares": self.shares, "met": self.met}


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
        parts: the times of what ours consists of, by name.
        memory: None where nobody asked.
        device: where the sides worked.
        images: that a turn dealt with, where that was said.
        flops: of a turn of ours, likewise.
    """

    name: str
    what: str
    goal: float | None
    goal_peer: str | None
    repeats: int
    ours: Timing
    peers: dict[str, Timing]
    missing: tuple[str, ...]
    parts: dict[str, Timing] = field(default_factory=dict)
    memory: Memory | None = None
    device: str = "cpu"
    images: int | None = None
    flops: int | None = None

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

    @property
    def images_per_second(self) -> float | None:
        """Ours; None where nobody counts images."""
        return None if self.images is None else self.images / self.ours.median

    def to_json(self) -> dict[str, Any]:
        """Times in seconds, memory in bytes; what follows from them besides, for whoever reads the file."""
        derived = {"ratios": self.ratios, "met": self.met, "images_per_second": self.images_per_second}
        out = {**asdict(self), **derived, "memory": self.memory and self.memory.to_json()}
        optional = ("parts", "memory", "images", "flops", "images_per_second")
        return {key: value for key, value in out.items() if value or key not in optional}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """
        Raises:
            KeyError, TypeError: it is not what `to_json` makes.
        """
        times = {
            key: {name: Timing(**timing) for name, timing in data.get(key, {}).items()} for key in ("peers", "parts")
        }
        memory = data.get("memory")
        plain = {entry.name: data[entry.name] for entry in fields(cls) if entry.name in data}
        return cls(
            **{
                **plain,
                **times,
                "ours": Timing(**data["ours"]),
                "missing": tuple(data["missing"]),
                "memory": memory and Memory(**{entry.name: memory[entry.name] for entry in fields(Memory)}),
            }
        )


def measure(comparison: Comparison, repeats: int | None = None, warmup: int | None = None) -> Result:
    """Times a comparison, the sides taking turns.

    Args:
        comparison: what to time.
        repeats: timed turns a side, at least two; None for those of the comparison, or else 15.
        warmup: untimed turns a side; None for those of the comparison, or else 2.

    Raises:
        MultisegError: a peer's answer is not ours.
    """
    installed = _installed_and_equal(comparison)
    repeats = repeats or comparison.repeats or 15
    usual = 2 if comparison.warmup is None else comparison.warmup
    warmup = usual if warmup is None else warmup
    memory = _memory(comparison, installed) if comparison.memory or comparison.memory_goal is not None else None
    wait = _waiting(comparison.device)
    sides = [comparison.ours, *(comparison.peers[name] for name in installed), *comparison.parts.values()]
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(warmup + repeats):
        for side, times in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            wait()
            if turn >= warmup:
                times.append(time.perf_counter() - start)
    ours, *others = (_timing(times) for times in seconds)
    return Result(
        name=comparison.name,
        what=comparison.what,
        goal=comparison.goal,
        goal_peer=comparison.goal_peer,
        repeats=repeats,
        ours=ours,
        peers=dict(zip(installed, others[: len(installed)], strict=True)),
        missing=tuple(name for name in comparison.peers if name not in installed),
        parts=dict(zip(comparison.parts, others[len(installed) :], strict=True)),
        memory=memory,
        device=comparison.device,
        images=comparison.images,
        flops=comparison.flops,
    )


def peak_memory(work: Callable[[], Any], device: str = "cpu") -> int:
    """The most bytes of tensors that a job holds at a time, on top of what was there before.

    On a CPU all that PyTorch's allocator gives out to this thread counts, temporaries inside operators included; what
    a library such as oneDNN reserves by itself does not.

    Args:
        work: the job. What it returns is part of it.
        device: "cpu" or a CUDA device.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or else it reports on standard error that it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    # the averages that the profiler offers merge an operator's allocations; the trace has each one
    with tempfile.TemporaryDirectory(prefix="multiseg-bench-") as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_bytes())["traceEvents"]
    changes = sorted((event for event in trace if event.get("name") == "[memory]"), key=lambda event: event["ts"])
    held = [change["args"]["Total Allocated"] for change in changes]
    # the total counts from the start of the process: earlier jobs may have left something
    return max(held) - (held[0] - changes[0]["args"]["Bytes"]) if changes else 0


def _memory(comparison: Comparison, installed: Sequence[str]) -> Memory:
    return Memory(
        comparison.memory_goal,
        comparison.goal_peer,
        peak_memory(comparison.ours, comparison.device),
        {name: peak_memory(comparison.peers[name], comparison.device) for name in installed},
    )


def _waiting(device: str) -> Callable[[], None]:
    """Waits until a device has done all that it was given."""
    if device == "cpu":
        return lambda: None
    import torch

    return partial(torch.cuda.synchronize, device)


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread inside, as in a loading worker."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def names() -> list[str]:
    """What can be benchmarked. Imports nothing, so that it can be asked for in a help text."""
    package = importlib.import_module("multiseg.bench")
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - _NO_BENCHMARKS)


def discover(wanted: Sequence[str] = (), device: str = "cpu") -> dict[str, Callable[[], list[Comparison]]]:
    """The `comparisons` function of each module of this package.

    Args:
        wanted: names of modules; none for all.
        device: "cpu" or "cuda", where a benchmark can be made on either.

    Raises:
        MultisegError: there is no such module; the message names the nearest.
    """
    known = names()
    for name in wanted:
        if name not in known:
            raise MultisegError(f"no benchmark '{name}'; {did_you_mean(name, known)}")
    modules = {name: importlib.import_module(f"multiseg.bench.{name}") for name in wanted or known}
    return {name: _on(device, module.comparisons) for name, module in modules.items()}


def _on(device: str, comparisons: Callable[..., list[Comparison]]) -> Callable[[], list[Comparison]]:
    """For that device, where it makes a difference."""
    return partial(comparisons, device=device) if "device" in signature(comparisons).parameters else comparisons
