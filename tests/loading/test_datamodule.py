"""Samples on their way from several datasets to batches."""

from types import SimpleNamespace

import pytest
import torch
from torchvision import tv_tensors

from multiseg.batch import Segments, collate
from multiseg.datasets import find_reader
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.loading.datamodule import DataModule, DatasetEntry, DrawnSamples, EvaluationSamples, evaluation_loader
from multiseg.loading.sampling import Draw
from multiseg.loading.transforms import Pipeline, RandomScaleCrop
from multiseg.synthetic import write_datasets

PIPELINE = Pipeline(long_side=88, crop=(32, 48))


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory):
    root = write_datasets(
        tmp_path_factory.mktemp("synthetic"), images=3, val_images=1, domains=["cityscapes_panoptic"], size=(64, 88)
    )
    return find_reader("cityscapes_panoptic")(root["cityscapes_panoptic"], "train")


def test_segments_are_cropped_with_their_image(panoptic):
    samples = DrawnSamples([panoptic], [PIPELINE.training()])
    for seed in range(20):
        sample = samples[Draw(0, seed % 3, seed)]
        segments = sample.segments
        assert sample.image.shape[-2:] == sample.labels.shape == segments.ids.shape == (32, 48)
        assert torch.equal(sample.labels, segments.labels)
        assert (segments.areas > 0).all()
        assert len(segments.crowd) == len(segments.classes) == segments.ids.max() + 1
    # the same crop as of the semantic labels, which the same seed draws
    plain = find_reader("cityscapes")(panoptic.root, "train")
    drawn = DrawnSamples([plain], [PIPELINE.training()])[Draw(0, 1, 5)]
    again = samples[Draw(0, 1, 5)]
    assert torch.equal(drawn.image, again.image)
    assert torch.equal(drawn.labels, again.labels)


def test_a_crop_is_judged_by_its_classes_not_by_its_segments():
    space = LabelSpace("farm", (LabelClass("sheep", (0,), (255, 255, 255), thing=True),))
    herd = torch.arange(24, dtype=torch.int16).repeat_interleave(64).view(24, 64)
    image = tv_tensors.Image(torch.zeros(3, 24, 64, dtype=torch.uint8))
    segments = Segments(tv_tensors.Mask(herd), torch.zeros(24, dtype=torch.int64), torch.zeros(24, dtype=torch.bool))
    judged = []

    class Judge(RandomScaleCrop):
        def make_params(self, flat_inputs):
            judged.append(next(entry for entry in flat_inputs if isinstance(entry, tv_tensors.Mask)).unique().tolist())
            return super().make_params(flat_inputs)

    herds = SimpleNamespace(stored=lambda index: (image, segments.labels, space, "herd", segments))
    DrawnSamples([herds], [Judge((16, 16))])[Draw(0, 0, 0)]
    assert judged == [[0]]


def test_segments_reach_the_batch(panoptic, data_roots):
    town = find_reader("folder")(data_roots["town"], "train")
    samples = DrawnSamples([panoptic, town], [PIPELINE.training()] * 2)
    batch = collate([samples[Draw(1, 0, 0)], samples[Draw(0, 0, 0)]])
    assert batch.segments[0] is None
    assert torch.equal(batch.segments[1].labels, batch.labels[1])


def test_one_loader_evaluates_all_datasets(data_roots):
    datasets = [find_reader("folder")(data_roots[name], "val") for name in ("town", "park")]
    loader = evaluation_loader([(dataset, PIPELINE) for dataset in datasets], batch_size=4, workers=0)
    batches = [batch for step in loader for batch in step]
    assert sorted((batch.spaces[0].name, key) for batch in batches for key in batch.keys) == sorted(
        (dataset.name, dataset[place].key) for dataset in datasets for place in range(len(dataset))
    )
    for batch in batches:
        assert len({space.name for space in batch.spaces}) == 1
        assert not batch.padded


def test_evaluation_keeps_the_labels_of_the_file(data_roots):
    dataset = find_reader("folder")(data_roots["town"], "val")
    sample = EvaluationSamples(dataset, Pipeline(long_side=32).evaluation())[0]
    assert sample.image.shape[-2:] == (24, 32)
    assert torch.equal(sample.labels, dataset[0].labels)
    assert (sample.labels[:2] == IGNORE).all()


def test_a_hundred_small_datasets_are_one_stream(data_roots):
    entries = {f"town{number}": DatasetEntry(data_roots["town"], reader="folder") for number in range(100)}
    module = DataModule(entries, pipeline=PIPELINE, total_batch_size=8, workers=0)
    module.trainer = SimpleNamespace(max_steps=25, accumulate_grad_batches=1, global_rank=0, world_size=1)
    seen = [space.name for batch in module.train_dataloader() for space in batch.spaces]
    assert len(seen) == 200
    assert len(set(seen)) > 80
    assert len(module.val_dataloader().dataset) == 300
