"""Multiply-adds against those counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from multiseg.evaluation.flops import count_multiply_adds
from multiseg.evaluation.inference import predict_labels

#: Of 5×7 pixels with padding: 3×3×3×4 products a pixel.
CONVOLUTION = nn.Conv2d(3, 4, 3, padding=1)
PIXEL = 3 * 3 * 3 * 4


def test_a_convolution_and_a_product() -> None:
    assert count_multiply_adds(lambda: CONVOLUTION(torch.zeros(2, 3, 5, 7))) == 2 * 5 * 7 * PIXEL
    assert count_multiply_adds(lambda: torch.zeros(5, 6) @ torch.zeros(6, 8)) == 5 * 6 * 8
    assert count_multiply_adds(lambda: torch.zeros(5).relu()) == 0


@pytest.mark.parametrize(
    ("options", "pixels"),
    [
        ({}, 32 * 48),
        ({"flip": True}, 2 * 32 * 48),
        ({"scales": (0.5, 1.0, 1.5)}, 16 * 24 + 32 * 48 + 48 * 72),
        ({"window": (32, 24), "overlap": 0.0}, 2 * 32 * 24),
        ({"window": (32, 24), "overlap": 0.5, "flip": True}, 2 * 3 * 32 * 24),
    ],
)
def test_all_views_of_a_prediction_count(options: dict[str, object], pixels: int) -> None:
    def predict() -> Tensor:
        return predict_labels(CONVOLUTION, torch.zeros(1, 3, 32, 48), (32, 48), **options)  # type: ignore[arg-type]

    assert count_multiply_adds(predict) == pixels * PIXEL
