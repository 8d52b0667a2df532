"""The peers of PSPNet and DeepLabV3 do as much as we do."""

import pytest
import torch

from multiseg.bench import pixel_classification
from multiseg.bench.base import measure
from multiseg.bench.pixel_classification import Answer, comparisons


@pytest.mark.parametrize(
    ("other", "agrees"),
    [
        (Answer((2, 8, 8), 1009, True), True),
        (Answer((2, 8, 8), 1020, True), False),
        (Answer((2, 4, 4), 1000, True), False),
        (Answer((2, 8, 8), 1000, False), False),
    ],
)
def test_unequal_work_is_refused(other, agrees):
    assert Answer((2, 8, 8), 1000, True).agrees(other) is agrees


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_side_does_equal_work(monkeypatch, device):
    pytest.importorskip("segmentation_models_pytorch")
    monkeypatch.setitem(pixel_classification._WORK, device, (2, (64, 64)))
    for comparison in comparisons(device):
        result = measure(comparison, repeats=2, warmup=0)  # refuses unequal work
        assert not result.missing and len(result.peers) == (1 if "pspnet" in result.name else 2)
        assert result.images_per_second and comparison.flops
    assert device == "cpu" or torch.cuda.is_available()
