"""Training fed by the loader, against training that need not wait for any."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from multiseg.batch import Batch, collate
from multiseg.bench.base import Comparison
from multiseg.loading.datamodule import DatasetEntry, DrawnSamples, default_workers, loader_options, open_dataset
from multiseg.loading.sampling import Mixed, PlannedSampler
from multiseg.loading.transforms import Pipeline
from multiseg.methods.supervised import Supervised
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant
from multiseg.synthetic import write_datasets

_STEPS = 12
_BATCH = 8
_SIZE = (360, 480)


def comparisons() -> list[Comparison]:
    """The default network and crop, on JPEG files of CamVid's size."""
    folder = Path(tempfile.mkdtemp(prefix="multiseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = write_datasets(folder, images=96, val_images=1, domains=["square"], size=_SIZE)["square"]
    dataset = open_dataset("square", DatasetEntry(root, "folder"), "train")
    samples = DrawnSamples([dataset], [Pipeline().training()])
    sampler = PlannedSampler(Mixed(), {"square": len(dataset)}, _BATCH, seed=0, start=0, stop=10**9)
    loader: DataLoader[Batch] = DataLoader(
        samples,  # type: ignore[arg-type]  # collated: Batch
        batch_sampler=sampler,
        collate_fn=collate,
        **loader_options(default_workers()),
    )
    stream = iter(loader)
    kept = next(stream)
    step = _training_step(dataset.label_space)

    def run(next_batch: Callable[[], Batch]) -> int:
        for _ in range(_STEPS):
            step(next_batch())
        return _STEPS

    what = f"{_STEPS} steps, PSPNet ResNet-18, {_BATCH} crops of 128×160 from {_SIZE[1]}×{_SIZE[0]} JPEG"
    return [
        Comparison(
            "loading_in_training",
            f"{what}; {default_workers()} loading workers",
            ours=partial(run, partial(next, stream)),
            peers={"one batch kept in memory": partial(run, lambda: kept)},
            same=int.__eq__,
            goal=0.9,
            goal_peer="one batch kept in memory",
        )
    ]


def _training_step(space: Any) -> Callable[[Batch], None]:
    torch.manual_seed(0)
    network = SegmentationNetwork(
        Backbone("resnet18", output_stride=8), partial(PyramidPooling, channels=256), AuxiliaryHead
    )
    method = Supervised([space], network, optimizer=SGD(lr=0.01), schedule=Constant()).train()
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]  # no trainer
    method.to(memory_format=torch.channels_last)
    optimizer = method.optimizer_spec.build(method)

    def step(batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = method.training_step(batch.to("cpu"), 0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step
