"""Recipes of the rows of M&M's tables. All figures here are typed from the paper, not taken from the recipes."""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from multiseg.cli import make_parser
from multiseg.configuration import find_recipe, read_recipe, shipped_recipes
from multiseg.datasets import find_reader
from multiseg.instantiation import build_method
from multiseg.networks.backbone import Backbone
from multiseg.optim.schedules import Step
from recipe_headers import command_of, composition_of, differing, header, leaves

NAMES = sorted(name.removeprefix("mix_and_match/") for name in shipped_recipes() if name.startswith("mix_and_match/"))
ROWS = [name for name in NAMES if name.startswith(("table_", "figure_"))]


class Tuning(NamedTuple):
    """A row with M&M: how it is tuned, what from, and mIoU after fine-tuning on val; on test, if that is printed."""

    network: str
    dataset: str
    start: str | None
    figures: tuple[str, ...]
    nodes: int


class Finetuning(NamedTuple):
    """A run of fine-tuning: what from, and mIoU on val, in each table that has another."""

    network: str
    dataset: str
    start: str | None
    figures: tuple[str, ...]


TUNING = {
    "table_1_mm_colorization_alexnet": Tuning("alexnet", "voc", "COLORIZATION_RUN", ("42.8",), 400),
    "table_1_mm_random_triplets_alexnet": Tuning("alexnet", "voc", "COLORIZATION_RUN", ("40.9",), 400),
    "table_1_mm_jigsaw_alexnet": Tuning("alexnet", "voc", "JIGSAW_RUN", ("44.5",), 400),
    "table_1_mm_colorization_vgg16": Tuning("vgg16", "voc", "COLORIZATION_RUN", ("64.5", "64.3"), 144),
    "table_3_mm_random_alexnet": Tuning("alexnet", "voc", None, ("43.6",), 400),
    "table_3_mm_random_vgg16": Tuning("vgg16", "voc", None, ("56.7",), 144),
    "table_3_mm_random_cityscapes": Tuning("vgg16", "cityscapes", None, ("49.1",), 144),
    "table_3_mm_colorization_cityscapes": Tuning("vgg16", "cityscapes", "COLORIZATION_RUN", ("66.4", "65.6"), 144),
    "figure_5_nodes_100": Tuning("alexnet", "voc", "COLORIZATION_RUN", (), 100),
    "figure_5_nodes_200": Tuning("alexnet", "voc", "COLORIZATION_RUN", (), 200),
}
FINETUNING = {
    "table_1_imagenet_vgg16": Finetuning("vgg16", "voc", "timm", ("64.2",)),
    "table_1_random_vgg16": Finetuning("vgg16", "voc", None, ("35.0",)),
    "table_1_larsson_2016_vgg16": Finetuning("vgg16", "voc", "LARSSON_2016_FILE", ("50.2",)),
    "table_1_larsson_2017_vgg16": Finetuning("vgg16", "voc", "COLORIZATION_RUN", ("56.0", "60.2")),
    "table_1_imagenet_alexnet": Finetuning("alexnet", "voc", "IMAGENET_FILE", ("48.0",)),
    "table_1_random_alexnet": Finetuning("alexnet", "voc", None, ("23.5", "19.8")),
    "table_1_k_means_alexnet": Finetuning("alexnet", "voc", "K_MEANS_FILE", ("32.6",)),
    "table_1_pathak_alexnet": Finetuning("alexnet", "voc", "PATHAK_FILE", ("29.7",)),
    "table_1_donahue_alexnet": Finetuning("alexnet", "voc", "DONAHUE_FILE", ("35.2",)),
    "table_1_zhang_2016a_alexnet": Finetuning("alexnet", "voc", "ZHANG_2016A_FILE", ("35.6",)),
    "table_1_zhang_2016b_alexnet": Finetuning("alexnet", "voc", "ZHANG_2016B_FILE", ("36.0",)),
    "table_1_noroozi_alexnet": Finetuning("alexnet", "voc", "JIGSAW_RUN", ("37.6", "36.5")),
    "table_1_larsson_2017_alexnet": Finetuning("alexnet", "voc", "COLORIZATION_RUN", ("38.4",)),
    "table_3_random_cityscapes": Finetuning("vgg16", "cityscapes", None, ("42.5",)),
    "table_3_colorization_cityscapes": Finetuning("vgg16", "cityscapes", "COLORIZATION_RUN", ("57.5",)),
    "table_3_imagenet_cityscapes": Finetuning("vgg16", "cityscapes", "timm", ("67.9",)),
}
#: The last stage of all rows with M&M, and the figures in the order in which their tuning is named there.
MM_FINETUNING = {
    "table_1_mm_finetune_alexnet": Finetuning("alexnet", "voc", "MM_RUN", ("42.8", "40.9", "44.5", "43.6")),
    "table_1_mm_finetune_vgg16": Finetuning("vgg16", "voc", "MM_RUN", ("64.5", "56.7")),
    "table_3_mm_finetune_cityscapes": Finetuning("vgg16", "cityscapes", "MM_RUN", ("49.1", "66.4")),
}
ENSEMBLE = "67.4"
RUNS: dict[str, Tuning | Finetuning] = {**TUNING, **FINETUNING, **MM_FINETUNING}

