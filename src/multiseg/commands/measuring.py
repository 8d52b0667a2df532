"""What `multiseg bench` does, with remarks on how far it is."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from multiseg.bench import base, growth
from multiseg.console import say
from multiseg.errors import MultisegError


def compare(names: Sequence[str], device: str | None) -> list[base.Result]:
    """One benchmark after another: none is built before the last is done, so that none lacks memory for others.

    Args:
        names: of benchmarks; none for all.
        device: "cpu" or "cuda"; None: cuda where there is one.

    Raises:
        MultisegError: there is no such benchmark or no such device, or a peer's answer is not ours.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MultisegError("--device cuda: torch finds no CUDA device here; --device cpu measures on the processor.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    made = base.discover(names, device)
    start, results = time.monotonic(), []
    for number, (name, comparisons) in enumerate(made.items()):
        say(f"{number + 1} of {len(made)}: {name}{_left(time.monotonic() - start, number, len(made))}")
        results += [base.measure(comparison) for comparison in comparisons()]
        gc.collect()
    return results


def grow(folder: Path) -> None:
    """Writes how a training step grows."""
    points = []
    for point in growth.measure_growth():
        points.append(point)
        number = f"{point.datasets} × {point.classes} classes"
        say(f"{point.method}, {number}: {point.seconds:.2f} s, {(point.step_bytes + point.model_bytes) / 1e6:.0f} MB")
    growth.write_growth(points, folder)


def _left(seconds: float, done: int, total: int) -> str:
    return f", about {seconds / done * (total - done) / 60:.0f} minutes left" if done else ""
