"""Counting predictions in all taxonomies, against a loop over images; and the one pass of the network behind it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_run
from multiseg.cli import main
from multiseg.commands.evaluating import own_datasets
from multiseg.datasets import SegmentationDataset
from multiseg.inspection.cross_prediction import count_predictions
from multiseg.methods.base import Inference
from multiseg.predictor import Predictor
from multiseg.run_folder import InputSize, RunFolder, load_model
from multiseg.taxonomy.measured_relations import ClassCounts


@pytest.fixture(scope="module")
def run(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("cross") / "run"
    arguments = [*tiny_run.arguments(data_roots), "--run", str(folder), "--quiet"]
    assert main(["train", "multi_head", *arguments]) == 0
    return RunFolder(folder)


@pytest.fixture
def predictor(run: RunFolder) -> Iterator[Predictor]:
    yield Predictor(load_model(run), "cpu")


@pytest.fixture
def datasets(run: RunFolder) -> dict[str, SegmentationDataset]:
    return own_datasets(run)


def count(predictor: Predictor, dataset: SegmentationDataset, limit: int | None = None) -> ClassCounts:
    return count_predictions(predictor, dataset, list(predictor.taxonomies.values()), limit, batch_size=2, workers=0)


def naive(predictor: Predictor, dataset: SegmentationDataset, images: list[int], step: int = 1) -> ClassCounts:
    space = dataset.label_space
    predicted = {name: np.zeros((len(space), len(other)), np.int64) for name, other in predictor.taxonomies.items()}
    seen = np.zeros(len(space), np.int64)
    for index in images:
        sample = dataset[index]
        labels = sample.labels.numpy()
        seen += [bool((labels == label).any()) for label in range(len(space))]
        for name, matrix in predicted.items():
            answer = predictor.predict(sample.image, name).numpy()
            for true, found in zip(labels.ravel(), answer.ravel(), strict=True):
                if true >= 0:
                    matrix[true, found] += 1
    return ClassCounts(space, seen, predicted)


def equal(first: ClassCounts, second: ClassCounts) -> bool:
    assert first.space == second.space and first.predicted.keys() == second.predicted.keys()
    return np.array_equal(first.images, second.images) and all(
        np.array_equal(first.predicted[name], second.predicted[name]) for name in first.predicted
    )


@pytest.mark.parametrize("name", ["town", "park"])
def test_counts_are_those_of_a_loop(name: str, predictor: Predictor, datasets: dict[str, SegmentationDataset]) -> None:
    counts = count(predictor, datasets[name])
    assert equal(counts, naive(predictor, datasets[name], [0, 1, 2]))
    assert counts.pixels.sum() == 3 * 46 * 64  # two rows of each image are ignored
    assert sum(len(np.unique(matrix)) > 1 for matrix in counts.predicted.values()) == 2


def test_a_limit_spreads_over_the_split(predictor: Predictor, datasets: dict[str, SegmentationDataset]) -> None:
    assert equal(count(predictor, datasets["town"], 2), naive(predictor, datasets["town"], [0, 1]))
    assert equal(count(predictor, datasets["town"], 99), count(predictor, datasets["town"]))


def test_the_network_runs_once_for_all_taxonomies(
    predictor: Predictor, datasets: dict[str, SegmentationDataset]
) -> None:
    sizes: list[int] = []
    predictor.method.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    count(predictor, datasets["town"])
    assert sizes == [2, 1]


def test_progress_ends_with_the_number_of_images(
    predictor: Predictor, datasets: dict[str, SegmentationDataset]
) -> None:
    done: list[int] = []
    spaces = list(predictor.taxonomies.values())
    count_predictions(predictor, datasets["town"], spaces, batch_size=2, workers=0, progress=done.append)
    assert done == [2, 3]


@pytest.mark.parametrize("long_side", [32, 128])
def test_pixels_are_counted_at_the_smaller_of_both_sizes(
    long_side: int, predictor: Predictor, datasets: dict[str, SegmentationDataset]
) -> None:
    inputs = {name: InputSize(long_side, (32, 48)) for name in predictor.model.inputs}
    predictor.model = replace(predictor.model, inputs=inputs)
    counts = count(predictor, datasets["town"])
    assert counts.pixels.sum() == (3 * 23 * 32 if long_side == 32 else 3 * 46 * 64)
    assert all(matrix.sum() == counts.pixels.sum() for matrix in counts.predicted.values())
    assert counts.recall == pytest.approx(count_at_file_size(predictor, datasets["town"]).recall, abs=0.1)


def count_at_file_size(predictor: Predictor, dataset: SegmentationDataset) -> ClassCounts:
    return naive(predictor, dataset, [0, 1, 2])


@pytest.mark.parametrize(
    "inference", [Inference(), Inference(scales=(0.5, 1.0), flip=True), Inference(window=(32, 40))]
)
def test_all_taxonomies_at_once_are_each_alone(inference: Inference, predictor: Predictor) -> None:
    predictor.method.inference = inference
    images = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = predictor.predict_in_all(images, "town", ["park", "town"])
    assert list(together) == ["park", "town"]
    for name, labels in together.items():
        assert torch.equal(labels, predictor.method.predict_labels(images, (48, 64), name))


def test_a_sliding_window_is_that_of_the_dataset(run: RunFolder) -> None:
    model = load_model(run)
    model = replace(model, inputs={"town": InputSize(64, (16, 24)), "park": InputSize(64, (32, 48))})
    predictor = Predictor(model, "cpu", sliding=True)
    sizes: list[tuple[int, ...]] = []
    predictor.method.network.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[-2:]))
    predictor.predict_in_all(torch.zeros(1, 3, 48, 64, dtype=torch.uint8), "town", ["park", "town"])
    assert set(sizes) == {(16, 24)}
