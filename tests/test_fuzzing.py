"""Whatever is in a file, reading it succeeds or ends with one line: no traceback, no hang."""

from __future__ import annotations

import io
import json
import random
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

import fake_trees
from multiseg.cli import main
from multiseg.configuration import compose
from multiseg.datasets import find_reader
from multiseg.datasets.base import image_header, read_image, read_mask
from multiseg.datasets.base.matlab import read_matlab
from multiseg.datasets.folder import read_description
from multiseg.datasets.idd import _Annotation
from multiseg.errors import MultisegError
from multiseg.instantiation import build_method, resolve
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.run_folder import InputSize, RunFolder, load_model, read_checkpoint, save_model
from multiseg.taxonomy.master_table import read_master_table
from multiseg.taxonomy.relations import read_relations
from multiseg.weights import read_weights
from mutations import damaged, swapped_json, swapped_yaml

#: No file here has more than a few thousand bytes.
LONGEST = 10.0

SPACES = [
    LabelSpace(
        "town", tuple(LabelClass(name, (i,), (i, 0, 9)) for i, name in enumerate(["road", "car", "sky"])), (255,)
    ),
    LabelSpace("park", tuple(LabelClass(name, (i,), (i, 9, 0)) for i, name in enumerate(["tree", "sky"]))),
]

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """
    Args:
        write: writes what is valid into a folder, and returns the file to damage.
        read: takes the folder and the file.
        mutate: ways to damage it.
        cost: how many times as long as the quickest one a reading takes.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path, Path], object]
    mutate: tuple[Mutate, ...] = (damaged,)
    cost: int = 1


# Images and masks


def image(name: str, mode: str = "RGB", **options: object) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        values = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(values).convert(mode).save(root / name, **options)
        return root / name

    return write


def read_as_both(root: Path, file: Path) -> None:
    for read in (image_header, read_image, lambda path: read_mask(path, False), lambda path: read_mask(path, True)):
        try:
            read(file)
        except MultisegError as error:
            expect_one_line(error, file)


def matlab(root: Path) -> Path:
    fields = {"Segmentation": np.ones((5, 6), np.uint8), "Boundaries": np.array([np.eye(3), None], object)[:1]}
    savemat(root / "a.mat", {"GTcls": fields, "S": np.ones((5, 6), np.uint16)}, do_compression=True)
    return root / "a.mat"


def plain_matlab(root: Path) -> Path:
    savemat(root / "a.mat", {"GTcls": {"Segmentation": np.ones((5, 6))}})
    return root / "a.mat"


# Indices and descriptions


def panoptic_index(root: Path) -> Path:
    for number in range(2):
        fake_trees.write_image(root / f"images/train/{number}.jpg", (20, 24), number)
        fake_trees.write_mask(root / f"panoptic_train/{number}.png", (20, 24), [(10, 0, 0), (20, 1, 0)])
    index = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 20, "width": 24} for n in range(2)],
        "annotations": [
            {
                "image_id": n,
                "file_name": f"{n}.png",
                "segments_info": [{"id": 10, "category_id": 1, "iscrowd": 0}, {"id": 276, "category_id": 2}],
            }
            for n in range(2)
        ],
        "categories": [
            {"id": 1, "name": "water", "isthing": 0, "color": [1, 2, 3]},
            {"id": 2, "name": "ship", "isthing": 1},
        ],
    }
    (root / "panoptic_train.json").write_text(json.dumps(index))
    return root / "panoptic_train.json"


def read_panoptic(root: Path, file: Path) -> None:
    dataset = find_reader("panoptic")(root, "train", "harbour")
    dataset.missing_files()
    dataset[0]


def polygons(root: Path) -> Path:
    objects = [
        {"label": "road", "polygon": [[0, 0], [9, 0], [9, 9]], "deleted": 0},
        {"label": "sky", "polygon": [[1, 2.5]] * 3},
    ]
    (root / "a.json").write_text(json.dumps({"imgHeight": 20, "imgWidth": 24, "objects": objects}))
    return root / "a.json"


def description(root: Path) -> Path:
    for split in ("train", "val"):
        fake_trees.write_image(root / f"images/{split}/0.jpg", (20, 24), 0)
        fake_trees.write_mask(root / f"masks/{split}/0.png", (20, 24), (0, 1, 3, 4), 0)
    (root / "list.txt").write_text("0\n")
    about = {
        "name": "harbour",
        "classes": [{"name": "water", "id": 1, "color": [1, 2, 3]}, {"name": "ship", "id": [3, 4], "thing": True}],
        "ignore": [0],
        "splits": {
            "train": {"images": "images/train", "masks": "masks/train", "list": "list.txt"},
            "val": {"images": "images/val", "masks": "masks/val"},
        },
        "license": "none",
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(about))
    return root / "dataset.yaml"


def read_folder(root: Path, file: Path) -> None:
    about = read_description(file)
    for split in about.splits:
        dataset = find_reader("folder")(root, split, "harbour")
        dataset.missing_files()
        if len(dataset):
            dataset[0]


def split_list(root: Path) -> Path:
    description(root)
    return root / "list.txt"


def relations(root: Path) -> Path:
    lines = [
        "from_dataset\tfrom_class\trelation\tto_dataset\tto_class",
        'town\tcar\tsame\tpark\t"a ""b"" c"',
        "town\tsky\tpart of\tpark\tsky",
    ]
    (root / "relations.tsv").write_text("\n".join(lines) + "\n")
    return root / "relations.tsv"


def master(root: Path) -> Path:
    (root / "master.tsv").write_text("universal\ttown\tpark\nsky\tsky\tsky\nroad\t{road, path}\t\nunlabeled\tcar\t\n")
    return root / "master.tsv"


# Configurations, runs, models


def recipe(root: Path) -> Path:
    fake_trees.write("camvid", root / "camvid")
    config = compose(["mdp"], [f"camvid={root / 'camvid'}"], [("method.network.backbone.weights", "null")])
    config["init"], config["trainer"] = {"weights": "x.pth", "part": "network"}, {"steps": 7, "val_every": None}
    config["data"]["pipeline"] = {
        "crop": [32, 48],
        "more": [{"class_path": "torchvision.transforms.v2.ColorJitter", "init_args": {"hue": 0.1}}],
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(config))
    return root / "recipe.yaml"


def resolve_recipe(root: Path, file: Path) -> None:
    resolve(compose([str(file)]))


def run(part: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        folder = RunFolder(root)
        folder.create()
        config = compose(["mdp"], overrides=[("method.network.backbone.name", "test_resnet")])["method"]
        backbone = config["init_args"]["network"]["init_args"]["backbone"]["init_args"]
        backbone |= {"output_stride": 32, "weights": None}
        config["init_args"]["network"]["init_args"]["decoder"]["init_args"] = {"channels": 8}
        method = build_method(config, SPACES)
        save_model(
            folder, method, config, {"town": InputSize(64, (32, 48)), "park": InputSize(None, (8, 8))}, "32-true"
        )
        datasets = {"town": {"root": "/d/town"}, "park": {"root": "/d/park", "reader": "folder"}}
        folder.write_config({"data": {"datasets": datasets}, "method": config, "init": {}, "trainer": {}})
        classes = {name: 50.0 for name in SPACES[0].names}
        scores = {"mIoU": 50.0, "pixel_accuracy": 60.0, "per_class": classes, "absent": [], "split": "val", "images": 3}
        metrics = {"method": "mdp", "step": 7, "seconds": 1.5, "datasets": {"town": scores}, "mean": {"mIoU": 50.0}}
        folder.write_metrics(metrics)
        folder.log_path.write_text("step,loss,town/mIoU,lr\n1,2.5,,0.1\n2,2.0,50,0.1\n")
        state = method.state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, root / "weights.safetensors")
        torch.save({"state_dict": state, "loops": {}, "global_step": 3}, folder.last_checkpoint)
        return root / part

    return write


def read_model(root: Path, file: Path) -> None:
    load_model(RunFolder(root))


def write_report(root: Path, file: Path) -> None:
    command("report", str(root), "--out", str(root.parent / "report.html"))


def command(*arguments: str) -> None:
    """One command line, whose error is an error here, too."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = main(arguments)
    if code:
        raise MultisegError(errors.getvalue().strip().rpartition("error: ")[2])


