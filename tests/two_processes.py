"""Runs on two processes: many of them one after another in the same two, since starting them takes longer than training
what tests train.
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
for arguments in json.load(sys.stdin):
    if code := main([*arguments, "--devices", "2", "--trainer.accelerator", "cpu", "--quiet"]):
        sys.exit(code)
"""


class TwoProcesses:
    """Two processes that run commands one after another; meanwhile one can do something else.

    Args:
        commands: of `multiseg train`, each with a --run of its own.
    """

    def __init__(self, commands: Sequence[Sequence[object]]) -> None:
        told = json.dumps([[str(argument) for argument in command] for command in commands])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = []
        for rank in ("0", "1"):
            # as torchrun sets them
            place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
            process = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, **place, **meeting},
            )  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(told)
            process.stdin.close()
            process.stdin = None
            self.processes.append(process)

    def wait(self, timeout: float = 300) -> None:
        outputs = [process.communicate(timeout=timeout)[0] for process in self.processes]
        assert not any(process.returncode for process in self.processes), "\n".join(outputs)
