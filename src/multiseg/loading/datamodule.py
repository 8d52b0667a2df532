"""The data of a run: several datasets, each with its own pipeline, in one stream of batches."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from multiseg.batch import Batch, Sample, collate, collate_by_size
from multiseg.datasets import SegmentationDataset, all_readers, find_reader
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelSpace
from multiseg.loading.cutting import Cutting
from multiseg.loading.patches import PatchPlan
from multiseg.loading.sampling import BatchPlan, Draw, Mixed, PlannedSampler, ShardSampler
from multiseg.loading.tiles import TilePlan
from multiseg.loading.transforms import Pipeline, seeded
from multiseg.loading.views import ViewPlan

#: Names of taxonomies, and what `--norms` can say besides the name of a dataset.
_RESERVED = ("by_name", "disjoint", "universal", "nearest", "average", "reestimated")


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of a recipe.

    Args:
        root: the folder of the official layout, or its parent.
        reader: one of `multiseg datasets list`; by default the dataset's name in the recipe, or `folder` where the root
            or a folder in it holds a dataset.yaml.
        train: the split to train on; by default the reader's first.
        val: the split to evaluate on; by default the reader's second. A dataset without labels has none.
        pipeline: keys of the recipe's `pipeline` that this dataset wants otherwise.
    """

    root: Path
    reader: str | None = None
    train: str | None = None
    val: str | None = None
    pipeline: dict[str, Any] | None = None


class DataModule(LightningDataModule):
    """All datasets of a run, in training as one stream, in evaluation one by one.

    Args:
        datasets: by the name they have in this run.
        pipeline: augmentation of every dataset; a dataset's own `pipeline` keys override it.
        views, patches, tiles: what every training image is cut into in place of a crop of the pipeline, for methods
            that want it; one of them at most. Of the pipeline only `long_side` then plays a part.
        plan: which images a batch holds; None: `Mixed()`.
        batch_size: images a step of every dataset, so that a step of K datasets holds K times as many, and `steps`
            means the same number of updates for each dataset as it would alone. An `Alternating` batch holds one
            dataset's; where each batch is an update, K steps are a round.
        total_batch_size: images a step altogether, in place of `batch_size`.
        eval_batch_size: images a step in evaluation.
        workers: loading processes a rank; None: one a core up to eight, less one for the trainer.
        seed: of sampling and augmentation.
    """

    def __init__(
        self,
        datasets: dict[str, DatasetEntry],
        pipeline: Pipeline = Pipeline(),  # noqa: B008  (frozen)
        views: ViewPlan | None = None,
        patches: PatchPlan | None = None,
        tiles: TilePlan | None = None,
        plan: BatchPlan | None = None,
        batch_size: int = 8,
        total_batch_size: int | None = None,
        eval_batch_size: int = 4,
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not datasets:
            raise MultisegError("no dataset given: add --data NAME=ROOT, or a recipe with data.")
        self.entries = datasets
        self.pipelines = {name: dataset_pipeline(pipeline, name, entry) for name, entry in datasets.items()}
        cuttings = [cutting for cutting in (views, patches, tiles) if cutting is not None]
        if len(cuttings) > 1:
            raise MultisegError(f"data.{cuttings[0].kind} and data.{cuttings[1].kind} exclude each other.")
        self.cutting: Cutting | None = next(iter(cuttings), None)
        self.train_sets = {name: open_dataset(name, entry, "train") for name, entry in datasets.items()}
        self.val_sets = {
            name: open_dataset(name, entry, "val") for name, entry in datasets.items() if self.train_sets[name].labelled
        }
        for name, entry in datasets.items():
            if entry.val is not None and name not in self.val_sets:
                raise MultisegError(f"data.datasets.{name}.val: {_nothing_to_evaluate(name)}")
        self.plan = plan or Mixed()
        per_plan = len(datasets) if isinstance(self.plan, Mixed) else 1
        self.batch_size = total_batch_size or batch_size * per_plan
        if self.batch_size < 1 or eval_batch_size < 1:
            raise MultisegError("a batch must hold at least one image.")
        if workers is not None and workers < 0:
            raise MultisegError(f"data.workers must be at least 0, not {workers}.")
        self.eval_batch_size = eval_batch_size
        self.workers = default_workers() if workers is None else workers
        self.seed = seed
        self.start_batch = 0

    @property
    def spaces(self) -> list[LabelSpace]:
        return [dataset.label_space for dataset in self.train_sets.values()]

    @property
    def kind(self) -> str:
        """What training images are cut into; see `SegmentationMethod.trains_on`."""
        return "crops" if self.cutting is None else self.cutting.kind

    @property
    def turns(self) -> int:
        """Batches, each one dataset's, that make an update."""
        return self.plan.turns(len(self.train_sets))

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(dataset) for name, dataset in self.train_sets.items()}

    def train_dataloader(self) -> DataLoader[Any]:
        """The rest of the run as one epoch: from the batch at which it was interrupted to its last."""
        trainer = self.trainer
        assert trainer is not None
        sampler = PlannedSampler(
            self.plan,
            self.sizes,
            self.batch_size,
            self.seed,
            start=self.start_batch,
            stop=trainer.max_steps * trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            pairs=self.cutting is not None and self.cutting.pairs,
        )
        sets = list(self.train_sets.values())
        options = {"batch_sampler": sampler, **loader_options(self.workers)}
        if self.cutting is not None:
            cuts = DrawnCuts(sets, self.cutting, [pipeline.long_side for pipeline in self.pipelines.values()])
            return DataLoader(cuts, collate_fn=self.cutting.collate, **options)
        transforms = [self.pipelines[name].training() for name in self.train_sets]
        return DataLoader(DrawnSamples(sets, transforms), collate_fn=collate, **options)

    def val_dataloader(self) -> DataLoader[Any]:
        """All datasets one after another: workers start once, however many datasets there are. Where methods are judged
        by cuts, each image is cut, the same way every time.
        """
        trainer = self.trainer
        assert trainer is not None
        here = (trainer.global_rank, trainer.world_size)
        if self.cutting is not None and self.cutting.judges:
            long_sides = [self.pipelines[name].long_side for name in self.val_sets]
            cuts = HeldOutCuts(DrawnCuts(list(self.val_sets.values()), self.cutting, long_sides), self.seed)
            sampler = ShardSampler(len(cuts), *here)
            return DataLoader(
                cuts, self.eval_batch_size, sampler=sampler, collate_fn=cuts.collate, **loader_options(self.workers)
            )
        return evaluation_loader(
            [(dataset, self.pipelines[name]) for name, dataset in self.val_sets.items()],
            self.eval_batch_size,
            self.workers,
            *here,
        )

    def state_dict(self) -> dict[str, Any]:
        trainer = self.trainer
        assert trainer is not None
        return {"batch": trainer.fit_loop.epoch_loop.total_batch_idx + 1}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start_batch = state_dict["batch"]


