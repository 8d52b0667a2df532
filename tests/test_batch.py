"""Batches of images of several sizes and datasets."""

import torch
from torchvision import tv_tensors

from multiseg.batch import Sample, collate, collate_by_size
from multiseg.label_space import IGNORE, LabelClass, LabelSpace

A = LabelSpace("a", (LabelClass("x", (0,), (0, 0, 0)),))
B = LabelSpace("b", (LabelClass("y", (0,), (0, 0, 0)),))


def sample(space: LabelSpace, height: int, width: int, key: str = "k") -> Sample:
    image = tv_tensors.Image(torch.full((3, height, width), 9, dtype=torch.uint8))
    return Sample(image, tv_tensors.Mask(torch.zeros(height, width, dtype=torch.int16)), space, key)


def test_padding_is_black_ignored_and_marked() -> None:
    batch = collate([sample(A, 2, 5), sample(B, 4, 3)])
    assert batch.images.shape == (2, 3, 4, 5)
    for row, (height, width) in enumerate([(2, 5), (4, 3)]):
        inside = torch.zeros(4, 5, dtype=torch.bool)
        inside[:height, :width] = True
        assert (batch.images[row, 0] == torch.where(inside, 9, 0)).all()
        assert (batch.labels[row] == torch.where(inside, 0, IGNORE)).all()
        assert (batch.padding[row] == ~inside).all()
    assert batch.padded
    assert not collate([sample(A, 2, 2), sample(B, 2, 2)]).padded


def test_rows_of_each_dataset() -> None:
    batch = collate([sample(B, 2, 2), sample(A, 2, 2), sample(B, 2, 2)])
    assert batch.rows_of() == {"b": [0, 2], "a": [1]}


def test_on_a_device_labels_are_int64() -> None:
    assert collate([sample(A, 2, 2)]).to("cpu").labels.dtype == torch.int64


def test_evaluation_batches_are_never_padded_and_keep_every_sample() -> None:
    samples = [sample(A, 2, 2, "0"), sample(A, 3, 2, "1"), sample(A, 2, 2, "2"), sample(B, 2, 2, "3")]
    batches = collate_by_size(samples)
    assert not any(batch.padded for batch in batches)
    assert sorted(key for batch in batches for key in batch.keys) == ["0", "1", "2", "3"]
    assert all(len({space.name for space in batch.spaces}) == 1 for batch in batches)
