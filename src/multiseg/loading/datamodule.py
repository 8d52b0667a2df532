"""The data of a run: several datasets, each with its own pipeline, in one stream of batches."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from multiseg.batch import Batch, Sample, collate, collate_by_size
from multiseg.datasets import SegmentationDataset, all_readers, find_reader
from multiseg.datasets.base import local_root
from multiseg.datasets.packed import packed_reader
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelSpace
from multiseg.loading.broken_files import SkippedFiles
from multiseg.loading.cutting import Cutting
from multiseg.loading.patches import PatchPlan
from multiseg.loading.sampling import BatchPlan, Draw, EvaluationBatches, Mixed, PlannedSampler
from multiseg.loading.tiles import TilePlan
from multiseg.loading.transforms import Pipeline, seeded
from multiseg.loading.views import ViewPlan
from multiseg.roots import is_url

#: Names of taxonomies, and what `--norms` can say besides the name of a dataset.
_RESERVED = ("by_name", "disjoint", "universal", "nearest", "average", "reestimated")


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of a recipe.

    Args:
        root: the folder of the official layout, or its parent; or where a packed dataset lies, a folder or a URL such
            as s3://bucket/camvid.
        reader: one of `multiseg datasets list`; by default the dataset's name in the recipe, or `folder` where the root
            or a folder in it holds a dataset.yaml. What is packed is recognised by itself.
        train: the split to train on; by default the reader's first.
        val: the split to evaluate on; by default the reader's second. A dataset without labels has none.
        pipeline: keys of the recipe's `pipeline` that this dataset wants otherwise.
    """

    root: str | Path  # text first: a URL must not be made a path
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
        timeout: end the run where the workers give no batch for so many seconds, as with a network disk that hangs; 0:
            wait for ever. Without workers nothing can watch.
        broken_files: what happens when a file breaks or disappears during training: "fail" ends the run, which can be
            resumed; "skip" takes the next image in its place, in validation none, and counts it in the log.
        seed: of sampling and augmentation.

    Attributes:
        skipped: how many images of each dataset were left out.
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
        timeout: float = 600.0,
        broken_files: Literal["fail", "skip"] = "fail",
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
        if timeout < 0:
            raise MultisegError(f"data.timeout must be at least 0 seconds, not {timeout}.")
        self.workers = default_workers() if workers is None else workers
        self.timeout = timeout
        self.skips = broken_files == "skip"
        self.skipped = SkippedFiles(list(datasets), self.workers)
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
        sets, skipped = list(self.train_sets.values()), self.skipped if self.skips else None
        options = {"batch_sampler": sampler, **loader_options(self.workers, self.timeout)}
        if self.cutting is not None:
            long_sides = [pipeline.long_side for pipeline in self.pipelines.values()]
            cuts = DrawnCuts(sets, self.cutting, long_sides, skipped)
            return DataLoader(cuts, collate_fn=self.cutting.collate, **options)
        transforms = [self.pipelines[name].training() for name in self.train_sets]
        return DataLoader(DrawnSamples(sets, transforms, skipped), collate_fn=collate, **options)

    def val_dataloader(self) -> DataLoader[Any]:
        """All datasets one after another: workers start once, however many datasets there are. Where methods are judged
        by cuts, each image is cut, the same way every time.
        """
        trainer = self.trainer
        assert trainer is not None
        here, skipped = (trainer.global_rank, trainer.world_size), self.skipped if self.skips else None
        if self.cutting is not None and self.cutting.judges:
            long_sides = [self.pipelines[name].long_side for name in self.val_sets]
            held_out = list(self.val_sets.values())
            cuts = HeldOutCuts(DrawnCuts(held_out, self.cutting, long_sides), self.seed, skipped)
            batches = EvaluationBatches(len(cuts), self.eval_batch_size, *here)
            options = loader_options(self.workers, self.timeout)
            return DataLoader(cuts, batch_sampler=batches, collate_fn=cuts.collate, **options)
        return evaluation_loader(
            [(dataset, self.pipelines[name]) for name, dataset in self.val_sets.items()],
            self.eval_batch_size,
            self.workers,
            *here,
            timeout=self.timeout,
            skipped=skipped,
        )

    def state_dict(self) -> dict[str, Any]:
        trainer = self.trainer
        assert trainer is not None
        batch = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        skipped = self.skipped.totals()
        if self.skips and trainer.world_size > 1:
            summed = trainer.strategy.reduce(torch.tensor(list(skipped.values())), reduce_op="sum")
            skipped = dict(zip(skipped, torch.as_tensor(summed).tolist(), strict=True))
        return {"batch": batch, "images": self.sizes, "skipped": skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """
        Raises:
            MultisegError: a dataset has another number of images than when the run was started.
        """
        for name, images in state_dict.get("images", {}).items():
            if self.sizes[name] != images:
                raise MultisegError(
                    f"the dataset '{name}' has {self.sizes[name]} images now, and had {images} before the run was "
                    "interrupted: a resumed run must find the same."
                )
        self.start_batch = state_dict["batch"]
        if self.trainer is None or self.trainer.is_global_zero:  # they are of all processes together
            self.skipped.start_from(state_dict.get("skipped", {}))


class DrawnSamples(Dataset[Sample]):
    """The training images: each `Draw` names one, read and augmented under the draw's own seed.

    Args:
        datasets: training sets.
        transforms: of each; the first step of each takes an image that is still on disk, as `Pipeline.training` does.
        skipped: where broken images are counted, in whose place others come; None: one ends the run.
    """

    def __init__(
        self, datasets: list[SegmentationDataset], transforms: list[Any], skipped: SkippedFiles | None = None
    ) -> None:
        self.datasets = datasets
        self.transforms = transforms
        self.skipped = skipped

    def __getitem__(self, draw: Draw) -> Sample:
        if self.skipped is None:
            return self._read(draw.image, draw)
        dataset = self.datasets[draw.dataset]
        return self.skipped.next_readable(dataset.name, len(dataset), draw.image, partial(self._read, draw=draw))

    def _read(self, place: int, draw: Draw) -> Sample:
        # the crop is drawn before the image is decoded, which then need not be all of it
        stored, labels, space, key, segments = self.datasets[draw.dataset].stored(place)
        transform = self.transforms[draw.dataset]
        with seeded(draw.seed):
            if segments is None:
                image, labels = transform(stored, labels)
            else:
                # labels in front: a transform that looks at classes, such as `max_class_share`, takes the first mask
                image, labels, ids = transform(stored, labels, segments.ids)
                segments = segments.with_ids(ids)
            own = int(torch.randint(2**63 - 1, ()))
        return Sample(image, labels, space, key, segments, own)


class DrawnCuts(Dataset[Any]):
    """What the training images are cut into; see `DrawnSamples`. One that a batch needs more than once is read once.

    Args:
        datasets: training sets.
        cutting: how.
        long_sides: of each dataset's pipeline.
        skipped: see `DrawnSamples`.
    """

    def __init__(
        self,
        datasets: list[SegmentationDataset],
        cutting: Cutting,
        long_sides: Sequence[int | None],
        skipped: SkippedFiles | None = None,
    ) -> None:
        self.datasets = datasets
        self.cutting = cutting
        self.long_sides = long_sides
        self.skipped = skipped

    def __getitem__(self, draw: Draw) -> Any:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Any]:
        wanted = {draw[:2] for draw in draws} | {draw.partner for draw in draws if draw.partner}
        samples = {place: self._read(*place) for place in sorted(wanted)}
        made = []
        for draw in draws:
            partner = samples[draw.partner] if draw.partner else None
            with seeded(draw.seed):
                made.append(self.cutting.cut(samples[draw[:2]], partner, self.long_sides[draw.dataset]))
        return made

    def _read(self, number: int, place: int) -> Sample:
        dataset = self.datasets[number]
        if self.skipped is None:
            return dataset[place]
        return self.skipped.next_readable(dataset.name, len(dataset), place, dataset.__getitem__)


