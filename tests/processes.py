"""Runs on several processes: many of them one after another in the same ones, since starting them takes longer than
training what tests train.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

_SCRIPT = """
import json, sys
from multiseg.cli import main
count, *commands = json.load(sys.stdin)
for arguments in commands:
    if code := main([*arguments, "--devices", str(count), "--trainer.accelerator", "cpu", "--quiet"]):
        sys.exit(f"{' '.join(arguments)}: {code}")
"""

#: Everything that is float32 in a run is float64: what several processes then do otherwise than one is no rounding.
_DOUBLE = """
import torch
from lightly.models.modules.memory_bank import MemoryBankModule
torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
start = MemoryBankModule._init_memory_bank
MemoryBankModule._init_memory_bank = lambda self, size: start(self.double(), size)  # lightly's own are float32
"""


class Processes:
    """Processes that run commands one after another; meanwhile one can do something else.

    Args:
        commands: of `multiseg train`, each with a --run of its own.
        count: of processes.
        double: compute in double precision.
    """

    def __init__(self, commands: Sequence[Sequence[object]], count: int = 2, double: bool = False) -> None:
        told = json.dumps([count, *([str(argument) for argument in command] for command in commands)])
        port = free_port()
        self.processes = []
        for rank in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", (_DOUBLE if double else "") + _SCRIPT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, **(torchrun_environment(rank, count, port) if count > 1 else {})},
            )  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(told)
            process.stdin.close()
            process.stdin = None
            self.processes.append(process)

    def wait(self, timeout: float = 300) -> None:
        try:
            outputs = [process.communicate(timeout=timeout)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        assert not any(process.returncode for process in self.processes), "\n".join(outputs)


def torchrun_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a process, all on one machine."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    return {name: str(value) for name, value in {**place, **meeting}.items()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
