"""The parts of a step are all of it; on a tiny network."""

from functools import partial

import pytest
import torch

from multiseg.bench import pretraining_step
from multiseg.bench.base import measure
from multiseg.bench.tables import table
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork


@pytest.fixture
def comparison():
    torch.manual_seed(0)
    decoder = partial(PyramidPooling, channels=16, bins=[1, 2], dropout=0.0)
    network = SegmentationNetwork(Backbone("test_resnet"), decoder)
    return pretraining_step.comparison(network, "tiny", images=2, size=(32, 48), classes=3, channels=8, repeats=2)


def parts_of(comparison):
    return comparison.ours.args[0].__self__


def test_it_is_measured_with_its_parts(comparison):
    result = measure(comparison, warmup=0)
    assert list(result.parts) == [
        "query views, forward and backward",
        "key views, forward",
        "losses and bank",
        "momentum update",
    ]
    assert table([result]).row_count == 1 + 4


def test_the_parts_together_are_a_step(comparison):
    parts = parts_of(comparison)
    method = parts.method
    parts.step()
    whole = {name: weight.grad.clone() for name, weight in method.named_parameters() if weight.grad is not None}
    assert whole
    loss = parts.without_network.training_step(parts.batch, 0)
    parts.gradients = list(torch.autograd.grad(loss, parts.queries))
    assert all(gradient.abs().max() > 0 for gradient in parts.gradients)
    parts.query_views(3)
    for name, weight in method.named_parameters():
        if name in whole:
            # bfloat16, and one backward from three gradients in another order
            torch.testing.assert_close(weight.grad, whole[name], rtol=0.05, atol=0.02 * float(whole[name].abs().max()))


def test_the_keys_follow(comparison):
    parts = parts_of(comparison)
    method = parts.method
    with torch.no_grad():
        for weight in method.network.parameters():
            weight += 1
    before = [weight.clone() for weight in method.key.parameters()]
    parts.momentum_update()
    assert any((new != old).any() for new, old in zip(method.key.parameters(), before, strict=True))