#: What the tables print, row by row: Table 1, mIoU of Table 2, and Table 3 with the test splits in brackets.
TABLE_1 = "64.2 35.0 50.2 56.0 64.5 48.0 23.5 32.6 29.7 35.2 35.6 36.0 37.6 38.4 40.9 42.8 44.5"
TABLE_2 = "64.2 60.2 64.5 67.4"
TABLE_3 = "19.8 36.5 38.4 35.0 60.2 42.5 57.5 43.6 44.5 42.8 56.7 64.5 64.3 49.1 66.4 65.6 48.0 64.2 67.9"

COMMON = {"tuning", "tuning_alexnet", "tuning_vgg16", "finetuning", "finetuning_alexnet", "finetuning_vgg16",
          "jigsaw_alexnet", "colorization", "colorization_alexnet", "colorization_vgg16"}  # fmt: skip
BACKBONE = "method.init_args.network.init_args.backbone.init_args"


def recipe_of(name: str) -> Path:
    return find_recipe(f"mix_and_match/{name}")


@cache
def config_of(name: str) -> dict[str, Any]:
    """What the command of a recipe composes; not to be changed."""
    return composition_of(recipe_of(name)).config()


def differences(first: str, second: str) -> dict[str, tuple[Any, Any]]:
    return differing(config_of(first), config_of(second))


@cache
def method_of(name: str) -> Any:
    """The method of a recipe for VOC, its weights neither loaded nor drawn."""
    method = yaml.safe_load(yaml.safe_dump(config_of(name)["method"]))
    method["init_args"]["network"]["init_args"]["backbone"]["init_args"]["weights"] = None
    with torch.device("meta"):
        return build_method(method, [find_reader("voc").label_space])


# Rows


def test_there_is_a_recipe_for_every_row():
    assert set(ROWS) == set(RUNS)
    assert set(NAMES) - set(ROWS) == COMMON


@pytest.mark.parametrize(("table", "number"), [(TABLE_1, "1"), (TABLE_2, "2"), (TABLE_3, "3")])
def test_every_figure_of_a_table_has_a_run_that_is_said_to_be_in_it(table, number):
    rows = {**TUNING, **FINETUNING}
    for figure in table.split():
        runs = [name for name, row in rows.items() if figure in row.figures]
        if figure == ENSEMBLE:
            assert not runs
            continue
        (name,) = runs
        tables = header(recipe_of(name))[0].partition(":")[0]
        assert number in re.findall(r"\d", tables), f"{figure} is in Table {number}, too"
    printed = set(f"{TABLE_1} {TABLE_2} {TABLE_3}".split())
    assert {figure for row in rows.values() for figure in row.figures} == printed - {ENSEMBLE}


