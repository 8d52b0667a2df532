"""Features of labelled patches in the backbones of several runs, the same patches for all: what a report shows of
mix-and-match tuning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from multiseg.configuration import Config
from multiseg.datasets import SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.evaluation.embedding_charts import in_the_plane, load_tsne
from multiseg.evaluation.patch_charts import PatchPanel, PatchSet
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.loading.patches import PatchPlan
from multiseg.loading.transforms import Pipeline, base_factor
from multiseg.losses.base import Triplets
from multiseg.losses.patch_graph import connected_graph
from multiseg.losses.triplet_ranking import triplet_ranking
from multiseg.networks.dataset_norm import images_of
from multiseg.predictor import Predictor
from multiseg.prototype_views import balanced
from multiseg.run_folder import RunFolder
from multiseg.tuning_lineage import find_tunings

#: Images of each dataset that are looked at, and patches of a class in each of them.
IMAGES, PER_IMAGE = 60, 3
#: Classes of a dataset, those in most images: of more the patches would be too few to see groups.
CLASSES = 28
#: Patches of a dataset: so many for each class, but neither fewer nor more than that in all.
PER_CLASS, FEWEST, MOST = 20, 240, 560
#: Graphs whose triplets are counted: those of one, few as there are patches, leave some percent to chance.
GRAPHS = 20
#: Features are averaged to one cell for so many pixels of a patch, the stride of the coarsest level of most backbones.
CELL = 32
#: Patches in a backbone at a time, and places tried for one where its square must lie within the image.
_BATCH, _TRIES = 64, 8


@dataclass(frozen=True)
class PatchRule:
    """How patches of a dataset are cut and their features made: as in a tuning with this dataset.

    Args:
        tuning: name of its folder.
        plan: of which size and sides count.
        long_side: of the dataset's pipeline.
        pooling: see `MixAndMatch`.
    """

    tuning: str
    plan: PatchPlan
    long_side: int | None
    pooling: str


@dataclass(frozen=True, eq=False)
class DrawnPatches:
    """Patches of one split of a dataset.

    Args:
        space: the dataset's.
        split: from which the images are.
        images: (N, 3, h, w) uint8.
        labels: (N,) int64 contiguous ids, no `IGNORE`.
        sources: (N,) int64: patches of one image have one number.
    """

    space: LabelSpace
    split: str
    images: Tensor
    labels: Tensor
    sources: Tensor


def read_rule(run: RunFolder, dataset: str) -> PatchRule:
    """
    Args:
        run: a tuning.
        dataset: one of those it was trained on.

    Raises:
        MultisegError: its configuration lacks something, or has it wrong.
    """
    config = run.read_config()
    try:
        data = config["data"]
        patches = data.get("patches") or {}
        size, sides = (tuple(patches.get(key) or getattr(PatchPlan, key)) for key in ("size", "sides"))
        plan = PatchPlan(size=size, sides=sides)
        pipeline = {**(data.get("pipeline") or {}), **(data["datasets"][dataset].get("pipeline") or {})}
        long_side = pipeline.get("long_side", Pipeline().long_side)
        pooling = (config["method"].get("init_args") or {}).get("pooling", "flatten")
    except (KeyError, TypeError, AttributeError) as error:
        raise MultisegError(f"{run.config_path} does not say how patches are cut: {error!r}.") from None
    return PatchRule(run.path.resolve().name, plan, long_side, str(pooling))


def draw_patches(
    dataset: SegmentationDataset, plan: PatchPlan, long_side: int | None, images: int = IMAGES, seed: int = 0
) -> DrawnPatches:
    """Patches of the classes that are in most images, of every class as many as of any other, or all that were found.

    In place of squares anywhere, of which rare classes would have none, a central pixel is drawn among those of each
    class in an image.

    Args:
        dataset: with labels.
        plan: size and sides of the patches.
        long_side: the longer side of an image in pixels of `plan`.
        images: spread evenly over the dataset.
        seed: of the draw.

    Raises:
        MultisegError: an image cannot be read, or nothing is labelled.
    """
    random = np.random.default_rng(seed)
    cut, labels, sources = [], [], []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int)):
        sample = dataset[int(index)]
        ids = sample.labels.numpy()
        factor = base_factor(ids.shape[0], ids.shape[1], long_side)
        for label in np.unique(ids[ids != IGNORE]):
            for top, left, side in _squares(ids == label, plan, factor, random):
                cut.append(TF.resized_crop(sample.image, top, left, side, side, list(plan.size), antialias=True))
                labels.append(int(label))
                sources.append(int(index))
    if not cut:
        raise MultisegError("none of the images looked at is labelled.")
    of_class, of_image = np.array(labels), np.array(sources)
    frequent = _most_frequent(of_class, of_image)
    count = min(max(PER_CLASS * len(frequent), FEWEST), MOST)
    kept = balanced(np.where(np.isin(of_class, frequent), of_class, IGNORE), count, random)
    return DrawnPatches(
        dataset.label_space,
        dataset.split,
        torch.stack([cut[place].as_subclass(Tensor) for place in kept]),
        torch.from_numpy(of_class[kept]),
        torch.from_numpy(of_image[kept]),
    )


def _squares(
    mask: NDArray[np.bool_], plan: PatchPlan, factor: float, random: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    """Up to `PER_IMAGE` squares around pixels of a class: top, left and side. Those come first whose side is as drawn;
    the others are as large as fits into the image.
    """
    rows, columns = np.nonzero(mask)
    chosen = random.integers(len(rows), size=PER_IMAGE * _TRIES)
    rows, columns = rows[chosen], columns[chosen]
    low, high = -(-plan.sides[0] // 2), plan.sides[1] // 2
    halves = np.rint(random.integers(low, max(high, low) + 1, size=len(rows)) / factor).astype(int).clip(1)
    # the centre is the pixel right and below of the middle
    room = np.minimum.reduce([rows, columns, mask.shape[0] - rows, mask.shape[1] - columns])
    order = np.argsort(halves > room, kind="stable")
    for place in order[room[order] > 0][:PER_IMAGE]:
        half = int(min(halves[place], room[place]))
        yield int(rows[place]) - half, int(columns[place]) - half, 2 * half


def _most_frequent(labels: NDArray[np.int64], sources: NDArray[np.int64]) -> NDArray[np.int64]:
    """The classes in most images, `CLASSES` at most."""
    classes, images = np.unique(np.unique(np.stack([labels, sources]), axis=1)[0], return_counts=True)
    frequent: NDArray[np.int64] = np.sort(classes[np.argsort(-images, kind="stable")[:CLASSES]])
    return frequent


@torch.no_grad()
def patch_features(predictor: Predictor, images: Tensor, dataset: str, pooling: str = "flatten") -> Tensor:
    """What `MixAndMatch.embed` makes of patches, of unit length, with the backbone of any method. Where the coarsest
    level is finer than a cell for every 32 pixels, it is first averaged to that: more cells would be another measure,
    not better features.

    Args:
        predictor: of a model.
        images: (N, 3, h, w) uint8.
        dataset: whose batch norms they pass, where there are several.
        pooling: "flatten" or "mean".

    Returns:
        (N, C) float32 on the CPU.

    Raises:
        MultisegError: they are not finite, or the backbone takes no images of this size.
    """
    method = predictor.method
    cells = [max(1, math.ceil(length / CELL)) for length in images.shape[-2:]]
    found = []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH].to(predictor.device)
        with predictor.precision(), images_of(method.network.backbone, dataset):
            coarsest: Tensor = method.network.backbone(method.normalize(part))[-1]
        height, width = (min(own, wanted) for own, wanted in zip(coarsest.shape[-2:], cells, strict=True))
        grid = F.adaptive_avg_pool2d(coarsest.float(), (1, 1) if pooling == "mean" else (height, width))
        found.append(F.normalize(grid.flatten(1), dim=1).cpu())
    features = torch.cat(found)
    if not features.isfinite().all():
        raise MultisegError("its features are not finite numbers; did its training diverge?")
    return features


def ordered_share(features: Tensor, labels: Tensor, graphs: int = GRAPHS) -> float:
    """The share of the triplets of class-wise connected graphs whose positive is nearer than the negative; NaN where
    there is no triplet.

    Args:
        features: (N, C).
        labels: (N,) int64.
        graphs: drawn at random, the same for all features.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = [connected_graph(labels, torch.rand(len(labels), 3, generator=generator), IGNORE) for _ in range(graphs)]
    triplets = Triplets(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    if not len(triplets.anchors):
        return math.nan
    return float(triplet_ranking(features, triplets, margin=1.0).ordered)


def nearest_share(features: Tensor, labels: Tensor, sources: Tensor) -> tuple[float, float]:
    """The share of patches whose nearest patch of another image is of the same class, and that share by chance. NaN
    where there is only one image.

    Args:
        features: (N, C) of unit length.
        labels: (N,) int64.
        sources: (N,) int64.
    """
    others = sources[:, None] != sources
    rows = others.any(1)
    if not rows.any():
        return math.nan, math.nan
    same = labels[:, None] == labels
    nearest = (features @ features.T).masked_fill(~others, -torch.inf).argmax(1)
    right = same[torch.arange(len(labels)), nearest][rows]
    by_chance = ((same & others).sum(1) / others.sum(1).clamp(min=1))[rows]
    return float(right.float().mean()), float(by_chance.mean())


def spread_directions(features: Tensor) -> float:
    """In how many directions features spread around their mean: their effective rank (Roy & Vetterli, "The Effective
    Rank", EUSIPCO 2007), the exponential of the entropy of the shares of variance along the principal axes. 1 where all
    lie on a line, C where they spread evenly in C channels.

    Args:
        features: (N, C).
    """
    variances = torch.linalg.svdvals((features - features.mean(0)).double()) ** 2
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())