class DrawnSamples(Dataset[Sample]):
    """The training images: each `Draw` names one, read and augmented under the draw's own seed.

    Args:
        datasets: training sets.
        transforms: of each; the first step of each takes an image that is still on disk, as `Pipeline.training` does.
    """

    def __init__(self, datasets: list[SegmentationDataset], transforms: list[Any]) -> None:
        self.datasets = datasets
        self.transforms = transforms

    def __getitem__(self, draw: Draw) -> Sample:
        # the crop is drawn before the image is decoded, which then need not be all of it
        stored, labels, space, key, segments = self.datasets[draw.dataset].stored(draw.image)
        transform = self.transforms[draw.dataset]
        with seeded(draw.seed):
            if segments is None:
                image, labels = transform(stored, labels)
                return Sample(image, labels, space, key)
            # labels in front: a transform that looks at classes, such as `max_class_share`, takes the first mask
            image, labels, ids = transform(stored, labels, segments.ids)
        return Sample(image, labels, space, key, segments.with_ids(ids))


class DrawnCuts(Dataset[Any]):
    """What the training images are cut into; see `DrawnSamples`. One that a batch needs more than once is read once.

    Args:
        datasets: training sets.
        cutting: how.
        long_sides: of each dataset's pipeline.
    """

    def __init__(self, datasets: list[SegmentationDataset], cutting: Cutting, long_sides: Sequence[int | None]) -> None:
        self.datasets = datasets
        self.cutting = cutting
        self.long_sides = long_sides

    def __getitem__(self, draw: Draw) -> Any:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Any]:
        wanted = {draw[:2] for draw in draws} | {draw.partner for draw in draws if draw.partner}
        samples = {place: self.datasets[place[0]][place[1]] for place in sorted(wanted)}
        made = []
        for draw in draws:
            partner = samples[draw.partner] if draw.partner else None
            with seeded(draw.seed):
                made.append(self.cutting.cut(samples[draw[:2]], partner, self.long_sides[draw.dataset]))
        return made


class HeldOutCuts(Dataset[Any]):
    """Every image of several splits, cut under a seed of its own.

    Args:
        cuts: of the splits.
        seed: of the run.
    """

    def __init__(self, cuts: DrawnCuts, seed: int) -> None:
        self.cuts = cuts
        self.places = [(part, image) for part, dataset in enumerate(cuts.datasets) for image in range(len(dataset))]
        self.seed = seed

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.cuts[Draw(*self.places[index], seed=self.seed * len(self) + index)]

    def collate(self, cuts: Sequence[Any]) -> list[Any]:
        """A batch for each dataset present."""
        names = dict.fromkeys(cut.space.name for cut in cuts)
        return [self.cuts.cutting.collate([cut for cut in cuts if cut.space.name == name]) for name in names]


