"""`multiseg demo`: the main job in minutes. One model on three synthetic datasets that disagree, against one model
on each.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from multiseg.configuration import compose
from multiseg.console import results, say
from multiseg.errors import MultisegError
from multiseg.reporting import write_report
from multiseg.run_folder import RunFolder, write_text
from multiseg.synthetic import write_datasets
from multiseg.training import train

DATASETS = ("street", "square", "harbour")
VAL_IMAGES = 48


def demo(out: Path, seed: int = 0, steps: int | None = None, images: int = 60) -> dict[str, Any]:
    """Write the datasets, train the models, print a table; leave `results.json` and `report.html`.

    The common model sees as many images of each dataset as the dataset's own model, in batches as large, and so costs
    as
    much as the own models together: three times the steps, with a third of each batch from each dataset.

    Args:
        out: folder to write to; an earlier demo in it is replaced.
        seed: of the data and of training.
        steps: batches from each dataset; None: as the recipe says.
        images: for training, of each dataset.

    Returns:
        What `results.json` holds.

    Raises:
        MultisegError: the folder holds something else, or cannot be written.
    """
    started = time.monotonic()
    _make_room(out)
    roots = write_datasets(out / "data", images=images, val_images=VAL_IMAGES, seed=seed, domains=DATASETS)
    jobs = {f"single_{name}": ("supervised", [name]) for name in DATASETS} | {"multi": ("multi_head", list(DATASETS))}
    runs: dict[str, RunFolder] = {}
    for number, (run_name, (method, names)) in enumerate(jobs.items(), 1):
        say(f"[{number}/{len(jobs)}] {method} on {', '.join(names)}")
        # one process: several would each run this program from its start
        keys = [("trainer.seed", str(seed)), ("trainer.devices", "1")]
        keys += [("trainer.steps", str(steps))] if steps is not None else []
        config = compose([method, "demo"], [f"{name}:{_reader(roots[name])}={roots[name]}" for name in names], keys)
        config["trainer"]["steps"] *= len(names)
        config["data"]["total_batch_size"] = config["data"]["batch_size"]
        runs[run_name] = train(config, out / "runs" / run_name)
    summary = summarize(runs, seed, time.monotonic() - started)
    write_text(out / "results.json", json.dumps(summary, indent=2) + "\n")
    write_report(list(runs.values()), out / "report.html", title="multiseg demo")
    _print(summary, out)
    return summary


def summarize(runs: dict[str, RunFolder], seed: int, seconds: float) -> dict[str, Any]:
    """MIoU of every dataset with its own model and with the common one."""
    multi = runs["multi"].read_metrics()
    datasets: dict[str, dict[str, float]] = {}
    for name in DATASETS:
        single = runs[f"single_{name}"].read_metrics()["datasets"][name]["mIoU"]
        common = multi["datasets"][name]["mIoU"]
        datasets[name] = {"single": single, "multi": common, "gain": common - single}
    mean = {key: sum(entry[key] for entry in datasets.values()) / len(datasets) for key in ("single", "multi", "gain")}
    return {
        "datasets": datasets,
        "mean": mean,
        "steps": multi["step"] // len(DATASETS),
        "seed": seed,
        "seconds": round(seconds, 1),
    }


def _reader(root: Path) -> str:
    return "folder" if (root / "dataset.yaml").is_file() else "cityscapes"


def _make_room(out: Path) -> None:
    if out.is_dir() and not {path.name for path in out.iterdir() if not path.name.startswith(".")} <= _OWN:
        raise MultisegError(f"{out} holds something else than a demo; give another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out / "runs", ignore_errors=True)
        (out / "results.json").unlink(missing_ok=True)
    except OSError as error:
        raise MultisegError(f"cannot write to {out}: {error.strerror}.") from None


_OWN = {"data", "runs", "results.json", "report.html"}


def _print(summary: dict[str, Any], out: Path) -> None:
    table = Table("mIoU", "own model", "one model for all", "gain", box=None, pad_edge=False)
    for name, entry in [*summary["datasets"].items(), ("mean", summary["mean"])]:
        table.add_row(name, f"{entry['single']:.1f}", f"{entry['multi']:.1f}", f"{entry['gain']:+.1f}")
    results.print(table)
    say(
        f"{summary['steps']} batches from each dataset, {summary['seconds']:.0f} s in all. "
        f"Pictures and curves: {out / 'report.html'}"
    )
