"""Results of benchmarks for the terminal, for scripts and for a page of documentation, with the machine they are of."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table

from multiseg.bench.base import Memory, Result
from multiseg.errors import MultisegError

_PACKAGES = (
    "multiseg",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "pillow",
    "transformers",
    "segmentation-models-pytorch",
    "albumentations",
    "opencv-python-headless",
)

#: Dense bfloat16 operations a second, two a multiply-add, by what torch calls the device (makers' data sheets).
_PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


@dataclass(frozen=True)
class Machine:
    """What results depend on.

    Args:
        processor: its name, where the system tells it.
        cores: that this process may use.
        threads: of torch.
        accelerator: the name of the GPU; None without.
        system: the operating system.
        python: its version.
        packages: versions of what is installed of the packages that are compared.
    """

    processor: str
    cores: int
    threads: int
    accelerator: str | None
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Machine:
        import torch

        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages={name: found for name in _PACKAGES if (found := _version(name))},
        )

    @property
    def peak(self) -> float | None:
        """Operations a second of the accelerator in bfloat16; None without one, or one that is not known here."""
        words = re.split(r"[ -]", self.accelerator or "")
        return next((peak for name, peak in _PEAKS.items() if set(name.split()) <= set(words)), None)

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        device = f"; {self.accelerator}" if self.accelerator else ""
        return (
            f"{self.processor}, {self.cores} cores, {self.threads} threads{device}; {self.system}; "
            f"Python {self.python}, {packages}"
        )


def _processor() -> str:
    """As Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def to_json(results: Sequence[Result], machine: Machine) -> str:
    """All results as a JSON text; times in seconds, memory in bytes."""
    return (
        json.dumps({"machine": asdict(machine), "results": [result.to_json() for result in results]}, indent=2) + "\n"
    )


def from_json(path: Path) -> tuple[list[Result], Machine]:
    """
    Raises:
        MultisegError: the file is missing, or is none of `to_json`.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        machine = Machine(**{entry.name: data["machine"][entry.name] for entry in fields(Machine)})
        return [Result.from_json(entry) for entry in data["results"]], machine
    except FileNotFoundError:
        raise MultisegError(f"{path} does not exist; `multiseg bench --json {path}` writes it.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MultisegError(f"{path} holds no results of `multiseg bench --json`.") from None


def table(results: Sequence[Result], machine: Machine | None = None) -> Table:
    """For the terminal: a row a peer, with the medians and their ratio, and a row a part; quartiles are in the JSON."""
    out = Table(*_HEADINGS, caption=str(machine) if machine else None, caption_justify="left")
    with_memory = any(result.memory for result in results)
    for heading in _MEMORY_HEADINGS if with_memory else ():
        out.add_column(heading)
    for result in results:
        job = f"{result.name}\n[dim]{result.what}[/dim]"
        for cells in _rows(result, machine):
            out.add_row(job, *cells)
        for name, timing in result.parts.items():
            share = f"{timing.median / result.ours.median:.1%} of ours"
            out.add_row("", f"of ours: {name}", "", f"{1e3 * timing.median:.2f}", share, "")
    return out


def markdown(results: Sequence[Result], machine: Machine) -> str:
    """For a page of documentation: the table of the terminal without parts, and below it the jobs, which are too long
    for its cells, and the machine.
    """
    with_memory = any(result.memory for result in results)
    headings = [*_HEADINGS, *(_MEMORY_HEADINGS if with_memory else ())]
    lines = [headings, ["---", "---", *["---:"] * (len(headings) - 2)]]
    for place, result in enumerate(results, 1):
        for number, cells in enumerate(_rows(result, machine)):
            job = "" if number else f"{place}. `{result.name}`"
            lines.append([job, *cells, *[""] * (len(headings) - 1 - len(cells))])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    jobs = "".join(f"{place}. {result.what}\n" for place, result in enumerate(results, 1))
    repeats = sorted({result.repeats for result in results})
    turns = f"{repeats[0]} to {repeats[-1]}" if len(repeats) > 1 else f"{repeats[0]}" if repeats else "no"
    return f"{text}\nMedians of {turns} turns. {machine}.\n\n{jobs}"


_HEADINGS = ("benchmark", "peer", "theirs, ms", "ours, ms", "faster", "goal")
_MEMORY_HEADINGS = ("theirs, MB", "ours, MB", "share", "memory goal")


def _rows(result: Result, machine: Machine | None) -> Iterator[list[str]]:
    """The cells of each peer after the job's."""
    ours = f"{1e3 * result.ours.median:.2f}{_throughput(result, machine)}"
    for name, timing in result.peers.items():
        is_goal = result.goal is not None and name == result.goal_peer
        goal = f"{result.goal:g}× {'reached' if result.met else 'missed'}" if is_goal else ""
        theirs, ratio = f"{1e3 * timing.median:.2f}", f"{_ratio(result.ratios[name])}×"
        yield [name, theirs, ours, ratio, goal, *_memory_cells(result.memory, name)]
    for name in result.missing:
        yield [name, "not installed", ours, "", ""]


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _throughput(result: Result, machine: Machine | None) -> str:
    """Images a second, and on an accelerator that is known the share of its peak."""
    found = []
    if result.images_per_second is not None:
        found.append(f"{result.images_per_second:.3g}/s")
    peak = machine.peak if machine and result.device != "cpu" else None
    if result.flops and peak:
        found.append(f"{result.flops / result.ours.median / peak:.0%} of peak")
    return f" ({', '.join(found)})" if found else ""


def _memory_cells(memory: Memory | None, peer: str) -> list[str]:
    if memory is None:
        return []
    is_goal = memory.goal is not None and peer == memory.goal_peer
    goal = f"{memory.goal:g} {'reached' if memory.met else 'missed'}" if is_goal else ""
    return [f"{memory.peers[peer] / 1e6:.1f}", f"{memory.ours / 1e6:.1f}", f"{memory.shares[peer]:.2f}", goal]
