"""Recipes of the rows of MDP's tables. All figures here are typed from the paper, not taken from the recipes."""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torchvision import tv_tensors
from torchvision.transforms import v2

import fake_trees
from multiseg.configuration import find_recipe, parse_data, read_recipe, shipped_recipes
from multiseg.instantiation import build
from multiseg.label_space import IGNORE
from recipe_headers import command_of, composition_of, differing, header, leaves

NAMES = sorted(name.removeprefix("mdp/") for name in shipped_recipes() if name.startswith("mdp/"))
ROWS = [name for name in NAMES if name.startswith("table_")]
TARGETS = ("voc", "ade20k", "cityscapes")


class Pretraining(NamedTuple):
    """A row of Tables 1 to 4 with MDP: what is trained, and mIoU after fine-tuning."""

    datasets: tuple[str, ...]
    epochs: int
    batches: int | None  # of the class bank
    mixing: str | None
    figures: tuple[float, ...]
    changed: dict[str, Any] | None = None


V, VA, VAC = ("voc",), ("voc", "ade20k"), ("voc", "ade20k", "coco_stuff")
IMAGES = {"voc": 10_582, "ade20k": 20_210, "coco_stuff": 118_287}
REGION = {
    "bank.class_path": "multiseg.losses.prototype_bank.RegionBank",
    "bank.init_args.images": 4096,
}
SPARSE = {"coding.alpha": 0.5, "coding.count": 5, "coding.neighbours": "pixel"}

