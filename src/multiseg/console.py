"""Output for people: progress and remarks go to standard error, results to standard output."""

from __future__ import annotations

import sys

from rich.console import Console

results = Console(highlight=False)
_remarks = Console(stderr=True, highlight=False)


def is_terminal() -> bool:
    """Whether progress can be drawn."""
    return sys.stderr.isatty()


def say(text: str) -> None:
    """A remark that is no result."""
    _remarks.print(text, markup=False, soft_wrap=True)
