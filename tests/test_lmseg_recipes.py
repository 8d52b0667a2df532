"""Recipes of the rows of LMSeg's tables. All figures here are typed from the paper, not taken from the recipes."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Decimal
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fake_trees
from multiseg.configuration import find_recipe, read_recipe, shipped_recipes
from multiseg.instantiation import build
from recipe_headers import composition_of, differing, header, leaves

NAMES = sorted(name.removeprefix("lmseg/") for name in shipped_recipes() if name.startswith("lmseg/"))
ROWS = [name for name in NAMES if name.startswith("table_")]
SEMANTIC = ("ade20k", "cityscapes", "coco_stuff_10k", "mapillary")
PANOPTIC = ("ade20k_panoptic", "cityscapes_panoptic", "coco_panoptic")

#: Table 1: pretraining and total cost, in thousands of updates, of a MaskFormer for each dataset.
SINGLE = {
    ("imagenet", 160): "40.24 75.43 36.83 46.72 49.80",
    ("clip", 160): "39.75 77.30 38.50 47.37 50.73",
    ("imagenet", 320): "42.55 76.56 36.33 50.45 51.47",
    ("clip", 320): "43.18 78.20 38.69 52.15 53.05",
    ("imagenet", 640): "44.57 76.37 35.89 53.70 52.63",
    ("clip", 640): "45.66 77.95 38.16 53.16 53.73",
}
SINGLE_ROWS = {
    f"table_1_maskformer_{key[0]}_{key[1]}k_{dataset}": (*key, dataset) for key in SINGLE for dataset in SEMANTIC
}
#: Rows that are one run of all datasets: per dataset, and the average.
JOINT = {
    "table_1_lmseg_160k": "41.37 79.13 39.01 50.82 52.58",
    "table_1_lmseg_320k": "44.89 79.81 39.21 52.27 54.04",
    "table_1_lmseg_640k": "45.16 80.93 38.60 54.34 54.75",
    "table_2_manual_taxonomy_160k": "40.24 79.37 38.36 46.70 51.16",
    "table_2_multi_head_160k": "41.19 79.29 38.26 49.25 51.99",
    "table_2_manual_taxonomy_320k": "43.46 80.23 39.01 51.58 53.56",
    "table_2_multi_head_320k": "44.30 80.06 38.57 52.13 53.76",
    "table_2_manual_taxonomy_640k": "45.06 80.71 39.43 52.95 54.53",
    "table_2_multi_head_640k": "46.47 80.07 37.73 53.22 54.37",
    "table_3_manual_taxonomy_320k": "25.88 51.50 31.26 36.21",
    "table_3_multi_head_320k": "23.51 48.56 27.61 33.22",
    "table_3_lmseg_320k": "30.84 51.75 34.16 38.91",
    "table_3_manual_taxonomy_640k": "28.65 52.18 34.76 38.53",
    "table_3_multi_head_640k": "28.66 50.05 31.27 36.66",
    "table_3_lmseg_640k": "34.20 55.28 37.72 42.40",
    "table_3_manual_taxonomy_960k": "30.68 53.47 36.63 40.26",
    "table_3_multi_head_960k": "31.99 54.17 35.18 40.44",
    "table_3_lmseg_960k": "35.43 54.77 38.55 42.91",
    "table_4_imagenet": "42.57 74.93 38.52 45.21 50.30",
    "table_4_clip": "43.44 77.72 40.76 49.76 52.91",
    "table_5_text_visual": "43.69 77.91 40.48 49.75 52.95",
    "table_5_visual_text": "44.37 78.20 40.53 50.57 53.41",
    "table_7_neither": "25.77 48.35 29.03 34.38",
    "table_7_guidance": "30.24 49.69 33.74 37.88",
}
#: What other tables print of the same runs.
AGAIN = {
    "table_1_lmseg_160k": "41.37 79.13 39.01 50.82 52.58",  # Table 2
    "table_1_lmseg_320k": "44.89 79.81 39.21 52.27 54.04",  # Tables 2 and 6
    "table_1_lmseg_640k": "45.16 80.93 38.60 54.34 54.75",  # Table 2
    "table_3_lmseg_320k": "30.84 51.75 34.16 38.91",  # Table 7
    "table_4_clip": "43.44 77.72 40.76 49.11 52.75",  # Table 4, of which two differ
    "table_5_visual_text": "44.37 78.20 40.53 50.57 53.41",  # Table 6
}
#: What a row of Tables 4 to 7 has otherwise than the last row of Table 6 or 7, besides augmentation of each dataset.
ABLATIONS: dict[str, dict[str, tuple[Any, Any]]] = {
    "table_4_imagenet": {
        "guidance": (False, True),
        "network.init_args.backbone.init_args.name": ("resnet50.tv_in1k", "resnet50_clip.openai"),
    },
    "table_4_clip": {"guidance": (False, True)},
    "table_5_text_visual": {"mask_decoder.order": ("text-visual", "visual-text")},
    "table_5_visual_text": {},
    "table_7_neither": {"guidance": (False, True)},
    "table_7_guidance": {},
}
LMSEG = {name for name in JOINT if "lmseg" in name or name in ABLATIONS}
BASELINES = sorted(set(JOINT) - LMSEG)


def recipe_of(name: str) -> Path:
    return find_recipe(f"lmseg/{name}")


@cache
def config_of(name: str) -> dict[str, Any]:
    """What the command of a row composes; not to be changed."""
    return composition_of(recipe_of(name)).config()


def differences(first: str, second: str) -> dict[str, tuple[Any, Any]]:
    """Keys of the method without what all of them begin with."""
    found = differing(config_of(first), config_of(second))
    return {key.removeprefix("method.init_args."): values for key, values in found.items()}


def is_panoptic(name: str) -> bool:
    return name.startswith(("table_3", "table_7"))


def cost_of(name: str) -> int:
    found = re.search(r"_(\d+)k", name)
    return int(found[1]) if found else 320


def built(name: str, folder: Path) -> Any:
    composition = composition_of(recipe_of(name))
    data = [f"{entry}={fake_trees.write(entry, folder / entry)}" for entry in config_of(name)["data"]["datasets"]]
    config = yaml.safe_load(yaml.safe_dump(composition.config(data)))
    config["method"]["init_args"]["network"]["init_args"]["backbone"]["init_args"]["weights"] = None
    with torch.device("meta"):
        return build(config)


def test_there_is_a_recipe_for_every_row():
    assert set(ROWS) == {*JOINT, *SINGLE_ROWS}
    assert set(NAMES) - set(ROWS) == {"training", "semantic", "panoptic", "words"}


def test_no_run_is_written_twice():
    for first, second in combinations(ROWS, 2):
        assert config_of(first) != config_of(second), f"{first} and {second} are the same run"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_its_common_recipes_and_its_own(name):
    recipes = composition_of(recipe_of(name)).recipes
    words = ["lmseg/words"] if name in LMSEG else []
    data = "panoptic" if is_panoptic(name) else "semantic"
    assert recipes == ["lmseg/training", f"lmseg/{data}", *words, f"lmseg/{name}"]
    datasets = (SINGLE_ROWS[name][2],) if name in SINGLE_ROWS else PANOPTIC if is_panoptic(name) else SEMANTIC
    assert tuple(config_of(name)["data"]["datasets"]) == datasets
    assert len(list(leaves(read_recipe(recipe_of(name))))) <= 7
    assert config_of(name)["trainer"]["steps"] == cost_of(name) * (250 if name in SINGLE_ROWS else 1000)


# Figures


@pytest.mark.parametrize("name", ROWS)
def test_a_row_states_the_papers_figures(name):
    purpose, *rest = header(recipe_of(name))
    numbers = re.findall(r"\b\d\d\.\d\d\b", "\n".join([purpose, *rest]))
    if name in SINGLE_ROWS:
        *key, dataset = SINGLE_ROWS[name]
        *figures, average = SINGLE[tuple(key)].split()
        assert numbers == [figures[SEMANTIC.index(dataset)]] * 2 + [average]
        return
    *figures, average = JOINT[name].split()
    said = [average, *figures, average]
    assert numbers[: len(said)] == said
    assert set(numbers[len(said) :]) == set(AGAIN.get(name, "").split()) - set(said)
    assert f"average {average} {'PQ' if is_panoptic(name) else 'mIoU'}" in purpose


def test_the_header_names_the_rows_that_are_several():
    text = "\n".join(header(recipe_of("training")))
    assert re.findall(r"^(table_\w+)  ", text, re.MULTILINE) == sorted(AGAIN)
    assert set(re.findall(r"\btable_\d\w+", text)) <= set(ROWS)
    assert [name for name, line in AGAIN.items() if line != JOINT[name]] == ["table_4_clip"]


def test_averages_are_cut_off_but_for_those_that_the_header_names():
    lower = set()
    for name, line in {**JOINT, **{str(key): line for key, line in SINGLE.items()}}.items():
        *figures, average = map(Decimal, line.split())
        wanted = (sum(figures) / len(figures)).quantize(Decimal("0.01"), ROUND_DOWN)
        if average != wanted:
            assert wanted - average == Decimal("0.01")
            lower.add(name)
    text = " ".join(header(recipe_of("training")))
    assert lower == set(re.search(r"0\.01 below even that \((.*?)\)", text)[1].split(", "))


# What rows differ in


@pytest.mark.parametrize("name", sorted(LMSEG - set(ABLATIONS)))
def test_rows_of_lmseg_differ_in_cost_alone(name):
    reference = f"table_{name[6]}_lmseg_320k"
    cost = cost_of(name)
    assert differences(name, reference) == ({} if cost == 320 else {"trainer.steps": (cost * 1000, 320_000)})


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_in_what_its_table_varies(name):
    found = differences(name, "table_3_lmseg_320k" if is_panoptic(name) else "table_1_lmseg_320k")
    pipelines = {key: values for key, values in found.items() if re.match(r"data\.datasets\.\w+\.pipeline", key)}
    assert {key: found[key] for key in set(found) - set(pipelines)} == ABLATIONS[name]
    entries = config_of(name)["data"]["datasets"].values()
    assert all(entry["pipeline"] is None for entry in entries)  # no row of these has DAA


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_differs_from_lmseg_in_its_taxonomy_alone(name):
    reference = f"table_{3 if is_panoptic(name) else 1}_lmseg_{cost_of(name)}k"
    found = differences(name, reference)
    classes = {"manual_taxonomy": "maskformer_by_name.MaskFormerByName", "multi_head": "maskformer.MaskFormer"}
    kind = re.sub(r"table_\d_|_\d+k", "", name)
    assert found.pop("method.class_path")[0] == f"multiseg.methods.{classes[kind]}"
    words = dict(leaves(read_recipe(recipe_of("words"))["method"]["init_args"]))
    only_lmsegs = set(words) - {"mask_decoder.pre_norm", "mask_decoder.drop_path"}
    assert set(found) == only_lmsegs and all(own is None for own, _ in found.values())


@pytest.mark.parametrize("name", SINGLE_ROWS)
def test_a_single_maskformer_differs_from_multi_head_in_decoder_and_weights(name):
    weights, cost, dataset = SINGLE_ROWS[name]
    found = differences(name, f"table_2_multi_head_{cost}k")
    wanted = {
        "trainer.steps": (cost * 250, cost * 1000),
        "mask_decoder.pre_norm": (False, True),
        "mask_decoder.drop_path": (0.0, 0.1),
    }
    if weights == "imagenet":
        wanted["network.init_args.backbone.init_args.name"] = ("resnet50.tv_in1k", "resnet50_clip.openai")
    others = {key for key in found if key.startswith("data.datasets.") and f".{dataset}." not in key}
    assert {key: found[key] for key in set(found) - others} == wanted
    assert {key.split(".")[2] for key in others} == set(SEMANTIC) - {dataset}


# Settings

CROPS = {"ade20k": (512, 512), "cityscapes": (512, 1024), "coco_stuff_10k": (640, 640), "mapillary": (1280, 1280)}


def test_lmseg_has_the_papers_settings(tmp_path):
    experiment = built("table_1_lmseg_320k", tmp_path)
    method, config = experiment.method, config_of("table_1_lmseg_320k")["method"]["init_args"]
    assert {name: pipeline.crop for name, pipeline in experiment.data.pipelines.items()} == CROPS
    assert (experiment.data.batch_size, experiment.data.plan.exponent) == (16, 0.0)
    assert (experiment.trainer.gradient_clip, method.panoptic) == (0.01, False)
    assert (method.focal_weight, method.dice_weight, method.no_object_weight) == (20.0, 1.0, 0.1)
    assert (method.queries, len(method.mask_decoder.layers), len(method.class_words.prompt)) == (100, 6, 8)
    assert (config["temperature"], config["learn_temperature"], config["prefix"]) == (0.07, False, "")
    assert config["text"]["init_args"] == {"model": "RN50", "pretrained": "openai"}
    assert method.network.backbone.frozen_norms
    assert config["optimizer"]["class_path"].endswith(".AdamW") and config["schedule"]["class_path"].endswith(".Poly")
    rates = {group["name"]: group["lr"] for group in method.optimizer_spec.groups(method)}
    assert rates == {"default": pytest.approx(1e-4), "network.backbone": pytest.approx(1e-5)}
    assert config["optimizer"]["init_args"]["weight_decay"] == 1e-4


def test_without_daa_all_datasets_have_one_pipeline(tmp_path):
    pipelines = built("table_4_clip", tmp_path).data.pipelines
    assert tuple(pipelines) == SEMANTIC
    assert len({(own.crop, own.long_side, own.scale) for own in pipelines.values()}) == 1


def test_panoptic_runs_learn_segments(tmp_path):
    experiment = built("table_3_lmseg_320k", tmp_path)
    method = experiment.method
    assert method.panoptic and (method.thresholds.confidence, method.thresholds.overlap) == (0.8, 0.8)
    assert {name: own.confidence for name, own in method.own_thresholds.items()} == {"ade20k_panoptic": 0.7}
    assert [len(space) for space in method.spaces.values()] == [150, 19, 133]
    assert experiment.data.pipelines["cityscapes_panoptic"].crop == CROPS["cityscapes"]
