"""Which runs on a page are mix-and-match tunings, and which were fine-tuned from one, as their configurations tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from multiseg.configuration import Config
from multiseg.errors import MultisegError
from multiseg.evaluation.tuning_charts import Tuning
from multiseg.methods.mix_and_match import MixAndMatch
from multiseg.run_folder import RunFolder
from multiseg.training_cost import nodes_per_graph


def is_tuning(config: Config) -> bool:
    """Whether it is the configuration of a run of `MixAndMatch`."""
    return _method_of(config) == MixAndMatch.__name__


def start_of(run: RunFolder, config: Config) -> RunFolder | None:
    """The run whose weights a run began with, by `init.weights`; None where it began with none, with a file, or where
    the folder is gone.

    A relative path counts from the folder in which the command was given, which nobody wrote down: the run's own
    parents are tried, then the present one.
    """
    init = config.get("init")
    weights = init.get("weights") if isinstance(init, Mapping) else None
    if not weights:
        return None
    path = Path(str(weights))
    if path.name == run.weights_path.name:
        path = path.parent.parent
    bases = [*run.path.resolve().parents, Path()]
    return next((RunFolder(base / path) for base in bases if RunFolder(base / path).config_path.is_file()), None)


def tuning_of(run: RunFolder) -> RunFolder | None:
    """A run itself if it is a tuning, the one it was fine-tuned from, or None.

    Raises:
        MultisegError: the run has no configuration.
    """
    config = run.read_config()
    if is_tuning(config):
        return run
    start = start_of(run, config)
    try:
        return start if start is not None and is_tuning(start.read_config()) else None
    except MultisegError:
        return None


def find_tunings(runs: Mapping[str, RunFolder]) -> dict[str, RunFolder]:
    """By the name of a run on the page, the tuning that it is or was fine-tuned from; other runs are left out."""
    found = {name: tuning_of(run) for name, run in runs.items()}
    return {name: tuning for name, tuning in found.items() if tuning is not None}


def read_tuning(run: RunFolder, on_page: Mapping[Path, str]) -> Tuning:
    """What charts of tunings show of one.

    Args:
        run: a tuning, perhaps not on the page.
        on_page: names of the page's runs by their folders, resolved.

    Raises:
        MultisegError: it has no configuration.
    """
    config, path = run.read_config(), run.path.resolve()
    seconds = None
    try:
        metrics = run.read_metrics()
        seconds = float(metrics["seconds"]) / int(metrics["step"])
    except (MultisegError, KeyError, TypeError, ValueError, ZeroDivisionError):
        pass  # it is not finished
    return Tuning(on_page.get(path, path.name), str(path), _kind(run, config), nodes_per_graph(config), seconds)


def _kind(run: RunFolder, config: Config) -> str:
    """Which line of a chart it belongs to: what the tuning began with, and how it chose triplets."""
    start = start_of(run, config)
    init = config.get("init")
    weights = init.get("weights") if isinstance(init, Mapping) else None
    arguments = config["method"].get("init_args") or {}
    network = (arguments.get("network") or {}).get("init_args") or {}
    backbone = (network.get("backbone") or {}).get("init_args") or {}
    if start is not None:
        kind = f"from {_method_of(start.read_config()) or start.path.name}"
    elif weights or backbone.get("weights"):
        kind = f"from {Path(str(weights or backbone['weights'])).name}"
    else:
        kind = "from random weights"
    return f"{kind}, random triplets" if arguments.get("match") == "random" else kind


def _method_of(config: Config) -> str:
    """The name of a method's class."""
    method = config.get("method")
    path = method.get("class_path") if isinstance(method, Mapping) else None
    return str(path or "").rpartition(".")[2]
