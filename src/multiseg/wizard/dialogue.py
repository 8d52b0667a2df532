"""The wizard at the terminal: its questions and what it prints."""

from __future__ import annotations

import sys
from pathlib import Path

from multiseg.console import results, say
from multiseg.wizard.draft import printable
from multiseg.wizard.init import init_dataset, take_guess


def run(root: Path, out: Path | None, force: bool, quiet: bool) -> int:
    """`multiseg datasets init`.

    Args:
        root: the folder of images and masks.
        out: the file to write; by default `dataset.yaml` in the root.
        force: see `init_dataset`.
        quiet: ask nothing; where nobody sits at a terminal, nothing is asked either.

    Returns:
        The exit code.
    """
    ask = take_guess if quiet or not sys.stdin.isatty() else ask_person
    written = init_dataset(root, out, force, ask)
    counts = ", ".join(f"{split} {count}" for split, count in written.counts.items())
    lines = [*(f"  {line}" for line in written.found), f"wrote {written.file} ({counts} images)"]
    for line in [*lines, f"next: edit it, then {written.command}"]:
        results.print(printable(line), markup=False, soft_wrap=True)
    for warning in written.warnings:
        say(printable(f"warning: {warning}"))
    return 0


def ask_person(question: str, guess: str) -> str:
    """The answer typed, or the guess where there is none."""
    try:
        return input(f"{question} [{guess}] ").strip() or guess
    except EOFError:
        return guess
