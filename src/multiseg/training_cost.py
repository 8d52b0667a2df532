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
        data, trainer = config["data"], config.get("trainer") or {}
        datasets = len(data["datasets"])
        plan = data.get("plan") or {"class_path": "Mixed"}
        kind, arguments = str(plan["class_path"]).rpartition(".")[2], plan.get("init_args") or {}
        if kind not in (Mixed.__name__, Alternating.__name__):
            return None
        turns = Alternating(**arguments).turns(datasets) if kind == Alternating.__name__ else 1
        per_dataset = 1 if kind == Alternating.__name__ else datasets
        images = data.get("total_batch_size") or int(data["batch_size"]) * per_dataset
        return int(images) * turns * int(trainer.get("accumulate") or 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
