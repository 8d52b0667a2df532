"""What processes send each other, against what two of them do send."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from multiseg.communication import Traffic, hops_seconds, ring_seconds
from processes import free_port, torchrun_environment

#: One step of a network without anything else that is sent; counts the bytes of every sum over the processes.
COUNTING = """
import json, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from multiseg.networks import synchronized_norm

dist.init_process_group("gloo")
sent = {"gradients": 0, "norms": 0, "operations": 0}

def hook(state, bucket):
    sent["gradients"] += 4 * bucket.buffer().numel()
    return allreduce_hook(state, bucket)

class Counted(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return count(x)

    @staticmethod
    def backward(context, gradient):
        return count(gradient)

def count(x):
    sent["norms"] += 4 * x.numel()
    sent["operations"] += 1
    out = x.clone()
    dist.all_reduce(out)
    return out

synchronized_norm.all_reduce = Counted.apply
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1), nn.BatchNorm2d(5))
synchronized_norm.synchronize_norms(network)
parallel = DistributedDataParallel(network, broadcast_buffers=False)
parallel.register_comm_hook(None, hook)
parallel(torch.randn(2, 3, 9, 9)).square().mean().backward()
if dist.get_rank() == 0:
    print(json.dumps(sent))
"""


@pytest.mark.slow
def test_two_processes_send_what_was_worked_out(tmp_path: Path) -> None:
    """The count of pixels has no gradient to send back, but goes along with the others'."""
    port = free_port()
    command = [sys.executable, "-c", COUNTING]
    started = [
        subprocess.Popen(command, env=torchrun_environment(rank, 2, port), stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    first, second = (process.communicate(timeout=120)[0] for process in started)
    assert not second
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1), nn.BatchNorm2d(5))
    expected = Traffic.of(network)
    assert json.loads(first) == {
        "gradients": expected.gradients,
        "norms": expected.norms + 2 * 4,
        "operations": expected.operations,
    }


def test_what_is_frozen_has_no_gradient_to_send() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8))
    network[0].requires_grad_(False)
    assert Traffic.of(network) == Traffic(gradients=4 * 16, norms=4 * (4 * 8 + 1), operations=2)


def test_a_ring_by_hand() -> None:
    """Four processes: each sends three quarters of it to be summed, and three quarters of the sum."""
    assert ring_seconds(400.0, 4, 100.0) == pytest.approx(2 * 3 * 100.0 / 100.0)
    assert ring_seconds(400.0, 1, 100.0) == 0.0
    # two machines of four: of seven hops one goes between them
    assert hops_seconds(8, 4, 1.0, 10.0) == pytest.approx(6 * 1.0 + 10.0)
