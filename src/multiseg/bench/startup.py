"""How long a new process takes to answer, against the libraries it stands on and commands of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from multiseg.bench.base import Comparison

_TORCH = "import torch"


def comparisons() -> list[Comparison]:
    """Nothing but the interpreter's own start is cached: each turn is a new process."""
    help_peers: dict[str, Callable[[], int]] = {
        "torchrun --help": partial(_run, "torch", "-m", "torch.distributed.run", "--help")
    }
    imports = ("torch", "lightning", "segmentation_models_pytorch")
    import_peers: dict[str, Callable[[], int]] = {
        f"import {name}": partial(_run, name, "-c", f"import {name}") for name in imports
    }
    return [
        _comparison("multiseg --help", ("-m", "multiseg", "--help"), help_peers, goal_peer="torchrun --help"),
        _comparison("import multiseg", ("-c", "import multiseg"), import_peers, goal_peer=_TORCH),
        _comparison(
            "import all that a training needs",
            ("-c", "import multiseg.training, multiseg.methods.multi_head"),
            {_TORCH: import_peers[_TORCH], "import segmentation_models_pytorch, lightning": _smp_and_lightning},
            goal_peer=None,
        ),
    ]


def _comparison(
    what: str, arguments: tuple[str, ...], peers: dict[str, Callable[[], int]], goal_peer: str | None
) -> Comparison:
    return Comparison(
        "startup",
        f"{what}, a new process",
        partial(_run, "multiseg", *arguments),
        peers,
        int.__eq__,
        goal=1.0 if goal_peer else None,
        goal_peer=goal_peer,
        repeats=5,
        warmup=0,
    )


def _smp_and_lightning() -> int:
    return _run("segmentation_models_pytorch", "-c", "import segmentation_models_pytorch, lightning")


def _run(package: str, *arguments: str) -> int:
    """
    Returns:
        the exit code, 0.

    Raises:
        ImportError: the package is not installed.
        CalledProcessError: the process failed.
    """
    if find_spec(package) is None:
        raise ImportError(package)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return 0