class EvaluationSamples(Dataset[Sample]):
    """Images at evaluation size, labels at the file's."""

    def __init__(self, dataset: SegmentationDataset, transform: Any) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, image=self.transform(sample.image))


def evaluation_loader(
    datasets: Sequence[tuple[SegmentationDataset, Pipeline]],
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[list[Batch]]:
    """Every image of every split once, over all ranks; each step yields batches of one dataset and of equal sizes, so
    that nothing is padded.
    """
    parts = [EvaluationSamples(dataset, pipeline.evaluation()) for dataset, pipeline in datasets]
    samples: Sequence[Any] | ConcatDataset[Sample] = ConcatDataset(parts) if parts else []
    return DataLoader(
        samples,  # type: ignore[arg-type]  # collated: list[Batch]
        batch_size=batch_size,
        sampler=ShardSampler(len(samples), rank, world_size),
        collate_fn=collate_by_size,
        **loader_options(workers),
    )


def loader_options(workers: int) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": _leave_interrupts_to_the_trainer,
        "persistent_workers": False,
        # its own generator: making an iterator must not advance the global random state, or resuming would differ
        "generator": torch.Generator().manual_seed(0),
    }


def _leave_interrupts_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; workers must live until the trainer has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def default_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores - 1, 1), 8)


def open_dataset(name: str, entry: DatasetEntry, role: str) -> SegmentationDataset:
    """The split of a dataset that a role ("train" or "val") asks for, or the split of that very name.

    Raises:
        MultisegError: the name, reader, root or split is wrong, or there are no labels to evaluate on.
    """
    if role == "val" and not is_labelled(name, entry):
        raise MultisegError(_nothing_to_evaluate(name))
    reader = reader_of(name, entry)
    split = {"train": entry.train, "val": entry.val}.get(role, role)
    if split is None:
        splits = reader.splits_of(Path(entry.root))
        if role == "val" and len(splits) < 2:
            raise MultisegError(
                f"dataset '{name}' has only the split '{splits[0]}'; to evaluate on it, say so: "
                f"--data.datasets.{name}.val {splits[0]}"
            )
        split = splits[0] if role == "train" else splits[1]
    return reader(Path(entry.root), split, name)


def is_labelled(name: str, entry: DatasetEntry) -> bool:
    """Whether a dataset has labels, by its reader alone: of one that is only trained on the root may be gone by now."""
    reader = all_readers().get(entry.reader or name)
    return reader is None or reader.labelled


def _nothing_to_evaluate(name: str) -> str:
    return f"the dataset '{name}' has no labels: there is nothing to evaluate on."


def reader_of(name: str, entry: DatasetEntry) -> type[SegmentationDataset]:
    """What reads a dataset, before any of its splits is opened.

    Raises:
        MultisegError: the name or reader is wrong, or the root does not exist.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise MultisegError(f"dataset name '{name}': only letters, digits, '_' and '-' can be used.")
    if name in _RESERVED or hasattr(torch.nn.ModuleDict(), name):  # names of classifiers and taxonomies
        raise MultisegError(f"dataset name '{name}' means something else here; choose another, as in my_{name}.")
    if not Path(entry.root).is_dir():
        what = f"{entry.root} is no folder" if Path(entry.root).exists() else f"the folder {entry.root} does not exist"
        raise MultisegError(f"dataset '{name}': {what}.")
    reader_name = entry.reader or name
    if entry.reader is None and name not in all_readers() and _is_described(Path(entry.root)):
        reader_name = "folder"
    if entry.reader is None and reader_name not in all_readers():
        raise MultisegError(
            f"no dataset reader '{name}'; {did_you_mean(name, all_readers())}\n"
            f"For your own data {entry.root} needs a dataset.yaml (`multiseg datasets init` writes it); "
            f"for another name say {name}:READER={entry.root}, for images without labels {name}:images={entry.root}."
        )
    return find_reader(reader_name)


def _is_described(root: Path) -> bool:
    """Whether a root, or a folder in it, holds a dataset.yaml: like other readers, `folder` takes the parent, too."""
    return any(path.is_file() for path in (root / "dataset.yaml", *root.glob("*/dataset.yaml")))


def dataset_pipeline(pipeline: Pipeline, name: str, entry: DatasetEntry) -> Pipeline:
    """The pipeline of one dataset: the common one with the dataset's own keys."""
    overrides: dict[str, Any] = dict(entry.pipeline or {})
    valid = [field.name for field in fields(Pipeline)]
    for key, value in overrides.items():
        if key not in valid:
            raise MultisegError(f"data.datasets.{name}.pipeline has no key '{key}'; {did_you_mean(key, valid)}")
        if isinstance(value, list) and key != "more":
            overrides[key] = tuple(value)
    try:
        return replace(pipeline, **overrides)
    except MultisegError as error:
        raise MultisegError(f"data.datasets.{name}.pipeline: {error}") from None
