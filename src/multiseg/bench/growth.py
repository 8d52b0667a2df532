"""How the time and the memory of a training step grow with datasets and with classes, everything else being equal.

Not against a peer: the question is what a method costs at 64 datasets that it does not cost at one.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import Batch, MixedSample, Sample, ViewBatch, Views, collate, collate_views
from multiseg.bench.base import peak_memory
from multiseg.bench.tables import Machine
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.losses.prototype_bank import ClassBank
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.by_name import ByName
from multiseg.methods.cdcl import CDCL
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.mdp import MDP
from multiseg.methods.multi_head import MultiHead
from multiseg.networks.backbone import Backbone
from multiseg.networks.mask_decoder import MaskDecoderSettings
from multiseg.networks.pixel_decoder import PixelDecoder
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.networks.text_encoder import SentenceText
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant

_DATASETS = (1, 2, 4, 8, 16, 32, 64)
_CLASSES = (20, 100, 500, 2000, 10_000)
_METHODS: dict[str, type[SegmentationMethod]] = {
    "multi_head": MultiHead,
    "by_name": ByName,
    "cdcl": CDCL,
    "mdp": MDP,
    "lmseg": LMSeg,
}
#: Images a step and their size; with 10,000 classes the scores of one image alone take 205 MB.
_IMAGES, _SIZE = 4, (64, 80)
_STEPS = 3
#: Seconds of a step beyond which a series is not continued.
_LONGEST = 5.0


@dataclass(frozen=True)
class Point:
    """A step of a method.

    Args:
        method: its name in recipes.
        datasets: of the run; a batch holds images of four at most.
        classes: of each dataset.
        seconds: of a step with its update, median.
        step_bytes: the most that a step holds on top of what was there.
        model_bytes: of parameters and of what is kept besides, such as a bank.
    """

    method: str
    datasets: int
    classes: int
    seconds: float
    step_bytes: int
    model_bytes: int


def measure_growth(
    methods: tuple[str, ...] = tuple(_METHODS),
    datasets: tuple[int, ...] = _DATASETS,
    classes: tuple[int, ...] = _CLASSES,
) -> Iterator[Point]:
    """Each method first with ever more datasets of 20 classes, then with one dataset of ever more classes.

    A series ends where a step takes longer than five seconds.
    """
    few = classes[0]
    for method in methods:
        # the step with one dataset of few classes belongs to both series
        for series in ([(number, few) for number in datasets], [(1, number) for number in classes[1:]]):
            for sizes in series:
                point = _measured(method, *sizes)
                yield point
                if point.seconds > _LONGEST:
                    break


def write_growth(points: list[Point], folder: Path) -> None:
    """The figures as `growth.json`, charts of them as `growth.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"machine": asdict(Machine.here()), "points": [asdict(point) for point in points]}
    (folder / "growth.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    _plot(points, folder / "growth.svg")


def _measured(name: str, datasets: int, classes: int) -> Point:
    step, method = _step(name, datasets, classes)
    step()  # buffers of the optimiser, and kernels that are chosen at the first call
    memory = peak_memory(step)
    seconds = []
    for _ in range(_STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    kept = sum(tensor.nbytes for tensor in (*method.parameters(), *method.buffers()))
    return Point(name, datasets, classes, statistics.median(seconds), memory, kept)


def _step(name: str, datasets: int, classes: int) -> tuple[Callable[[], Any], SegmentationMethod]:
    torch.manual_seed(0)
    spaces = [_space(f"set{number}", classes) for number in range(datasets)]
    kind = _METHODS[name]
    # a mask decoder wants the pyramid of an ordinary ResNet; the others work at stride 8
    backbone = Backbone("resnet18", output_stride=32 if kind is LMSeg else 8)
    decoder = partial(PixelDecoder, channels=128) if kind is LMSeg else partial(PyramidPooling, channels=128)
    options: dict[type[SegmentationMethod], dict[str, Any]] = {
        LMSeg: {"text": SentenceText(), "mask_decoder": MaskDecoderSettings(layers=2)},
        MDP: {"bank": partial(ClassBank, batches=64)},
    }
    network = SegmentationNetwork(backbone, decoder)
    method = kind(spaces, network, optimizer=SGD(lr=1e-3), schedule=Constant(), **options.get(kind, {})).train()
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]  # no trainer
    method.to(memory_format=torch.channels_last)
    batch: Any = _views(spaces) if kind is MDP else _batch(spaces)
    optimizer = method.optimizer_spec.build(method)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = method.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step, method


def _space(name: str, classes: int) -> LabelSpace:
    """No two datasets share a class, so that a union is as large as it can be."""
    return LabelSpace(name, tuple(LabelClass(f"{name} {n}", (n,), (0, 0, 0)) for n in range(classes)), (classes,))


def _batch(spaces: list[LabelSpace]) -> Batch:
    return collate([_sample(spaces[number % len(spaces)], number) for number in range(_IMAGES)]).to("cpu")


def _views(spaces: list[LabelSpace]) -> ViewBatch:
    """Two views of each image, and one mixed with the next dataset's."""
    views = []
    for number in range(_IMAGES):
        own, other = (spaces[place % len(spaces)] for place in (number, number + 1))
        first, second, partner = _sample(own, number), _sample(own, number + _IMAGES), _sample(other, number + 1)
        image = (0.7 * first.image + 0.3 * partner.image).to(torch.uint8)
        labels = torch.stack([first.labels.as_subclass(Tensor), partner.labels.as_subclass(Tensor)])
        views.append(Views(first, second, MixedSample(image, labels, torch.tensor([0.7, 0.3]), (own, other))))
    return collate_views(views).to("cpu")


def _sample(space: LabelSpace, seed: int) -> Sample:
    """Noise, labelled in blocks."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *_SIZE), generator=generator, dtype=torch.uint8)
    grid = [length // 16 for length in _SIZE]
    labels = torch.randint(0, len(space), grid, generator=generator, dtype=torch.int16)
    labels = labels.repeat_interleave(16, 0).repeat_interleave(16, 1)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), space, str(seed))


def _plot(points: list[Point], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col")
    few = min(point.classes for point in points)
    by_datasets = [point for point in points if point.classes == few]
    by_classes = [point for point in points if point.datasets == 1]
    columns = [
        (by_datasets, "datasets", f"datasets of {few} classes"),
        (by_classes, "classes", "classes of one dataset"),
    ]
    for column, (series, growing, label) in enumerate(columns):
        time_panel, memory_panel = panels[0][column], panels[1][column]
        for method in dict.fromkeys(point.method for point in series):
            own = [point for point in series if point.method == method]
            numbers = [getattr(point, growing) for point in own]
            time_panel.plot(numbers, [point.seconds for point in own], "o-", label=method)
            held = [(point.step_bytes + point.model_bytes) / 1e6 for point in own]
            memory_panel.plot(numbers, held, "o-", label=method)
        for panel in (time_panel, memory_panel):
            panel.set_xscale("log", base=2 if growing == "datasets" else 10)
            panel.xaxis.set_major_formatter("{x:,.0f}")
            if growing == "datasets":  # little grows here, and from zero one sees that
                panel.set_ylim(bottom=0)
            else:
                panel.set_yscale("log")
                panel.yaxis.set_major_formatter("{x:,g}")
            panel.grid(alpha=0.3)
        memory_panel.set_xlabel(label)
        time_panel.set_ylabel("step, seconds")
        memory_panel.set_ylabel("step and model, MB")
    lines, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None})