def both_checkpoints(root: Path, file: Path) -> None:
    read_weights(file)
    read_checkpoint(file)


JSON, YAML = (damaged, swapped_json), (damaged, swapped_yaml)

TARGETS = {
    "png": Target(image("a.png"), read_as_both),
    "grey png": Target(image("a.png", "L"), read_as_both),
    "palette png": Target(image("a.png", "P"), read_as_both),
    "jpeg": Target(image("a.jpg"), read_as_both),
    "webp": Target(image("a.webp"), read_as_both),
    "tiff": Target(image("a.tif", compression="tiff_lzw"), read_as_both),
    "bmp": Target(image("a.bmp"), read_as_both),
    "gif": Target(image("a.gif", "P"), read_as_both),
    "packed matlab": Target(matlab, lambda root, file: read_matlab(file, "GTcls", "Segmentation")),
    "matlab": Target(plain_matlab, lambda root, file: read_matlab(file, "GTcls", "Segmentation")),
    "panoptic index": Target(panoptic_index, read_panoptic, JSON, 4),
    "polygons": Target(polygons, lambda root, file: _Annotation(file).draw(), JSON),
    "dataset.yaml": Target(description, read_folder, YAML, 4),
    "split list": Target(split_list, lambda root, file: read_folder(root, root / "dataset.yaml"), cost=4),
    "relations": Target(relations, lambda root, file: read_relations(file)),
    "master table": Target(master, lambda root, file: read_master_table(file)),
    "recipe": Target(recipe, resolve_recipe, (swapped_yaml, swapped_yaml, damaged), 10),
    "config.yaml": Target(run("config.yaml"), write_report, YAML, 10),
    "metrics.json": Target(run("metrics.json"), write_report, JSON, 10),
    "log.csv": Target(run("log.csv"), write_report, cost=10),
    "model.json": Target(run("model/model.json"), read_model, (swapped_json, swapped_json, damaged), 10),
    "model.safetensors": Target(run("model/model.safetensors"), read_model, cost=10),
    "weights.safetensors": Target(run("weights.safetensors"), lambda root, file: read_weights(file), cost=2),
    "checkpoint": Target(run("checkpoints/last.ckpt"), both_checkpoints, cost=2),
}


def expect_one_line(error: MultisegError, file: Path) -> None:
    message = str(error)
    assert message.count("\n") <= 1 and len(message) < 3000, message
    assert "Traceback" not in message


def fuzz(target: Target, root: Path, times: int, seed: int) -> None:
    file = target.write(root)
    valid = file.read_bytes()
    target.read(root, file)  # what is valid can be read
    chance = random.Random(seed)
    for turn in range(times):
        content = chance.choice(target.mutate)(valid, chance)
        file.write_bytes(content)
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.read(root, file)
        except MultisegError as error:
            expect_one_line(error, file)
        except Exception as error:
            (root / "culprit").write_bytes(content)
            raise AssertionError(f"turn {turn}, {root / 'culprit'}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - started < LONGEST, f"turn {turn} took too long"


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    fuzz(TARGETS[name], root, max(2, 24 // TARGETS[name].cost), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_thousands_of_damaged_files(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    fuzz(TARGETS[name], root, 10_000 // TARGETS[name].cost, seed=1)