def test_no_run_is_written_twice():
    for first, second in combinations(ROWS, 2):
        assert config_of(first) != config_of(second), f"{first} and {second} are the same run"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_a_stage_a_network_and_its_own(name):
    row = RUNS[name]
    stage = "tuning" if name in TUNING else "finetuning"
    recipes = [f"mix_and_match/{part}" for part in (stage, f"{stage}_{row.network}", name)]
    assert command_of(recipe_of(name))[:3] == recipes
    assert len(list(leaves(read_recipe(recipe_of(name))))) <= 2
    config = config_of(name)
    assert list(config["data"]["datasets"]) == [row.dataset]
    assert config["data"]["datasets"][row.dataset].get("train") == ("trainaug" if row.dataset == "voc" else None)
    assert row.network in name or row.dataset == "cityscapes" or name.startswith("figure")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_states_the_papers_figures(name):
    purpose, *rest = header(recipe_of(name))
    numbers = re.findall(r"\b\d\d\.\d\b", "\n".join(rest))
    if name in MM_FINETUNING:
        assert re.findall(r"\b\d\d\.\d\b", purpose) == list(RUNS[name].figures)
        assert numbers == ([ENSEMBLE] if name == "table_1_mm_finetune_vgg16" else [])
        return
    assert numbers == list(RUNS[name].figures)
    assert all(f"; {figure} " in purpose for figure in RUNS[name].figures[:1])


@pytest.mark.parametrize("name", ROWS)
def test_a_row_starts_from_what_the_paper_says(name):
    row, config = RUNS[name], config_of(name)
    weights, backbone = config.get("init", {}).get("weights"), config["method"]["init_args"]["network"]["init_args"]
    if row.start == "timm":
        assert weights is None and backbone["backbone"]["init_args"]["weights"] == "timm"
    else:
        assert weights == row.start and "weights" not in backbone["backbone"]["init_args"]
    if row.start in ("COLORIZATION_RUN", "JIGSAW_RUN"):
        assert row.start in " ".join(header(recipe_of(name))[2:])
        network = f" colorization_{row.network}" if row.start == "COLORIZATION_RUN" else "mix_and_match/jigsaw_alexnet"
        assert network in " ".join(header(recipe_of(name)))
    elif row.start and row.start.endswith("_FILE"):
        assert "mix_and_match/finetuning" in " ".join(header(recipe_of(name))[3:])


def test_headers_name_recipes_that_exist():
    for name in NAMES:
        text = "\n".join(header(recipe_of(name)))
        named = re.findall(r"\b(?:table|figure)_\d_\w+|(?<=mix_and_match/)\w+", text)
        assert set(named) <= set(NAMES), name


@pytest.mark.parametrize("name", MM_FINETUNING)
def test_the_last_stage_names_the_tunings_before_it_in_the_order_of_its_figures(name):
    text = " ".join(header(recipe_of(name))[3:])
    named = re.findall(r"\btable_\d_mm_\w+", text)
    assert [TUNING[tuning].figures[0] for tuning in named] == list(RUNS[name].figures)
    last = RUNS[name]
    kind = [(row.network, row.dataset) for row in TUNING.values() if row.figures and row.figures[0] in last.figures]
    assert set(kind) == {(last.network, last.dataset)}


def test_the_ensemble_is_of_runs_that_exist():
    text = "\n".join(header(recipe_of("table_1_mm_finetune_vgg16")))
    (line,) = [line for line in text.splitlines() if "--ensemble" in line]
    given = make_parser().parse_args(line.split()[1:])
    assert given.ensemble and line.startswith("multiseg evaluate FINETUNED_RUN IMAGENET_RUN ")
    assert "table_1_imagenet_vgg16" in text


# Tuning


