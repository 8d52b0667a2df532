"""Synchronised batch norm: like torch's in one process, and unchanged by conversion. (Two processes:
test_training.py.)
"""

import copy

import pytest
import timm
import torch
from torch import nn

from multiseg.networks.synchronized_norm import SynchronizedBatchNorm, synchronize_norms


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm2d(5), (4, 5, 3, 2)), (nn.BatchNorm1d(5), (7, 5)), (nn.BatchNorm2d(5, affine=False), (4, 5, 3, 2))],
)
def test_one_process_equals_torch(norm: nn.BatchNorm2d, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    ours, theirs = SynchronizedBatchNorm(copy.deepcopy(norm)), norm
    for _ in range(3):
        inputs = (torch.randn(shape) * 3 + 1).requires_grad_()
        out, wanted = ours(inputs), theirs(inputs)
        torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-4)
        weights = torch.randn(shape)
        (ours_grad,) = torch.autograd.grad((out * weights).sum(), inputs)
        (their_grad,) = torch.autograd.grad((wanted * weights).sum(), inputs)
        torch.testing.assert_close(ours_grad, their_grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert int(ours.num_batches_tracked) == int(theirs.num_batches_tracked)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_conversion_keeps_outputs_state_and_fused_activations(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    inputs = torch.randn(2, 3, 64, 64)
    before, names = model(inputs), list(model.state_dict())
    synchronize_norms(model)
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())
    assert any(isinstance(module, SynchronizedBatchNorm) for module in model.modules())
    torch.testing.assert_close(model(inputs), before)
    assert list(model.state_dict()) == names


def test_bfloat16_inputs_stay_so() -> None:
    norm = SynchronizedBatchNorm(nn.BatchNorm2d(3))
    assert norm(torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
