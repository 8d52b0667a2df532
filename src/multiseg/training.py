"""Training a run: from a configuration to a run folder with a model and its scores."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from timm.layers import convert_sync_batchnorm

from multiseg.agreement import all_or_none, started_processes
from multiseg.callbacks import (
    Checkpoints,
    FinalValidation,
    PlainProgress,
    Progress,
    SkippedFilesLog,
    StepSeeds,
)
from multiseg.checkpoint_files import CheckpointFiles, Found, newest_checkpoint
from multiseg.configuration import Config, merge, with_absolute_roots
from multiseg.console import is_terminal, say
from multiseg.datasets import SegmentationDataset, all_readers
from multiseg.datasets.base import PanopticDataset
from multiseg.datasets.packed import PackedSplit
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import means
from multiseg.guards import FiniteLoss, Interruption
from multiseg.inspection.checking import check_dataset
from multiseg.instantiation import Experiment, Initialization, TrainerSettings, build, resolve
from multiseg.log import CsvLog
from multiseg.methods.base import SegmentationMethod
from multiseg.mishaps import told_in_one_line, warn_of_little_space
from multiseg.networks.dataset_norm import compile_network
from multiseg.networks.synchronized_norm import synchronize_norms
from multiseg.precision import fast_bfloat16
from multiseg.run_folder import InputSize, RunFolder, replacing, save_model, without_weights
from multiseg.taxonomy.relations import Relation, other_datasets
from multiseg.weights import read_weights

#: Processes that Lightning starts for further devices run this program again; by this they find the first one's folder.
_RUN_VARIABLE = "MULTISEG_RUN"

#: What a resumed run may have otherwise: where it runs and where its data lie, not what is computed.
_OF_THE_MACHINE = re.compile(
    r"data\.(workers|timeout|broken_files|eval_batch_size|datasets\.[^.]+\.root)|"
    r"trainer\.(devices|nodes|accelerator|strategy|compile|check_files|log_every|checkpoint_every)"
)


def train(config: Config, path: Path | None = None, resume: bool = False, quiet: bool = False) -> RunFolder:
    """Train a run and evaluate it.

    Args:
        config: composed, perhaps incomplete. Empty when resuming: the run's own.
        path: the run's folder; by default a new one under `runs/`.
        resume: go on from the folder's last checkpoint; where it has none, start. The result is that of a run that was
            never interrupted.
        quiet: no progress.

    Returns:
        the run's folder, with `metrics.json` and `model/`.

    Raises:
        MultisegError: anything in the input is wrong. Nothing has been trained or overwritten then.
    """
    with all_or_none() as start:
        experiment, trainer, run, resolved, checkpoint = _prepare(config, path, resume, quiet)
        start.step = checkpoint.step if checkpoint else 0
    with told_in_one_line(run, trainer):
        _fit(experiment, trainer, run, resolved, checkpoint)
    return run


def _prepare(
    config: Config, path: Path | None, resume: bool, quiet: bool
) -> tuple[Experiment, lightning.Trainer, RunFolder, Config, Found | None]:
    """Everything that can fail before anything is trained; see `train`."""
    path = _run_path(config, path, resume)
    run = RunFolder(path)
    resolved = _resolve(config, run, resume)
    checkpoint = newest_checkpoint(run) if resume else None
    if run.config_path.exists() and is_first_process() and not resume:
        raise MultisegError(f"{run.path} already holds a run; resume it with --resume, or give another --run.")
    settings = TrainerSettings(**resolved["trainer"])
    lightning.seed_everything(settings.seed, verbose=False)
    torch.set_float32_matmul_precision("high")
    if checkpoint:
        _refuse_finished(run, checkpoint, settings)
        # the checkpoint has all weights: where the first ones came from may be gone by now
        resolved_for_build = {**resolved, "method": without_weights(resolved["method"])}
        experiment = build(resolved_for_build)
    else:
        experiment = build(resolved)
        initialize(experiment.method, experiment.init)
    # a gradient is averaged over the batches of an update; losses of datasets that take turns are to be summed
    experiment.method.turns = experiment.data.turns
    trainer = _make_trainer(settings, run, quiet, settings.accumulate * experiment.data.turns, checkpoint)
    if experiment.data.skips:
        trainer.callbacks.insert(0, SkippedFilesLog(experiment.data.skipped))  # type: ignore[attr-defined]
    _rehearse(experiment, trainer)
    check_data(experiment, quiet)
    if is_first_process():
        run.create()
        run.write_config(resolved)
        warn_of_little_space(run, experiment.method)
        if not quiet:
            _say_left_out(resolved)
    return experiment, trainer, run, resolved, checkpoint


def check_data(experiment: Experiment, quiet: bool = False) -> None:
    """Look at the files of every dataset before any time is spent on training.

    Raises:
        MultisegError: a file is missing, broken, of another size than its mask, or holds an unknown id.
    """
    if not is_first_process():
        return
    data = experiment.data
    for name in data.train_sets:
        for dataset in (data.train_sets[name], data.val_sets.get(name)):
            if dataset is None:
                continue
            _check_split(name, dataset, experiment.trainer.check_files, data.skips)
            if not quiet:
                say(f"{name}: {dataset.split} has {len(dataset)} images; checked.")


def _check_split(name: str, dataset: SegmentationDataset, limit: int | None, skips: bool) -> None:
    if isinstance(dataset, PackedSplit):  # decoded when it was packed; a look would fetch every shard
        dataset.require_shards()
        return
    report = check_dataset(dataset, limit=limit)
    if not skips or sum(problem.count for problem in report.errors) >= len(dataset):
        report.raise_for_errors()
    for problem in report.errors:
        first = problem.examples[0].removesuffix(".")
        say(f"{name}: {problem.kind} ×{problem.count}, first {first}; to be skipped.")


def _say_left_out(resolved: Config) -> None:
    """A table of relations may tell of more datasets; that a misspelt one is passed over, too, must be seen."""
    rows = resolved["method"]["init_args"].get("relations") or ()
    if others := other_datasets([Relation(**row) for row in rows], resolved["data"]["datasets"]):
        say(f"relations of datasets that are not in this run play no part: {', '.join(others)}")


def initialize(method: SegmentationMethod, init: Initialization) -> None:
    """Load weights to start from, and say what fitted.

    Raises:
        MultisegError: nothing fitted, or it must be said whose batch norms are wanted.
    """
    if init.weights is not None:
        report = method.network.load(read_weights(init.weights), init.part, str(init.weights), init.norms)
        if is_first_process():
            say(report.summary())


def precision_of(settings: TrainerSettings) -> str:
    """Lightning's name of the precision, "auto" resolved for this machine."""
    if settings.precision != "auto":
        return settings.precision
    if torch.cuda.is_available() and settings.accelerator in ("auto", "gpu", "cuda"):
        return "bf16-mixed" if fast_bfloat16("cuda") else "16-mixed"
    if settings.accelerator == "mps" or (settings.accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"
    return "bf16-mixed" if fast_bfloat16("cpu") else "32-true"


def validation_interval(settings: TrainerSettings) -> int:
    """Steps between validations: as set, or four a run."""
    return settings.val_every or max(1, math.ceil(settings.steps / 4))


def _rehearse(experiment: Experiment, trainer: lightning.Trainer) -> None:
    """What Lightning would do only after the run's folder is there, so that mistakes are found before."""
    data, method = experiment.data, experiment.method
    if method.trains_on != data.kind:
        name, wanted = type(method).__name__, method.trains_on
        remedy = f"remove data.{data.kind}" if wanted == "crops" else f"add data.{wanted}, as in its recipe"
        raise MultisegError(f"{name} trains on {wanted} of images, not on {data.kind}: {remedy}.")
    if method.panoptic and not any(isinstance(dataset, PanopticDataset) for dataset in data.train_sets.values()):
        kinds = [name for name, reader in all_readers().items() if issubclass(reader, PanopticDataset)]
        raise MultisegError(f"method.panoptic: no dataset here has segments; readers that do: {', '.join(kinds)}.")
    started = started_processes() or trainer.world_size
    if started != trainer.world_size:
        raise MultisegError(
            f"{started} processes were started, but --devices times --trainer.nodes is {trainer.world_size}."
        )
    method.setup("fit")
    method.optimizer_spec.groups(method)
    data.plan.probabilities(data.sizes)
    if data.batch_size % trainer.world_size:
        raise MultisegError(
            f"a batch of {data.batch_size} images cannot be shared equally among {trainer.world_size} processes."
        )


def _fit(
    experiment: Experiment, trainer: lightning.Trainer, run: RunFolder, config: Config, checkpoint: Found | None
) -> None:
    settings, method, data = experiment.trainer, experiment.method, experiment.data
    if checkpoint:
        _resume_logs(trainer, checkpoint.step)
    if trainer.world_size > 1:
        # torch's own is faster, but knows accelerators only
        on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
        synchronize_norms(method) if on_cpu else convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
    method.to(memory_format=torch.channels_last)
    if settings.compile:
        for module in method.compilable:
            compile_network(module)
    started = time.monotonic()
    trainer.fit(method, data, ckpt_path=checkpoint and checkpoint.path, weights_only=True)
    checkpoints = next(own for own in trainer.callbacks if isinstance(own, Checkpoints))  # type: ignore[attr-defined]
    if data.val_sets and not checkpoints.validated:
        # resumed after the last step, when only what follows was missing
        trainer.validate(method, data, verbose=False)
        _keep_if_best(checkpoints, run, float(trainer.callback_metrics[str(method.best_by)]))
    results = method.results()
    if trainer.is_global_zero:
        scores = {name: result.to_json() for name, result in results.items()}
        inputs = {name: InputSize(pipeline.long_side, pipeline.crop) for name, pipeline in data.pipelines.items()}
        save_model(run, method, config["method"], inputs, precision_of(settings))
        run.write_metrics(
            {
                "method": type(method).__name__,
                "step": trainer.global_step or settings.steps,
                "datasets": scores,
                "mean": means(scores.values()),
                **({"proxy": proxy} if (proxy := method.proxy_scores()) else {}),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    trainer.strategy.barrier()  # nobody reads, or is taken for finished, before the first process has written


def _resume_logs(trainer: lightning.Trainer, step: int) -> None:
    """Logs go on after a step; what they hold of later ones, of training that was lost, is trained again."""
    csv, board = trainer.loggers
    assert isinstance(csv, CsvLog) and isinstance(board, TensorBoardLogger)
    csv.resume(step)
    if is_first_process() and csv.rows and csv.rows[-1]["step"] == str(step):
        # the events of this step may not have reached the disk, as its row did
        values = {name: float(value) for name, value in csv.rows[-1].items() if name != "step" and value}
        board.log_metrics(values, step - 1)


def _keep_if_best(checkpoints: Checkpoints, run: RunFolder, score: float) -> None:
    """After a validation that was left over: last.ckpt, from before it, may be what best.ckpt would be."""
    if is_first_process() and checkpoints.validation_due and checkpoints.improves(score):
        with replacing(run.best_checkpoint) as partial:
            shutil.copyfile(run.last_checkpoint, partial)


def _make_trainer(
    settings: TrainerSettings, run: RunFolder, quiet: bool, accumulate: int, checkpoint: Found | None
) -> lightning.Trainer:
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it says what we say, and advertises
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")  # it is: see loading.datamodule
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Total length of `DataLoader` across ranks is zero")  # no held-out images
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is logged is summed over processes before
    warnings.filterwarnings("ignore", message=".*method of metric ConfusionMatrix was called before.*")  # no image here
    warnings.filterwarnings("ignore", message=".*(broadcast_buffers|functional.all_reduce).* is deprecated")
    every = validation_interval(settings)
    progress = [] if quiet else [Progress() if is_terminal() else PlainProgress(settings.steps)]
    devices = settings.devices if settings.devices != "auto" or torch.cuda.is_available() else 1
    count = torch.cuda.device_count() if devices == "auto" else int(devices)
    many = settings.strategy == "ddp" or (count * settings.nodes > 1 and settings.strategy == "auto")
    # buffers are equal everywhere: norms are synchronised. A process without validation images must not wait for one
    strategy = DDPStrategy(broadcast_buffers=False) if many else settings.strategy
    # of what was trained after the checkpoint, and will be again, nothing is shown
    purged: dict[str, Any] = {"purge_step": checkpoint.step - 1} if checkpoint else {}
    events = TensorBoardLogger(run.path, name="", version="", **purged)
    files = CheckpointFiles(run)
    files.last_is_broken = checkpoint is not None and checkpoint.path != run.last_checkpoint
    checkpoints = Checkpoints(run, every, settings.checkpoint_every)
    try:
        return lightning.Trainer(
            max_steps=settings.steps,
            max_epochs=1,
            accelerator=settings.accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=settings.nodes,
            precision=precision_of(settings),  # type: ignore[arg-type]
            accumulate_grad_batches=accumulate,
            gradient_clip_val=settings.gradient_clip,
            val_check_interval=every * accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=settings.log_every,
            deterministic=settings.deterministic,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=not quiet and is_terminal(),
            logger=[CsvLog(run.log_path, settings.steps), events],
            callbacks=[
                StepSeeds(settings.seed),
                FinalValidation(),
                FiniteLoss(),
                checkpoints,
                Interruption(checkpoints.save, every),
                *progress,
            ],
            plugins=[files],
            default_root_dir=run.path,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise MultisegError(f"trainer: {str(error).strip().splitlines()[0]}") from None


def _run_path(config: Config, path: Path | None, resume: bool) -> Path:
    if path is None and resume:
        raise MultisegError("--resume needs --run DIR, the folder of the run to resume.")
    if path is None and any(name in os.environ for name in ("RANK", "SLURM_PROCID")):
        raise MultisegError("under torchrun or SLURM name the folder with --run DIR: all processes must agree on it.")
    if path is None:
        method = str((config.get("method") or {}).get("class_path", "run")).rsplit(".", 1)[-1].lower()
        if is_first_process():
            os.environ[_RUN_VARIABLE] = f"{method}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = Path("runs") / os.environ[_RUN_VARIABLE]
    if path.exists() and not path.is_dir():
        raise MultisegError(f"the run folder {path} is a file.")
    return path


def _resolve(config: Config, run: RunFolder, resume: bool) -> Config:
    """The complete configuration; when resuming, the run's own, which the given one may contradict only in what belongs
    to the machine.
    """
    if not (resume and run.config_path.is_file()):
        if resume and not config:
            raise MultisegError(f"{run.path} holds no run: there is nothing to resume, and no recipe to start one by.")
        return with_absolute_roots(resolve(config))
    saved = run.read_config()
    wanted = with_absolute_roots(resolve(merge(saved, config)))
    for key, old, new in _differences(saved, wanted):
        if not _OF_THE_MACHINE.fullmatch(key):
            raise MultisegError(
                f"{run.path} was started with {key} = {old}, not {new}; a resumed run keeps what its result depends on."
            )
    return wanted


def _differences(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(name for name in new if name not in old)]
        return [found for k in keys for found in _differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [(key, old, new)]


def _refuse_finished(run: RunFolder, checkpoint: Found, settings: TrainerSettings) -> None:
    path, step = checkpoint
    if step >= settings.steps and run.metrics_path.is_file():
        raise MultisegError(f"{path} is at step {step} of {settings.steps}: the run is finished.")


def is_first_process() -> bool:
    """Whether this is the process that writes and prints."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0