@pytest.mark.parametrize("name", TUNING)
def test_a_graph_has_as_many_nodes_as_the_paper_says(name):
    row, data = TUNING[name], config_of(name)["data"]
    images = {"alexnet": row.nodes // 10, "vgg16": 16}[row.network]
    assert data["total_batch_size"] == images
    assert images * data["patches"]["per_image"] == row.nodes
    assert data["patches"]["background"] == 1
    assert data["patches"]["sides"] == ([64, 256] if row.dataset == "voc" else [128, 128])
    kept = {key: data["patches"][key] for key in ("size", "crop", "max_overlap", "flip", "jitter")}
    assert kept == {"size": [128, 128], "crop": 512, "max_overlap": 0.6, "flip": 0.5, "jitter": []}


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("table_1_mm_random_triplets_alexnet", "table_1_mm_colorization_alexnet",
         {"method.init_args.match": ("random", "graph")}),
        ("table_1_mm_jigsaw_alexnet", "table_1_mm_colorization_alexnet",
         {"init.weights": ("JIGSAW_RUN", "COLORIZATION_RUN")}),
        ("table_3_mm_random_alexnet", "table_1_mm_colorization_alexnet",
         {"init.weights": (None, "COLORIZATION_RUN")}),
        ("table_3_mm_random_vgg16", "table_1_mm_colorization_vgg16", {"init.weights": (None, "COLORIZATION_RUN")}),
        ("table_3_mm_random_cityscapes", "table_3_mm_colorization_cityscapes",
         {"init.weights": (None, "COLORIZATION_RUN")}),
        ("figure_5_nodes_100", "table_1_mm_colorization_alexnet", {"data.total_batch_size": (10, 40)}),
        ("figure_5_nodes_200", "table_1_mm_colorization_alexnet", {"data.total_batch_size": (20, 40)}),
        ("table_1_mm_colorization_vgg16", "table_1_mm_colorization_alexnet",
         {"data.total_batch_size": (16, 40), "data.patches.per_image": (9, 10),
          f"{BACKBONE}.name": ("vgg16_bn", "alexnet_bn")}),
        ("table_3_mm_colorization_cityscapes", "table_1_mm_colorization_vgg16",
         {"data.patches.sides": ([128, 128], [64, 256])}),
    ],
)  # fmt: skip
def test_tunings_differ_in_what_their_rows_are_about_alone(first, second, wanted):
    found = differences(first, second)
    datasets = {key for key in found if key.startswith("data.datasets.")}
    assert bool(datasets) == (TUNING[first].dataset != TUNING[second].dataset)
    # to take the backbone is the default
    assert {key: found[key] for key in set(found) - datasets - {"init.part"}} == wanted


def test_tuning_has_the_papers_settings():
    config = config_of("table_1_mm_colorization_vgg16")
    method = config["method"]["init_args"]
    assert (method["match"], method["margin"], config["data"]["pipeline"]) == ("graph", 2.1, {"long_side": None})
    assert method["optimizer"] == {
        "class_path": "multiseg.optim.optimizers.SGD",
        "init_args": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005},
    }