PRETRAINING = {
    "table_1_mdp_voc_ade20k_100": Pretraining(VA, 100, 962, "both", (73.32, 40.17, 77.75)),
    "table_1_mdp_voc_ade20k_200": Pretraining(VA, 200, 962, "both", (74.30, 40.83, 78.59)),
    "table_1_mdp_voc_ade20k_coco_200": Pretraining(VAC, 200, 4658, "both", (77.79, 42.69, 80.64)),
    "table_2_pixel_to_pixel": Pretraining(V, 100, 128, None, (68.05,), {"contrast": "pixels"}),
    "table_2_region_4096": Pretraining(V, 100, None, None, (68.69,), REGION),
    "table_2_class_4096": Pretraining(V, 100, 4096 // 32, None, (69.72,)),
    "table_2_class_1024": Pretraining(V, 100, 1024 // 32, None, (69.61,)),
    "table_2_class_10560": Pretraining(V, 100, 10560 // 32, None, (69.8,)),
    "table_2_temperature_03": Pretraining(V, 100, 128, None, (69.01,), {"temperature": 0.3}),
    "table_2_temperature_05": Pretraining(V, 100, 128, None, (68.65,), {"temperature": 0.5}),
    "table_3_voc_region": Pretraining(V, 100, 128, "region", (70.92,)),
    "table_3_voc_pixel": Pretraining(V, 100, 128, "pixel", (68.40,)),
    "table_3_voc_ade20k": Pretraining(VA, 100, 962, None, (71.98, 75.37)),
    "table_3_voc_ade20k_region": Pretraining(VA, 100, 962, "region", (72.66,)),
    "table_3_voc_ade20k_pixel": Pretraining(VA, 100, 962, "pixel", (73.00,)),
    "table_4_sparse_coding": Pretraining(VA, 100, 962, None, (71.84, 76.53), SPARSE),
}
#: The figures of VOC in each table, row by row.
ROWS_OF = {
    "2": (68.05, 68.69, 69.72, 69.61, 69.72, 69.8, 69.72, 69.01, 68.65),
    "3": (69.72, 70.92, 68.40, 71.98, 72.66, 73.00, 73.32),
    "4": (71.98, 71.84),
}
#: Table 1, what is not pretrained here: of VOC, ADE20K, Cityscapes.
STARTS = {
    "scratch": (44.78, 28.67, 54.27),
    "moco": (71.59, 38.29, 77.52),
    "supervised": (75.63, 39.36, 77.60),
}
FINETUNING = {
    f"table_1_{start}_{target}": figures[place]
    for start, figures in STARTS.items()
    for place, target in enumerate(TARGETS)
} | {f"table_1_mdp_finetune_{target}": None for target in TARGETS}


def recipe_of(name: str) -> Path:
    return find_recipe(f"mdp/{name}")


@cache
def config_of(name: str) -> dict[str, Any]:
    """What the command of a row composes; not to be changed."""
    return composition_of(recipe_of(name)).config()


def differences(first: str, second: str) -> dict[str, tuple[Any, Any]]:
    return differing(config_of(first), config_of(second))


def printed(figure: float) -> str:
    return str(figure) if figure == 69.8 else f"{figure:.2f}"


def test_there_is_a_recipe_for_every_row():
    assert set(ROWS) == {*PRETRAINING, *FINETUNING}
    assert set(NAMES) - set(ROWS) == {"pretraining", "finetuning"}
    for table, figures in ROWS_OF.items():
        runs = [row for row in PRETRAINING.values() if row.figures[0] in figures]
        assert {row.figures[0] for row in runs} == set(figures), table
        assert len(runs) == len(set(figures)), "two recipes of one figure: which is the row's run?"


def test_no_run_is_written_twice():
    for first, second in combinations(ROWS, 2):
        assert config_of(first) != config_of(second), f"{first} and {second} are the same run"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_a_common_recipe_and_its_own(name):
    common, row, *_ = command_of(recipe_of(name))
    assert (common, row) == ("mdp/pretraining" if name in PRETRAINING else "mdp/finetuning", f"mdp/{name}")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_states_the_papers_figures(name):
    purpose, *rest = header(recipe_of(name))
    numbers = re.findall(r"\b\d\d\.\d+\b", "\n".join([purpose, *rest]))
    if name in PRETRAINING:
        wanted = PRETRAINING[name].figures
        assert printed(wanted[0]) in purpose
    elif FINETUNING[name] is not None:
        wanted = (FINETUNING[name],)
        assert printed(wanted[0]) in purpose
    else:  # serves several rows
        place = TARGETS.index(name.rsplit("_", 1)[1])
        wanted = tuple(row.figures[place] for row in PRETRAINING.values() if len(row.figures) == 3)
        if place == 2:  # Table 4 has Cityscapes, too
            wanted += tuple(row.figures[1] for row in PRETRAINING.values() if len(row.figures) == 2)
    assert {float(number) for number in numbers} == set(wanted)


# Pretraining


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_pretraining_run_differs_in_what_the_table_says_alone(name):
    row = PRETRAINING[name]
    config = config_of(name)
    assert tuple(config["data"]["datasets"]) == row.datasets
    base = dict(leaves(read_recipe(recipe_of("pretraining"))))
    found = {key: value for key, value in leaves(config) if base.get(key) != value and "data.datasets" not in key}
    images = sum(IMAGES[dataset] for dataset in row.datasets)
    wanted = {"trainer.steps": round(row.epochs * images / 32)}
    wanted |= {f"method.init_args.{key}": value for key, value in (row.changed or {}).items()}
    if row.batches is not None:
        wanted["method.init_args.bank.init_args.batches"] = row.batches
    if row.mixing is not None:
        wanted["data.views.mixing.kind"] = row.mixing
    assert found == wanted


def test_the_bank_of_several_datasets_is_an_epoch_long():
    for row in PRETRAINING.values():
        if len(row.datasets) > 1:
            assert row.batches == sum(IMAGES[dataset] for dataset in row.datasets) // 32


@pytest.mark.parametrize(("datasets", "epochs"), [(V, 100), (VA, 100), (VA, 200), (VAC, 200)])
def test_the_header_reckons_updates_right(datasets, epochs):
    text = "\n".join(header(recipe_of("pretraining")))
    images = sum(IMAGES[dataset] for dataset in datasets)
    (line,) = [line for line in text.splitlines() if re.search(rf"\b{images:,}\b   ", line)]
    assert f"{epochs} epochs:" in line
    assert f"{round(epochs * images / 32):,}" in line


def test_pretraining_has_the_papers_settings():
    config = config_of("table_2_class_4096")
    data, method = config["data"], config["method"]["init_args"]
    assert data["datasets"]["voc"]["train"] == "trainaug"
    assert (data["total_batch_size"], data["views"]["size"]) == (32, [224, 224])
    assert data["plan"]["init_args"] == {"exponent": 1.0}
    assert (method["temperature"], method["projection_channels"], method["union"]) == (0.07, 256, "disjoint")
    assert method["optimizer"] == {
        "class_path": "multiseg.optim.optimizers.SGD",
        "init_args": {"lr": 0.2, "momentum": 0.9, "weight_decay": 4e-5},
    }
    assert method["schedule"]["class_path"].endswith("Cosine")
    backbone = method["network"]["init_args"]["backbone"]["init_args"]
    assert backbone == {"name": "resnet50", "weights": None, "output_stride": 8}


def test_the_aliases_named_in_the_header_exist():
    text = "\n".join(header(recipe_of("pretraining")))
    listed = re.findall(r"^(table_\w+)   ", text, re.MULTILINE)
    assert listed == ["table_1_mdp_voc_ade20k_100", "table_2_class_4096", "table_3_voc_ade20k"]
    assert set(re.findall(r"\btable_\w+", text)) <= {*ROWS, "table_1_mdp_finetune_voc"}


# Fine-tuning


@pytest.mark.parametrize("name", FINETUNING)
def test_runs_on_one_dataset_differ_in_their_start_alone(name):
    target = name.rsplit("_", 1)[1]
    found = differences(name, f"table_1_scratch_{target}")
    backbone = "method.init_args.network.init_args.backbone.init_args"
    assert (
        found
        == {
            "scratch": {},
            "moco": {f"{backbone}.weights": ("MOCO_FILE", None)},
            "supervised": {f"{backbone}.weights": ("timm", None), f"{backbone}.name": ("resnet50.tv_in1k", "resnet50")},
            "mdp": {"init.part": ("backbone", None), "init.weights": ("RUN", None)},
        }[name.split("_")[2]]
    )


#: Size of crops, updates, images an update; the last is MMSegmentation's, four GPUs with 4, 4 and 2 images.
TARGET_SETTINGS = {"voc": ([513, 513], 40000, 16), "ade20k": ([512, 512], 80000, 16),
                   "cityscapes": ([512, 1024], 40000, 8)}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_fine_tuning_has_the_papers_settings(target):
    config = config_of(f"table_1_mdp_finetune_{target}")
    entry = config["data"]["datasets"][target]
    found = (entry["pipeline"]["crop"], config["trainer"]["steps"], config["data"]["batch_size"])
    assert found == TARGET_SETTINGS[target]
    assert entry.get("train") == ("trainaug" if target == "voc" else None)
    pipeline, method = config["data"]["pipeline"], config["method"]["init_args"]
    assert (pipeline["scale"], pipeline["max_class_share"], pipeline["flip"]) == ([0.5, 2.0], 0.75, 0.5)
    assert method["optimizer"]["init_args"] == {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005}
    assert method["schedule"]["init_args"] == {"power": 0.9, "end_factor": 0.0001 / 0.01}
    assert method["network"]["init_args"]["auxiliary"] is None
    assert "inference" not in method  # the whole image at one scale


def test_pretraining_and_fine_tuning_have_the_same_backbone():
    first, second = (config_of(name)["method"]["init_args"]["network"]["init_args"]
                     for name in ("table_2_class_4096", "table_1_mdp_finetune_voc"))  # fmt: skip
    assert {key: value for key, value in differing(first, second).items() if value != (None, None)} == {
        "decoder.init_args.channels": (256, 512),
        "decoder.init_args.dropout": (0.0, 0.1),
    }


def test_the_photometric_distortion_is_mmsegmentations(tmp_path):
    """Brightness ± 32 of 255, contrast and saturation 0.5 to 1.5, hue ± 18 of 180, each by a fair coin, labels left."""
    root = fake_trees.write("voc", tmp_path)
    composition = composition_of(recipe_of("table_1_scratch_voc"))
    with torch.device("meta"):
        experiment = build(yaml.safe_load(yaml.safe_dump(composition.config([f"voc={root}"]))))
    assert list(parse_data(composition.data)) == ["voc"]
    more = experiment.data.pipelines["voc"].more
    assert all(isinstance(entry, v2.RandomApply) and entry.p == 0.5 for entry in more)
    jitters = [entry.transforms[0] for entry in more]
    found = [(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) for jitter in jitters]
    assert found == [
        (pytest.approx((1 - 32 / 255, 1 + 32 / 255), abs=1e-3), None, None, None),
        (None, (0.5, 1.5), None, None),
        (None, None, (0.5, 1.5), None),
        (None, None, None, pytest.approx((-18 / 180, 18 / 180))),
    ]
    image = tv_tensors.Image(torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8))
    labels = tv_tensors.Mask(torch.randint(-1, 21, (64, 64)))
    assert IGNORE in labels
    changed, kept = v2.Compose(more)(image, labels)
    assert changed.shape == image.shape and changed.dtype == torch.uint8
    assert torch.equal(kept, labels)


def test_figure_3_is_drawn_of_runs_that_exist():
    text = " ".join(header(recipe_of("finetuning")))
    assert "--trainer.val_every 4000" in text and "multiseg report MDP_RUN MOCO_RUN SUPERVISED_RUN" in text
    for start in ("mdp_finetune", "moco", "supervised"):
        assert {f"table_1_{start}_{target}" for target in TARGETS} <= set(ROWS)
