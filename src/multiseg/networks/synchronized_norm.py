"""Batch norm over the images of all processes, on any device.

torch's SyncBatchNorm works on accelerators only; with this one a run on several CPU processes has the statistics, and
so the result, of one process with the same global batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm of inputs (B, C, …) with mean and variance over all processes; in evaluation an ordinary one.

    Args:
        norm: the layer it stands for; parameters and buffers are shared with it.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        # timm fuses dropout and activation into its norms; neither has parameters
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two on."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return self._finish(super().forward(input))
        other = [dim for dim in range(input.dim()) if dim != 1]
        wide = input.float()
        count = torch.full((1,), input.numel() / input.shape[1], device=input.device)
        sums = torch.cat([wide.sum(other), wide.square().sum(other), count])
        if dist.is_initialized():
            sums = all_reduce(sums)  # type: ignore[no-untyped-call]
        total, squares, count = torch.split(sums, [self.num_features, self.num_features, 1])
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count.detach() / (count.detach() - 1).clamp(min=1))
        shape = [1, -1] + [1] * (input.dim() - 2)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale + (self.bias if self.affine else 0.0)
        return self._finish((wide * scale.view(shape) + shift.view(shape)).to(input.dtype))

    def _finish(self, normal: Tensor) -> Tensor:
        out: Tensor = self.act(self.drop(normal))
        return out

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def synchronize_norms(module: nn.Module) -> None:
    """Replace, in place, every batch norm below a module by a synchronised one; names in the state dict stay."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and not isinstance(child, SynchronizedBatchNorm | nn.SyncBatchNorm):
            setattr(module, name, SynchronizedBatchNorm(child))
        else:
            synchronize_norms(child)
