"""What processes of a run send each other in a step, worked out from a network's tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_FLOAT = 4  # gradients and the statistics of norms are float32, whatever the autocast computes in


@dataclass(frozen=True)
class Traffic:
    """What one process hands to collective operations.

    Args:
        gradients: bytes an update, summed over processes in a few large pieces while the backward pass goes on.
        norms: bytes of all batch norms in a pass with a gradient: mean, variance and count, and then the gradients of
            mean and variance. Where datasets have norms of their own, those of all datasets.
        operations: of the batch norms in such a pass, two each. The pass waits for each of them.
    """

    gradients: int
    norms: int
    operations: int

    @classmethod
    def of(cls, module: nn.Module) -> Traffic:
        """That of a network or method. What is frozen has no gradient to send, but its norms count as others do."""
        channels = [norm.num_features for norm in module.modules() if isinstance(norm, _BatchNorm)]
        trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        return cls(_FLOAT * trained, sum(_FLOAT * (4 * own + 1) for own in channels), 2 * len(channels))


def ring_seconds(size: float, processes: int, bandwidth: float) -> float:
    """The time of a sum over processes that stand in a ring, without latency: each sends 2 (n - 1) / n of it.

    Args:
        size: bytes of what is summed.
        processes: n.
        bandwidth: bytes a second of the slowest link in one direction.
    """
    return 2 * (processes - 1) / processes * size / bandwidth


def hops_seconds(processes: int, a_machine: int, inside: float, between: float) -> float:
    """The latency of a small operation that goes once around a ring.

    Args:
        processes: n.
        a_machine: of them in one machine.
        inside: seconds from one process to the next in a machine.
        between: seconds from a process to one in the next machine.
    """
    crossings = (processes - 1) // a_machine
    return (processes - 1 - crossings) * inside + crossings * between