#: Updates, and the learning rate from some of them on.
SCHEDULES = {
    "tuning": (8_000, {0: 0.01, 5_999: 0.01, 6_000: 0.001, 7_999: 0.001}),
    "finetuning": (40_000, {0: 0.01, 23_999: 0.01, 24_000: 0.001, 35_999: 0.001, 36_000: 0.0001, 39_999: 0.0001}),
    "jigsaw_alexnet": (350_000, {0: 0.01, 99_000: 0.01, 101_000: 1e-3, 201_000: 1e-4, 301_000: 1e-5}),
    "colorization": (2_000_000, {0: 1e-3, 999_999: 1e-3, 1_000_000: 1e-4, 1_500_000: 1e-5, 1_750_000: 1e-6}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_falls_when_the_paper_says(name):
    steps, rates = SCHEDULES[name]
    config = config_of(name)
    assert config["trainer"]["steps"] == steps
    optimizer, schedule = (config["method"]["init_args"][key] for key in ("optimizer", "schedule"))
    assert schedule["class_path"] == "multiseg.optim.schedules.Step"
    factor = Step(**schedule["init_args"])
    found = {step: optimizer["init_args"]["lr"] * factor(step, steps) for step in rates}
    assert found == pytest.approx(rates)


# Fine-tuning


@pytest.mark.parametrize("name", [*FINETUNING, *MM_FINETUNING])
def test_runs_on_one_dataset_differ_in_their_start_alone(name):
    row = RUNS[name]
    scratch = "table_3_random_cityscapes" if row.dataset == "cityscapes" else f"table_1_random_{row.network}"
    wanted: dict[str, tuple[Any, Any]] = {}
    if row.start == "timm":
        wanted = {f"{BACKBONE}.weights": ("timm", None), f"{BACKBONE}.name": ("vgg16_bn.tv_in1k", "vgg16_bn")}
    elif row.start:
        wanted = {"init.weights": (row.start, None)}
    assert differences(name, scratch) == wanted


def test_cityscapes_is_fine_tuned_as_voc_is():
    found = differences("table_3_random_cityscapes", "table_1_random_vgg16")
    assert all(key.startswith("data.datasets.") for key in found)


@pytest.mark.parametrize(("network", "images"), [("alexnet", 64), ("vgg16", 48)])
def test_fine_tuning_has_the_papers_settings(network, images):
    config = config_of(f"table_1_random_{network}")
    data, method = config["data"], config["method"]["init_args"]
    assert data["batch_size"] * config["trainer"]["accumulate"] == images
    pipeline = {key: data["pipeline"][key] for key in ("crop", "scale", "flip", "long_side", "jitter")}
    assert pipeline == {"crop": [512, 512], "scale": [1.0, 1.0], "flip": 0.5, "long_side": None, "jitter": []}
    assert method["optimizer"]["init_args"] == {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005}
    assert "inference" not in method  # the whole image at one scale


def test_alexnet_is_an_fcn():
    network = method_of("table_1_random_alexnet").network
    assert (network.channels, network.stride, network.decoder.points) == (4096, 32, None)
    assert network.decoder.fc6[1].weight.shape == (4096, 256, 6, 6)


def test_vgg16_has_hypercolumns_of_all_convolutions_and_fc6_and_fc7():
    network = method_of("table_1_random_vgg16").network
    convolutions = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert network.backbone.channels[:-1] == convolutions
    assert network.decoder.hidden.weight.shape == (1024, sum(convolutions) + 2 * 4096, 1, 1)
    assert network.decoder.points == 256
    norms = [module for module in network.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 13 and all(norm.weight.requires_grad for norm in norms)


# One stage after the other


@pytest.mark.parametrize(
    "chain",
    [
        ("jigsaw_alexnet", "table_1_mm_jigsaw_alexnet", "table_1_mm_finetune_alexnet"),
        ("colorization_alexnet", "table_1_mm_colorization_alexnet", "table_1_mm_finetune_alexnet"),
        ("colorization_vgg16", "table_1_mm_colorization_vgg16", "table_1_mm_finetune_vgg16"),
        ("colorization_vgg16", "table_3_mm_colorization_cityscapes", "table_3_mm_finetune_cityscapes"),
    ],
)
def test_each_stage_takes_the_whole_backbone_of_the_one_before(chain):
    stages = [method_of(name) for name in chain]
    for before, after in pairwise(stages):
        own = after.network.backbone.state_dict()
        report = after.network.load(before.state_dict(), part="backbone")
        assert report.complete and set(report.loaded) == {name.removeprefix("features.") for name in own}
    assert stages[1].network.backbone.channels[-1] == {"alexnet": 256, "vgg16": 512}[chain[0].rsplit("_", 1)[1]]


def test_fine_tuning_can_take_all_of_a_colourisation_of_vgg16():
    before, after = method_of("colorization_vgg16"), method_of("table_1_larsson_2017_vgg16")
    assert after.network.load(before.state_dict(), part="network").complete


def test_a_file_may_have_the_plain_names_and_no_norms():
    backbone = Backbone("alexnet_bn")
    names = {name: name.removeprefix("features.").replace("_", ".", 1) for name in backbone.state_dict()}
    plain = {names[name]: value for name, value in backbone.state_dict().items() if value.dim() == 4}
    assert "features.0.weight" in plain
    report = backbone.load(plain)
    assert len(report.loaded) == 5 and not report.unexpected and len(report.missing) == 5 * 4
