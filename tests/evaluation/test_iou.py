import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.utilities import dim_zero_sum

from multiseg.evaluation import iou
from multiseg.evaluation.iou import ConfusionMatrix, confusion_matrix, scores
from multiseg.label_space import IGNORE


def naive(predictions, labels, num_classes):
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for predicted, true in zip(predictions.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if true != IGNORE:
            matrix[true, predicted] += 1
    return matrix


def draw(shape, num_classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randint(0, num_classes, shape, generator=generator)
    return predictions, torch.randint(IGNORE, num_classes, shape, generator=generator)


@pytest.mark.parametrize("shape", [(7,), (5, 9), (2, 13, 4), (0, 4)])
@pytest.mark.parametrize("num_classes", [1, 2, 6])
def test_agrees_with_a_loop(shape, num_classes):
    predictions, labels = draw(shape, num_classes)
    matrix = confusion_matrix(predictions, labels, num_classes)
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix.numpy(), naive(predictions, labels, num_classes))


@pytest.mark.parametrize("labels_dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("predictions_dtype", [torch.uint8, torch.uint16, torch.int16, torch.int64])
def test_any_integer_type(labels_dtype, predictions_dtype):
    predictions, labels = draw((11, 6), 100)  # 100 * 100 overflows eight bits, and sixteen as soon as there are more
    matrix = confusion_matrix(predictions.to(predictions_dtype), labels.to(labels_dtype), 100)
    np.testing.assert_array_equal(matrix.numpy(), naive(predictions, labels, 100))


def test_more_classes_than_a_byte_holds():
    predictions, labels = draw((40, 40), 847)
    matrix = confusion_matrix(predictions.to(torch.int16), labels.to(torch.int16), 847)
    np.testing.assert_array_equal(matrix.numpy(), naive(predictions, labels, 847))


def test_larger_than_a_piece_and_not_contiguous(monkeypatch):
    monkeypatch.setattr(iou, "_PIECE", 10)
    predictions, labels = draw((2, 7, 9), 5)
    matrix = confusion_matrix(predictions.transpose(1, 2), labels.transpose(1, 2), 5)
    np.testing.assert_array_equal(matrix.numpy(), naive(predictions, labels, 5))


@pytest.mark.parametrize("wrong", [-2, -1000, 4, 255, 2**40])
def test_labels_out_of_range(wrong):
    predictions, labels = draw((5, 5), 4)
    labels[2, 3] = wrong
    with pytest.raises(ValueError, match="1 labels are neither -1"):
        confusion_matrix(predictions, labels, 4)


@pytest.mark.parametrize("wrong", [-1, 4, 255])
def test_predictions_out_of_range(wrong):
    predictions, labels = draw((5, 5), 4)
    predictions[2, 3], labels[2, 3] = wrong, 0
    with pytest.raises(ValueError, match="1 predictions"):
        confusion_matrix(predictions, labels, 4)
    labels[2, 3] = IGNORE  # what is predicted there is nobody's business
    confusion_matrix(predictions, labels, 4)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="predictions are"):
        confusion_matrix(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), 2)


def test_scores_by_hand():
    # class 0: 3 right, 1 taken for 1; class 1: 2 right, 2 taken for 0
    result = scores(torch.tensor([[3, 1], [2, 2]]), ["a", "b"])
    assert result.per_class == pytest.approx({"a": 50.0, "b": 40.0})
    assert result.miou == pytest.approx(45.0)
    assert result.mean_accuracy == pytest.approx(62.5)
    assert result.pixel_accuracy == pytest.approx(62.5)
    assert result.absent == ()


def test_absent_classes_leave_the_means_but_harm_what_they_cover():
    labels = torch.tensor([[0, 0, 0, 0], [2, 2, 2, 2]])
    predictions = torch.tensor([[0, 0, 1, 0], [2, 2, 2, 2]])
    result = scores(confusion_matrix(predictions, labels, 4), ["a", "only predicted", "c", "nowhere"])
    assert result.absent == ("only predicted", "nowhere")
    assert result.per_class == pytest.approx({"a": 75.0, "c": 100.0})
    assert result.miou == pytest.approx(87.5)
    assert result.pixel_accuracy == pytest.approx(87.5)


def test_perfect_with_ignored_pixels():
    _, labels = draw((6, 7), 3)
    result = scores(confusion_matrix(labels.clamp(min=0), labels, 3), "abc")
    assert (result.miou, result.mean_accuracy, result.pixel_accuracy) == (100, 100, 100)


def test_all_ignored_is_nan_and_null():
    matrix = confusion_matrix(torch.zeros(3, 3, dtype=torch.int64), torch.full((3, 3), IGNORE), 2)
    result = scores(matrix, ["a", "b"])
    assert math.isnan(result.miou) and math.isnan(result.mean_accuracy) and math.isnan(result.pixel_accuracy)
    expected = {"mIoU": None, "mean_accuracy": None, "pixel_accuracy": None, "per_class": {}, "absent": ["a", "b"]}
    assert result.to_json() == expected


def test_names_must_fit():
    with pytest.raises(ValueError, match="3 class names"):
        scores(torch.eye(2, dtype=torch.int64), ["a", "b", "c"])


def test_agrees_with_torchmetrics():
    peer = MulticlassJaccardIndex(5, ignore_index=IGNORE)
    ours = ConfusionMatrix(5)
    for seed in range(3):
        predictions, labels = draw((2, 8, 9), 5, seed)
        peer.update(predictions, labels)
        ours.update(predictions, labels)
    assert scores(ours.compute(), "abcde").miou == pytest.approx(100 * peer.compute().item())


def test_metric_sums_over_images_not_means():
    metric = ConfusionMatrix(2)
    metric.update(torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1, 9, dtype=torch.int16))
    metric.update(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int16))
    assert metric.compute().tolist() == [[9, 0], [1, 0]]
    metric.reset()
    metric.update(torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int16))
    assert metric.compute().tolist() == [[0, 0], [0, 1]]


def test_metric_reports_labels_out_of_range():
    metric = ConfusionMatrix(2)
    metric.update(torch.zeros(3, dtype=torch.int64), torch.tensor([0, 255, 1]))
    with pytest.raises(ValueError, match="1 labels"):
        metric.compute()


def test_metric_is_summed_over_processes():
    """What torchmetrics does to gathered states is its own affair; that ours asks for a sum is not."""
    assert ConfusionMatrix(2)._reductions["counts"] is dim_zero_sum


def test_allowed_in_deterministic_mode():
    predictions, labels = draw((4, 4), 3)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        confusion_matrix(predictions, labels, 3)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.gpu
def test_same_on_cuda_and_in_deterministic_mode():
    predictions, labels = draw((2, 64, 64), 150)
    torch.use_deterministic_algorithms(True)
    try:
        matrix = confusion_matrix(predictions.cuda(), labels.cuda(), 150)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(matrix.cpu(), confusion_matrix(predictions, labels, 150))
