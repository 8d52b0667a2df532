"""The one exception shown to users as a single line, and the "did you mean" that goes with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class MultisegError(Exception):
    """Wrong input. Its message is one or two lines that name the culprit; the command line prints it, and exits
    with 2.
    """

    def __init__(self, message: str) -> None:
        # torch re-raises what a loading worker raised with the worker's traceback as the message: only its end is ours
        if message.startswith("Caught "):
            message = re.split(r"\nmultiseg\.[\w.]+Error: ", message)[-1].strip()
        super().__init__(message)


class SaidByAnotherError(MultisegError):
    """The same error as in the first process of several, which tells of it; the others end in silence."""


class Interrupted(BaseException):
    """A run was asked to stop, and has saved where it is.

    Args:
        number: of the signal; the exit code is 128 more, as in a shell.
        message: how to go on.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


class EmptySplitError(MultisegError):
    """A split of a dataset has no images: in many copies the test split is not there."""


def did_you_mean(wrong: str, valid: Iterable[str], limit: int = 12) -> str:
    """The end of an error message: the nearest valid spelling, or what there is to choose from.

    Args:
        wrong: what the user wrote.
        valid: what could have been written.
        limit: at most this many choices are listed where none is near.
    """
    choices = sorted(set(valid))
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(wrong.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    if not choices:
        return "there is nothing to choose from."
    shown = ", ".join(choices[:limit]) + (", …" if len(choices) > limit else "")
    return f"valid: {shown}."