def view_patches(runs: Mapping[str, RunFolder], entries: Sequence[Config]) -> Iterator[PatchSet | None]:
    """For every dataset with which a run on the page, or the one that it was fine-tuned from, was tuned: its patches in
    the backbones of all runs on the page with this dataset.

    One model is in memory at a time. Where there are tunings, None is given after each model, as a sign of progress,
    and the datasets come last.

    Args:
        runs: by the name they have on the page.
        entries: the datasets of each run; of several entries of one name the first counts.
    """
    tunings = find_tunings(runs)
    if not tunings:
        return
    drawn: dict[str, DrawnPatches] = {}
    rules: dict[str, PatchRule] = {}
    notes: dict[str, list[str]] = {}
    for tuning in tunings.values():
        own = tuning.read_config().get("data", {}).get("datasets", {})
        for dataset in own:
            known = next((entry[dataset] for entry in entries if dataset in entry), None)
            if known is None or dataset in notes:
                continue
            notes[dataset] = []
            try:
                rules[dataset] = read_rule(tuning, dataset)
                opened = open_dataset(dataset, DatasetEntry(**known), "val")
                drawn[dataset] = draw_patches(opened, rules[dataset].plan, rules[dataset].long_side)
            except MultisegError as error:
                notes[dataset].append(f"No patches of {dataset}: {error}")
    pictured = _can_be_pictured(drawn, notes)
    panels: dict[str, list[PatchPanel]] = {dataset: [] for dataset in notes}
    for (name, run), own in zip(runs.items(), entries, strict=True):
        shared = [dataset for dataset in drawn if dataset in own]
        if shared:
            try:
                predictor = Predictor.from_run(run)
            except MultisegError as error:
                for dataset in shared:
                    notes[dataset].append(f"No features of {name}: {error}")
                shared = []
            for dataset in shared:
                try:
                    panels[dataset].append(_panel(predictor, name, drawn[dataset], rules[dataset], pictured))
                except MultisegError as error:
                    notes[dataset].append(f"No features of {name}: {error}")
        yield None
    for dataset, said in notes.items():
        if dataset not in drawn:
            yield PatchSet(dataset, "", (), (), "", math.nan, (), tuple(said))
            continue
        patches = drawn[dataset]
        yield PatchSet(
            dataset,
            patches.split,
            patches.space.names,
            patches.labels.tolist(),
            _said(patches, rules[dataset]),
            nearest_share(torch.ones(len(patches.labels), 1), patches.labels, patches.sources)[1],
            panels[dataset],
            tuple(said),
        )


def _can_be_pictured(drawn: Mapping[str, DrawnPatches], notes: Mapping[str, list[str]]) -> bool:
    if not drawn:
        return False
    try:
        load_tsne()
    except MultisegError as error:
        for dataset in drawn:
            notes[dataset].append(f"No picture of the patches of {dataset}: {error}")
        return False
    return True


def _panel(predictor: Predictor, name: str, patches: DrawnPatches, rule: PatchRule, pictured: bool) -> PatchPanel:
    features = patch_features(predictor, patches.images, patches.space.name, rule.pooling)
    return PatchPanel(
        name,
        ordered_share(features, patches.labels),
        nearest_share(features, patches.labels, patches.sources)[0],
        spread_directions(features),
        in_the_plane(features.double().numpy()) if pictured else None,
    )


def _said(patches: DrawnPatches, rule: PatchRule) -> str:
    low, high = rule.plan.sides
    height, width = rule.plan.size
    images = len(set(patches.sources.tolist()))
    return (
        f"{len(patches.labels)} patches of {images} images of the split {patches.split}, cut as in {rule.tuning}: "
        f"squares of {low} to {high} pixels, resized to {width}×{height}."
    )
