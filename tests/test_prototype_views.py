"""Runs that take seconds; what is drawn of them, and what is said where something is missing."""

import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch.nn import functional as F

import tiny_run
from multiseg.cli import main
from multiseg.label_space import IGNORE
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.predictor import Predictor
from multiseg.prototype_views import balanced, class_prototypes, has_prototypes, sample_pixels, view_run
from multiseg.reporting import write_report
from multiseg.run_folder import RunFolder


@pytest.fixture(scope="module")
def runs(data_roots, tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    mdp = ["--data.views.size", "[32, 48]", "--method.bank.batches", "4"]
    for name, words in {
        "disjoint": ["mdp", *mdp],
        "by_name": ["mdp", *mdp, "--method.union", "by_name"],
        "heads": ["multi_head"],
    }.items():
        recipe, *options = words
        arguments = [recipe, *tiny_run.arguments(data_roots), "--steps", "2", "--quiet", *options]
        assert main(["train", *arguments, "--run", str(folder / name)]) == 0
    return {name: RunFolder(folder / name) for name in ("disjoint", "by_name", "heads")}


@pytest.fixture(scope="module")
def pages(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, run in runs.items():
        write_report([run], folder / f"{name}.html", panels=1)
    return {name: (folder / f"{name}.html").read_text() for name in runs}


def entries(run):
    return run.read_config()["data"]["datasets"]


# Draws


def test_classes_are_balanced_and_nothing_ignored_is_drawn():
    labels = np.array([0] * 500 + [1] * 30 + [2] * 3 + [IGNORE] * 400)
    chosen = balanced(labels, 63, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [30, 30, 3]
    assert len(set(chosen.tolist())) == 63
    assert balanced(labels, 1000, np.random.default_rng(0)).tolist() == list(range(533))
    assert balanced(np.full(9, IGNORE), 5, np.random.default_rng(0)).tolist() == []


def test_draws_are_random_and_the_seed_s():
    labels = np.zeros(1000, np.int64)
    one, same, other = (balanced(labels, 100, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert 300 < one.mean() < 700


def test_pixels_have_the_labels_and_embeddings_of_their_places(runs):
    """Every labelled place of every image, against a loop; images enter at another size than the file's."""
    predictor = Predictor.from_run(runs["disjoint"], device="cpu")
    dataset = open_dataset("town", DatasetEntry(**entries(runs["disjoint"])["town"]), "val")
    inputs = predictor.model.inputs
    inputs["town"] = replace(inputs["town"], long_side=128)  # files are 64 wide
    vectors, labels = sample_pixels(predictor, dataset, count=10_000)
    expected = []
    for sample in (dataset[index] for index in range(len(dataset))):
        image = torch.as_tensor(sample.image)
        large = F.interpolate(image[None].float(), size=(96, 128), mode="bilinear", antialias=True)[0]
        with torch.no_grad():
            embeddings = predictor.method.embed(large.round().to(torch.uint8)[None], [dataset.label_space])[0]
        for row in range(embeddings.shape[1]):
            for column in range(embeddings.shape[2]):
                y, x = 32 * row + 16, 32 * column + 16
                label = int(sample.labels[y // 2, x // 2]) if y < 96 and x < 128 else IGNORE
                if label != IGNORE:
                    expected.append((label, embeddings[:, row, column].numpy()))
    assert labels.tolist() == [label for label, _ in expected]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert np.einsum("nd,nd->n", vectors, np.array([vector for _, vector in expected])) == pytest.approx(1, abs=1e-2)


def test_few_images_and_few_pixels(runs):
    predictor = Predictor.from_run(runs["disjoint"], device="cpu")
    dataset = open_dataset("park", DatasetEntry(**entries(runs["disjoint"])["park"]), "val")
    vectors, labels = sample_pixels(predictor, dataset, count=1, images=2)
    assert len(vectors) == len(labels) == 1
    again = sample_pixels(predictor, dataset, count=1, images=2)
    assert np.array_equal(vectors, again[0]) and np.array_equal(labels, again[1])


# Prototypes


def test_prototypes_are_those_of_the_file(runs):
    method = Predictor.from_run(runs["by_name"], device="cpu").method
    town, park = class_prototypes(method)
    assert town.union_ids.tolist() == [0, 1, 2] and park.union_ids.tolist() == [3, 2]
    assert np.array_equal(park.vectors[1], town.vectors[2])
    assert town.vectors == pytest.approx(method.prototypes[:3].numpy())
    (only,) = class_prototypes(method, ["park"])
    assert only.space.names == ("tree", "sky")


def test_which_models_have_prototypes(runs, tmp_path):
    assert [has_prototypes(run.weights_path) for run in runs.values()] == [True, True, False]
    assert not has_prototypes(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"no model")
    assert not has_prototypes(tmp_path / "broken")


# The section of the report


def test_a_run_of_mdp_has_the_section_and_others_do_not(pages):
    assert "<h2>Prototypes</h2>" not in pages["heads"] and "t-SNE" not in pages["heads"]
    for name in ("disjoint", "by_name"):
        section = pages[name].split("<h2>Prototypes</h2>")[1].split("<section>")[0]
        assert len(re.findall(r'<svg class="scatter"', section)) == 2
        assert len(re.findall(r"<table", section)) == 2
        assert section.count('<path class="prototype ') == 2 * (5 if name == "disjoint" else 4)
        titles = set(re.findall(r'<g class="run\d"><title>(.*?)</title>', section))
        assert titles <= {"town/road", "town/car", "town/sky", "park/tree", "park/sky"}
        assert {"town/road", "park/tree"} <= titles
    assert "town + park: sky" in pages["by_name"]
    assert "No pi" not in pages["disjoint"]


def test_beside_others_only_runs_with_prototypes_are_in_the_section(runs, tmp_path):
    write_report([runs["heads"], runs["disjoint"]], tmp_path / "r.html", panels=0)
    section = (tmp_path / "r.html").read_text().split("<h2>Prototypes</h2>")[1].split("<section>")[0]
    assert "heads" not in section and section.count('<svg class="scatter"') == 2


def test_without_scikit_learn_the_report_says_so(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    write_report([runs["disjoint"]], tmp_path / "r.html", panels=0)
    section = (tmp_path / "r.html").read_text().split("<h2>Prototypes</h2>")[1].split("<section>")[0]
    assert section.count("it takes scikit-learn") == 1
    assert "No picture of the prototypes of disjoint: it takes scikit-learn: pip install" in section
    assert "<svg" not in section and "<table" in section


def test_datasets_that_are_gone_cost_only_their_pixels(runs, tmp_path):
    run = RunFolder(shutil.copytree(runs["disjoint"].path, tmp_path / "run"))
    config = run.read_config()
    config["data"]["datasets"]["park"]["root"] = str(tmp_path / "nowhere")
    run.config_path.write_text(yaml.safe_dump(config))
    found = view_run(run, "r", config["data"]["datasets"])
    assert {cloud.dataset for cloud in found.clouds} == {"town"} and len(found.marks) == 5
    (note,) = found.notes
    assert note.startswith("No pixels of park: ") and "nowhere" in note
    config["data"]["datasets"]["town"]["root"] = str(tmp_path / "nowhere")
    found = view_run(run, "r", config["data"]["datasets"])
    assert not found.clouds and len({mark.place for mark in found.marks}) == 5 and len(found.notes) == 2


def test_classes_never_seen_are_neither_drawn_nor_compared(runs, tmp_path):
    run = RunFolder(shutil.copytree(runs["disjoint"].path, tmp_path / "run"))
    state = Predictor.from_run(run, device="cpu").method.trained_state()
    state["known"][1] = False
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, run.weights_path)
    found = view_run(run, "r", entries(run))
    assert [mark.name for mark in found.marks] == ["road", "sky", "tree", "sky"]
    assert ("town", "car") not in found.matches and ("town", "road") in found.matches
    write_report([run], tmp_path / "r.html", panels=0)
    assert "never seen" in (tmp_path / "r.html").read_text()


def test_a_model_that_cannot_be_read_leaves_a_page(runs, tmp_path):
    run = RunFolder(shutil.copytree(runs["disjoint"].path, tmp_path / "run"))
    run.model_path.write_text("{}")
    write_report([run], tmp_path / "r.html", panels=0)
    assert "<p>No prototypes of run: " in (tmp_path / "r.html").read_text()
