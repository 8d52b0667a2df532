"""Recipes of the rows of CDCL's tables: rows differ in what the table says and in nothing else."""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from multiseg.configuration import find_recipe, read_recipe, shipped_recipes
from multiseg.datasets import find_reader
from multiseg.instantiation import build_method
from multiseg.methods.label_remap import LabelRemap
from multiseg.networks.pixel_classifier import PixelClassifier
from multiseg.taxonomy.relations import Relation
from recipe_headers import command_of, composition_of, differing, leaves

CDCL = sorted(name.removeprefix("cdcl/") for name in shipped_recipes() if name.startswith("cdcl/"))
ROWS = [name for name in CDCL if name.startswith("table_")]


def recipe_of(name: str) -> Path:
    return find_recipe(f"cdcl/{name}")


@cache
def config_of(name: str) -> dict[str, Any]:
    """What the command of a row composes; not to be changed."""
    return composition_of(recipe_of(name)).config()


def datasets_of(name: str) -> list[str]:
    return list(config_of(name)["data"]["datasets"])


def differences(first: str, second: str) -> dict[str, tuple[Any, Any]]:
    """The keys in which two rows differ, and the values of both; None where one does not say."""
    return differing(config_of(first), config_of(second))


def spaces_of(name: str) -> dict[str, Any]:
    return {dataset: find_reader(dataset).label_space for dataset in datasets_of(name)}


#: Rows of each table, those that are runs of another table left out.
NUMBER_OF_RUNS = {"1a": 7, "1b": 6, "1c": 6, "2": 1, "3": 3, "4": 4, "5a": 3, "5b": 2, "6": 4}


def test_there_is_a_recipe_for_every_row():
    tables = [name.split("_")[1] for name in ROWS]
    assert {table: tables.count(table) for table in tables} == NUMBER_OF_RUNS
    assert set(CDCL) - set(ROWS) == {"resnet18", "resnet101"}


def test_no_run_is_written_twice():
    for first, second in combinations(ROWS, 2):
        assert config_of(first) != config_of(second), f"{first} and {second} are the same run"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_its_backbones_recipe_and_its_own(name):
    backbone, row, *_ = command_of(recipe_of(name))
    expected = "resnet101" if name.startswith("table_5") or "resnet101" in name else "resnet18"
    assert (backbone, row) == (f"cdcl/{expected}", f"cdcl/{name}")
    own = {key for key, _ in leaves(read_recipe(recipe_of(name)))}
    common = ("network", "optimizer", "schedule", "auxiliary_weight")
    assert not [key for key in own if key.startswith(tuple(f"method.init_args.{part}" for part in common))]
    assert not own & {"data.batch_size", "data.eval_batch_size", "trainer.seed"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_quotes_the_paper(name):
    assert "\n# Paper: " in recipe_of(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ROWS)
def test_camvid_is_always_read_in_the_same_size(name):
    config = config_of(name)
    if "camvid" in config["data"]["datasets"]:
        assert config["data"]["datasets"]["camvid"] == {"pipeline": {"long_side": 960}, "root": "DIR"}


def test_backbones_differ_in_the_network_alone():
    first, second = (dict(leaves(read_recipe(recipe_of(name)))) for name in ("resnet18", "resnet101"))
    network = "method.init_args.network.init_args"
    assert {key for key in {**first, **second} if first.get(key) != second.get(key)} == {
        f"{network}.backbone.init_args.name",
        f"{network}.decoder.init_args.grid_channels",
        f"{network}.auxiliary.init_args.channels",
        "data.eval_batch_size",
    }


# Tables 1, 2 and 5


@pytest.mark.parametrize("name", [name for name in ROWS if "_finetune_" in name])
def test_fine_tuning_differs_from_the_single_dataset_in_its_start_alone(name):
    (dataset,) = datasets_of(name)
    (single,) = [other for other in ROWS if other.startswith("table_1") and other.endswith(f"_single_{dataset}")]
    found = differences(name, single)
    run, _ = found.pop("init.weights")
    assert found == {"init.part": ("network", None)}
    # the comment says which run that is, and it is the other dataset's of the table
    text = recipe_of(name).read_text(encoding="utf-8")
    source = re.search(rf"# {run} is the folder of a run of (\w+);", text)[1]
    table = name.removesuffix(f"_finetune_{dataset}")
    assert {dataset, *datasets_of(source)} == set(datasets_of(f"{table}_cdcl"))
    assert source in ROWS and len(datasets_of(source)) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("table_1a_cdcl", "table_1b_cdcl"),
        ("table_1a_cdcl", "table_1c_cdcl"),
        ("table_1a_cdcl", "table_2_cdcl"),
        ("table_5a_cdcl", "table_5b_cdcl"),
    ],
)
def test_cdcl_is_the_same_whatever_the_datasets(first, second):
    assert {key.split(".")[1] for key in differences(first, second)} == {"datasets"}