class HeldOutCuts(Dataset[Any]):
    """Every image of several splits, cut under a seed of its own.

    Args:
        cuts: of the splits.
        seed: of the run.
        skipped: where broken images are counted, which are left out; None: one ends the run.
    """

    def __init__(self, cuts: DrawnCuts, seed: int, skipped: SkippedFiles | None = None) -> None:
        self.cuts = cuts
        self.skipped = skipped
        self.places = [(part, image) for part, dataset in enumerate(cuts.datasets) for image in range(len(dataset))]
        self.seed = seed

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        if self.skipped is None:
            return self._cut(index)
        return self.skipped.readable_or_none(self.cuts.datasets[self.places[index][0]].name, index, self._cut)

    def _cut(self, index: int) -> Any:
        return self.cuts[Draw(*self.places[index], seed=self.seed * len(self) + index)]

    def collate(self, cuts: Sequence[Any]) -> list[Any]:
        """A batch for each dataset present; None stands for an image that was left out."""
        there = [cut for cut in cuts if cut is not None]
        names = dict.fromkeys(cut.space.name for cut in there)
        return [self.cuts.cutting.collate([cut for cut in there if cut.space.name == name]) for name in names]


class EvaluationSamples(Dataset["Sample | None"]):
    """Images at evaluation size, labels at the file's; None for one that was left out.

    Args:
        dataset: any split.
        transform: of images.
        skipped: where broken images are counted, which are left out; None: one ends the evaluation.
    """

    def __init__(self, dataset: SegmentationDataset, transform: Any, skipped: SkippedFiles | None = None) -> None:
        self.dataset = dataset
        self.transform = transform
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | None:
        if self.skipped is None:
            return self._read(index)
        return self.skipped.readable_or_none(self.dataset.name, index, self._read)

    def _read(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, image=self.transform(sample.image))


