"""Output for people: progress and remarks go to standard error, results to standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# a pipe has no width: lines must not be broken for whatever reads them
results = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
_remarks = Console(stderr=True, highlight=False)


def is_terminal() -> bool:
    """Whether progress can be drawn."""
    return sys.stderr.isatty()


def say(text: str) -> None:
    """A remark that is no result."""
    _remarks.print(text, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with time left, where there is a terminal; yields a function that takes how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_remarks, transient=True, disable=not is_terminal()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def counting_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """As `progress_bar`; the function takes how many more are done."""
    done = 0
    with progress_bar(what, total) as advance:

        def count(more: int) -> None:
            nonlocal done
            done += more
            advance(done)

        yield count