def test_cdcl_with_another_backbone_is_the_same():
    assert {key for key in differences("table_1a_cdcl", "table_5a_cdcl") if "network" not in key} == {
        "data.eval_batch_size"
    }


#: What a source class becomes in the target's, typed from the definitions of the classes.
REMAPPED = {
    "table_1b_remap_cityscapes": {
        "Sky": "sky", "Building": "building", "Pole": "pole", "Road": "road", "Pavement": "sidewalk",
        "Tree": "vegetation", "Fence": "fence", "Pedestrian": "person",
    },
    "table_1b_remap_camvid": {
        "road": "Road", "sidewalk": "Pavement", "building": "Building", "wall": "Building", "fence": "Fence",
        "pole": "Pole", "traffic light": "SignSymbol", "traffic sign": "SignSymbol", "vegetation": "Tree",
        "sky": "Sky", "person": "Pedestrian", "rider": "Bicyclist", "bicycle": "Bicyclist", "car": "Car",
        "truck": "Car", "bus": "Car",
    },
    "table_1c_remap_cityscapes": {
        "road": "road", "pavement": "sidewalk", "building-other": "building", "house": "building",
        "skyscraper": "building", "roof": "building", "fence": "fence", "traffic light": "traffic light",
        "stop sign": "traffic sign", "tree": "vegetation", "bush": "vegetation", "branch": "vegetation",
        "grass": "terrain", "dirt": "terrain", "mud": "terrain", "sand": "terrain", "sky-other": "sky",
        "clouds": "sky", "person": "person", "car": "car", "truck": "truck", "bus": "bus", "train": "train",
        "motorcycle": "motorcycle", "bicycle": "bicycle",
    },
    "table_1c_remap_coco_stuff": {
        "road": "road", "sidewalk": "pavement", "fence": "fence", "traffic light": "traffic light",
        "person": "person", "rider": "person", "car": "car", "truck": "truck", "bus": "bus", "train": "train",
        "motorcycle": "motorcycle", "bicycle": "bicycle",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ROWS if "_remap_" in name])
def test_labels_become_what_the_classes_mean(name):
    target = name.split("_remap_")[1]
    spaces = spaces_of(name)
    method = method_of(name, list(spaces.values()))
    assert isinstance(method, LabelRemap) and set(method.taxonomies) == {target}
    method.setup("fit")
    (source,) = set(spaces) - {target}
    # by name, where the recipe has no relations
    wanted = REMAPPED.get(name) or {entry: entry for entry in spaces[source].names}
    labels = torch.arange(len(spaces[source]))
    found = method.targets(labels, source).tolist()
    names = dict(enumerate(spaces[target].names))
    mapped = zip(spaces[source].names, found, strict=True)
    assert {entry: names[index] for entry, index in mapped if index in names} == wanted
    assert method.targets(torch.arange(len(names)), target).tolist() == list(names)


@pytest.mark.parametrize("table", ["1b", "1c"])
def test_both_targets_have_the_same_relations(table):
    first, second = (name for name in ROWS if name.startswith(f"table_{table}_remap_"))
    assert set(differences(first, second)) == {"method.init_args.target"}
    spaces = spaces_of(first)
    for row in config_of(first)["method"]["init_args"]["relations"]:
        relation = Relation(**row)
        assert relation.from_class in spaces[relation.from_dataset].names
        assert relation.to_class in spaces[relation.to_dataset].names


# Tables 3 and 4