def evaluation_loader(
    datasets: Sequence[tuple[SegmentationDataset, Pipeline]],
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    timeout: float = 0.0,
    skipped: SkippedFiles | None = None,
) -> DataLoader[list[Batch]]:
    """Every image of every split once, over all ranks; each step yields batches of one dataset and of equal sizes, so
    that nothing is padded.
    """
    parts = [EvaluationSamples(dataset, pipeline.evaluation(), skipped) for dataset, pipeline in datasets]
    samples: Sequence[Any] | ConcatDataset[Sample | None] = ConcatDataset(parts) if parts else []
    return DataLoader(
        samples,  # type: ignore[arg-type]  # collated: list[Batch]
        batch_sampler=EvaluationBatches(len(samples), batch_size, rank, world_size),
        collate_fn=_without_gaps,
        **loader_options(workers, timeout),
    )


def _without_gaps(samples: Sequence[Sample | None]) -> list[Batch]:
    return collate_by_size([sample for sample in samples if sample is not None])


def loader_options(workers: int, timeout: float = 0.0) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "timeout": timeout if workers else 0,
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
        splits = reader.splits_of(local_root(entry.root))
        if role == "val" and len(splits) < 2:
            raise MultisegError(
                f"dataset '{name}' has only the split '{splits[0]}'; to evaluate on it, say so: "
                f"--data.datasets.{name}.val {splits[0]}"
            )
        split = splits[0] if role == "train" else splits[1]
    return reader(local_root(entry.root), split, name)


def is_labelled(name: str, entry: DatasetEntry) -> bool:
    """Whether a dataset has labels, by its reader alone where the root is gone, as that of one that is only trained on
    may be by now.
    """
    reader = all_readers().get(entry.reader or name)
    with contextlib.suppress(MultisegError):
        reader = packed_reader(local_root(entry.root)) or reader
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
    if not is_url(entry.root) and not Path(entry.root).is_dir():
        what = f"{entry.root} is no folder" if Path(entry.root).exists() else f"the folder {entry.root} does not exist"
        raise MultisegError(f"dataset '{name}': {what}.")
    if entry.reader is not None:
        find_reader(entry.reader)
    root = local_root(entry.root)
    if (packed := packed_reader(root, entry.reader)) is not None:
        return packed
    reader_name = entry.reader or name
    if entry.reader is None and name not in all_readers() and _is_described(root):
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
