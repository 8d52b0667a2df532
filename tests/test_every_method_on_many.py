"""One process or many: for every method runs on two and on four processes are compared with a run on one.

    python -m pytest -m slow tests/test_every_method_on_many.py

The data are unequal on purpose: `yard` has one image to train on and one to judge by, fewer than there are processes;
with eight images a step of three datasets most processes lack a dataset in most steps, and which one changes. Nothing
divides the images to judge by equally. An incomplete batch there is none in training: a plan has no end, and an epoch
ends within a batch.

All is computed in double precision, in one process as in many. What then differs are mistakes and not rounding, so the
tolerance is tight: 1e-6, relative and absolute, for all that the checkpoint holds (weights, optimiser, banks, queues,
momentum encoders), six digits for what the log prints with six, and nothing for the scores. Dropout is off: its masks
are each process's own. Sums of all processes are taken in another order than sums of one, which in double precision
shows in the last few of sixteen digits; three updates, and divisions by small variances of batch norms, magnify it.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_run
from multiseg.run_folder import read_checkpoint
from multiseg.synthetic import write_datasets
from processes import Processes

pytestmark = pytest.mark.slow

#: Images to train on and to judge by.
SIZES = {"town": (9, 5), "park": (5, 3), "yard": (1, 1)}
CLASSES = {"town": ["road", "car", "sky"], "park": ["tree", "sky"], "yard": ["car", "grass"]}

COMMON = [
    *["--steps", "3", "--data.total_batch_size", "8", "--trainer.val_every", "2", "--trainer.log_every", "1"],
    *["--trainer.precision", "32-true", "--data.workers", "0", "--data.eval_batch_size", "2"],
]
BACKBONE = ["--method.network.backbone"]
BACKBONE += ["{class_path: multiseg.networks.backbone.Backbone, init_args: {name: test_resnet, output_stride: 16}}"]
PYRAMID = ["--method.network.decoder"]
PYRAMID += ["{class_path: multiseg.networks.pyramid_pooling.PyramidPooling, init_args: "]
PYRAMID[1] += "{channels: 16, bins: [1, 2], dropout: 0.0}}"
POINTS = ["--method.network.decoder"]
POINTS += ["{class_path: multiseg.networks.hypercolumn.Hypercolumn, init_args: {channels: 16, points: 20}}"]
CROPS = ["--data.pipeline", "{long_side: 128, crop: [64, 96]}", *BACKBONE]
PIXELS = [*CROPS, *PYRAMID, "--method.network.auxiliary.dropout", "0"]
VIEWS = ["--data.views.size", "[64, 96]", "--method.projection_channels", "16", *BACKBONE, *PYRAMID]
MASKS = [*CROPS, "--method.network.decoder"]
MASKS += ["{class_path: multiseg.networks.pixel_decoder.PixelDecoder, init_args: {channels: 16, groups: 4}}"]
MASKS += ["--method.mask_decoder", "{queries: 8, layers: 2, width: 16, heads: 2, feedforward: 16, dropout: 0.0}"]
MIXED = ["--data.plan", "{class_path: multiseg.loading.sampling.Mixed}"]
TILES = ["--data.tiles", "{cell: 36, tile: 32}", "--method.permutations", "6", "--method.tile_channels", "16"]

#: The recipes of every method, what makes them small, and, where these are not all three, their datasets.
RUNS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "supervised": (["supervised", *PIXELS], ("town",)),
    "supervised, a single image": (["supervised", *PIXELS], ("yard",)),
    "multi_head": (["multi_head", *PIXELS], ()),
    "multi_head, accumulated": (["multi_head", *PIXELS, "--trainer.accumulate", "2"], ()),
    "multi_head, clipped": (["multi_head", *PIXELS, "--trainer.gradient_clip", "0.1"], ()),
    "multi_head, at points": (["multi_head", *CROPS, *POINTS, "--method.network.auxiliary.dropout", "0"], ()),
    "by_name": (["by_name", *PIXELS], ()),
    "label_remap": (["label_remap", *PIXELS], ()),
    "universal": (["universal", *PIXELS], ()),
    "cdcl": (["cdcl", *PIXELS], ()),
    "cdcl, unequal turns": (["cdcl", *PIXELS, "--data.plan.exponent", "1"], ()),
    "cdcl, mixed batches": (["cdcl", *PIXELS, *MIXED], ()),
    "mdp": (["mdp", *VIEWS, "--method.bank.batches", "2", "--method.coding", "{alpha: 0.5, count: 5}"], ()),
    "mdp, regions": (
        [
            *["mdp", *VIEWS, "--method.bank"],
            "{class_path: multiseg.losses.prototype_bank.RegionBank, init_args: {images: 10}}",
        ],
        (),
    ),
    "mdp, pixels": (["mdp", "pixel_to_pixel", *VIEWS], ()),
    "moco": (["moco", *VIEWS, "--method.queue", "16"], ()),
    "moco, a queue that a batch overflows": (["moco", *VIEWS, "--method.queue", "12"], ()),
    "maskformer": (["maskformer", *MASKS], ()),
    "maskformer_by_name": (["maskformer_by_name", *MASKS], ()),
    "lmseg": (["lmseg", *MASKS, "--method.prompt_length", "2"], ()),
    "lmseg, panoptic": (
        ["lmseg", *MASKS, "--method.prompt_length", "2", "--method.panoptic", "true"],
        ("street:cityscapes_panoptic", "town", "yard"),
    ),
    "jigsaw": (["jigsaw", *TILES, "--method.channels", "32", *BACKBONE, *PYRAMID], ()),
    "colorization": (["colorization", *CROPS, *POINTS, "--method.bins", "8"], ()),
    "mix_and_match": (
        [
            *["mix_and_match", "--data.patches", "{per_image: 4, size: [64, 64], sides: [16, 40]}"],
            *[*BACKBONE, *PYRAMID],
        ],
        (),
    ),
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("unequal")
    for name, (train, val) in SIZES.items():
        tiny_run.write_dataset(root / name, name, CLASSES[name], {"train": train, "val": val})
    street = write_datasets(root, images=5, val_images=1, domains=["street"])["street"]
    return {**{name: root / name for name in SIZES}, "street:cityscapes_panoptic": street}


@pytest.fixture(scope="module")
def runs(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR/COUNT/NAME: every run on one, two and four processes."""
    root = tmp_path_factory.mktemp("many")

    def commands(count: int) -> list[list[object]]:
        return [
            [
                *["train", *options, *COMMON, "--run", root / str(count) / name],
                *(word for dataset in datasets or SIZES for word in ("--data", f"{dataset}={roots[dataset]}")),
            ]
            for name, (options, datasets) in RUNS.items()
        ]

    for count in (1, 2, 4):
        Processes(commands(count), count, double=True).wait(timeout=900)
    return root


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", RUNS)
def test_many_processes_train_and_judge_like_one(name: str, count: int, runs: Path) -> None:
    one, many = runs / "1" / name, runs / str(count) / name
    first, second = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, many))
    for part in ("state_dict", "optimizer_states", "queue", "latest_losses"):
        assert_equal(first.get(part), second.get(part), part)
    logs = [list(csv.DictReader((run / "log.csv").open())) for run in (one, many)]
    assert len(logs[0]) == len(logs[1]) == 3
    for row, same in zip(*logs, strict=True):
        assert {key: number(value) for key, value in row.items()} == pytest.approx(
            {key: number(value) for key, value in same.items()}, rel=1e-5, abs=1e-6, nan_ok=True
        )
    scores = [json.loads((run / "metrics.json").read_text()) for run in (one, many)]
    assert_equal(*({key: value for key, value in entry.items() if key != "seconds"} for entry in scores), "metrics")


def assert_equal(value: Any, other: Any, name: str) -> None:
    """Two parts of checkpoints, whatever they are made of."""
    if isinstance(value, torch.Tensor):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-6, msg=lambda text: f"{name}: {text}")
    elif isinstance(value, dict):
        assert value.keys() == other.keys(), name
        for key in value:
            assert_equal(value[key], other[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        assert len(value) == len(other), name
        for place, entry in enumerate(value):
            assert_equal(entry, other[place], f"{name}.{place}")
    elif isinstance(value, float):
        assert value == pytest.approx(other, rel=1e-6), name
    else:
        assert value == other, name


def number(text: str) -> float:
    return float(text) if text else -1.0