TABLE_3 = {  # norms of each dataset's own, alternation
    "table_3_bn_mixed": (False, False),
    "table_3_bn_dat": (False, True),
    "table_3_dsbn_mixed": (True, False),
    "table_1a_cdcl": (True, True),
}
PLAN = {"data.plan.class_path", "data.plan.init_args.interval", "data.total_batch_size"}


@pytest.mark.parametrize(("first", "second"), list(combinations(TABLE_3, 2)))
def test_rows_of_table_3_differ_in_norms_and_alternation_alone(first, second):
    (norms, turns), (other_norms, other_turns) = TABLE_3[first], TABLE_3[second]
    wanted = {"method.init_args.dataset_norms"} if norms != other_norms else set()
    assert set(differences(first, second)) == wanted | (PLAN if turns != other_turns else set())


@pytest.mark.parametrize("name", TABLE_3)
def test_rows_of_table_3_are_what_the_table_says(name):
    norms, turns = TABLE_3[name]
    config = config_of(name)
    assert config["method"]["init_args"]["dataset_norms"] is norms
    assert config["method"]["init_args"]["sum_datasets"] is True
    assert config["data"]["plan"]["class_path"].rsplit(".")[-1] == ("Alternating" if turns else "Mixed")
    # a mixed batch is as large as one dataset's turn
    assert config["data"].get("total_batch_size") == (None if turns else config["data"]["batch_size"])


@pytest.mark.parametrize("interval", [2, 3, 4, 5])
def test_rows_of_table_4_differ_in_interval_and_steps_alone(interval):
    assert differences(f"table_4_t{interval}", "table_1a_cdcl") == {
        "data.plan.init_args.interval": (interval, 1),
        # at t = 1 a batch of both datasets is an update, from t = 2 on each batch is
        "trainer.steps": (80000, 40000),
    }


# Table 6

SCALES = {"method.init_args.inference.scales": [0.5, 0.75, 1.0, 1.25], "method.init_args.inference.flip": False}


@pytest.mark.parametrize("backbone", ["resnet18", "resnet101"])
def test_several_scales_differ_in_inference_alone(backbone):
    one = {"resnet18": "table_1c_cdcl", "resnet101": "table_6_resnet101_cdcl"}[backbone]
    found = differences(f"table_6_{backbone}_cdcl_multiscale", one)
    assert found == {key: (value, None) for key, value in SCALES.items()}


def test_the_single_dataset_at_several_scales():
    found = differences("table_6_resnet101_single_multiscale", "table_5a_single_cityscapes")
    assert found == {key: (value, None) for key, value in SCALES.items()} | {
        "data.pipeline.crop": ([769, 769], [512, 512])
    }


def test_larger_crops():
    found = differences("table_6_resnet101_cdcl", "table_5a_cdcl")
    assert {key.split(".")[1] for key in found} == {"pipeline", "datasets"}
    assert found["data.pipeline.crop"] == ([769, 769], [512, 512])


@pytest.mark.parametrize("ratio", [1730.7 / 512.8, 7762.0 / 2299.8])
def test_the_scales_cost_what_the_table_prints(ratio):
    assert sum(scale**2 for scale in SCALES["method.init_args.inference.scales"]) == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_multiply_adds_are_what_the_comment_says(name):
    """At 1024 × 2048 with 19 classes, as in Table 6."""
    space = find_reader("cityscapes").label_space
    network = method_of("table_1a_single_cityscapes", [space], name).network.eval().to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        PixelClassifier(network, len(space))(network(torch.empty(1, 3, 1024, 2048)), range(1))
    counted = counter.get_total_flops() / 2e9  # torch counts a multiply-add as two
    text = recipe_of(name).read_text(encoding="utf-8")
    assert f"512 takes {counted:.1f} billion multiply-adds" in text


def method_of(name: str, spaces: list[Any], backbone: str | None = None) -> Any:
    """The method of a row, its weights neither loaded nor drawn."""
    command = composition_of(recipe_of(name))
    recipes = command.recipes if backbone is None else [f"cdcl/{backbone}", *command.recipes[1:]]
    method = command._replace(recipes=recipes).config()["method"]
    method["init_args"]["network"]["init_args"]["backbone"]["init_args"]["weights"] = None
    return build_method(yaml.safe_load(yaml.safe_dump(method)), spaces)
