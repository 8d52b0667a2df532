"""What a run's training costs, read off its configuration."""

from __future__ import annotations

from multiseg.configuration import Config
from multiseg.loading.sampling import Alternating, Mixed


def images_per_update(config: Config) -> int | None:
    """Images that an update of the weights sees, over all processes; None where the configuration does not say, as of
    a plan of batches that is not multiseg's own.

    Args:
        config: of a run, resolved; see `DataModule` and `TrainerSettings` for its keys.
    """
    try:
        kind, arguments = _plan(config)
        turns = Alternating(**arguments).turns(len(config["data"]["datasets"])) if kind == Alternating.__name__ else 1
        return _images_per_batch(config, kind) * turns * int((config.get("trainer") or {}).get("accumulate") or 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def nodes_per_graph(config: Config) -> int | None:
    """Patches that a batch of M&M holds, over all processes: the nodes of a graph, those without label included; None
    where the configuration does not say.

    Args:
        config: of a run of `MixAndMatch`, resolved.
    """
    try:
        return _images_per_batch(config, _plan(config)[0]) * int(config["data"]["patches"]["per_image"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _plan(config: Config) -> tuple[str, Config]:
    """The class of the plan of batches and its arguments."""
    plan = config["data"].get("plan") or {"class_path": Mixed.__name__}
    return str(plan["class_path"]).rpartition(".")[2], plan.get("init_args") or {}


def _images_per_batch(config: Config, plan: str) -> int:
    """
    Raises:
        ValueError: the plan is not one of multiseg's own.
    """
    if plan not in (Mixed.__name__, Alternating.__name__):
        raise ValueError(plan)
    data = config["data"]
    per_dataset = 1 if plan == Alternating.__name__ else len(data["datasets"])
    return int(data.get("total_batch_size") or int(data["batch_size"]) * per_dataset)
