"""Processes that torchrun or SLURM started agree, before they train, that they can.

Each of them reads the command and the data for itself. What is wrong for one, such as a broken file that only the first
looks for, must end all: the others would wait for it until a timeout of half an hour.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from multiseg.errors import MultisegError, SaidByAnotherError

#: For all to be there.
_MEETING = timedelta(minutes=10)

#: For what they have to say: the first process may have all files of large datasets to check.
_PATIENCE = timedelta(hours=4)

#: For how long the first process stays for others to hear that nothing will be trained.
_FAREWELL_SECONDS = 20.0

_rounds = count()


@dataclass
class Start:
    """Where a process is going to start training; the same for all, or they do not see the same run folder."""

    step: int = 0


@contextmanager
def all_or_none() -> Iterator[Start]:
    """Whatever this block does, it succeeds in all processes or in none.

    What failed is raised in the first process that it failed in; the others end without a word, with the same exit
    code. Where the trainer starts further processes itself, there is but one as yet, and nothing to agree on.

    Raises:
        MultisegError: it failed here, or processes would not start at the same step.
        SaidByAnotherError: it failed in another process.
    """
    environment, start, failure = _launcher(), Start(), None
    if environment is None or environment.world_size() == 1:
        yield start
        return
    try:
        yield start
    except Exception as error:
        failure = error
    verdict = _agree(environment, str(failure) if failure else None, start.step)
    if verdict is None:
        return
    rank, reason = verdict
    if rank != environment.global_rank():
        raise SaidByAnotherError(reason)
    if failure is not None and not isinstance(failure, MultisegError):
        raise failure
    raise MultisegError(f"process {rank}, on {socket.gethostname()}: {reason}" if rank and failure else reason)


def started_processes() -> int | None:
    """How many processes torchrun or SLURM started; None where neither did."""
    environment = _launcher()
    return environment.world_size() if environment else None


def _launcher() -> ClusterEnvironment | None:
    return next((kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)


def _agree(environment: ClusterEnvironment, failure: str | None, step: int) -> tuple[int, str] | None:
    """None where all can train; else the first process that cannot, and why."""
    rank, size = environment.global_rank(), environment.world_size()
    address = environment.main_address, environment.main_port
    # torchrun may have started them again; and a process may train several runs
    prefix = f"multiseg/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_rounds)}"
    store = PrefixStore(prefix, _store(*address, rank, size))
    store.set(str(rank), json.dumps([failure, step]))
    if rank:
        verdict = json.loads(store.get("verdict"))
        store.add("heard", 1)
        return None if verdict is None else (verdict[0], verdict[1])
    told: list[tuple[str | None, int]] = [json.loads(store.get(str(other))) for other in range(size)]
    faults = (_fault(place, message, at, step) for place, (message, at) in enumerate(told))
    first = next((fault for fault in faults if fault is not None), None)
    store.set("verdict", json.dumps(first))
    ends = time.monotonic() + _FAREWELL_SECONDS
    # it may be this process that keeps the store
    while first is not None and store.add("heard", 0) < size - 1 and time.monotonic() < ends:
        time.sleep(0.01)
    return first


def _fault(rank: int, failure: str | None, step: int, wanted: int) -> tuple[int, str] | None:
    if failure is None and step != wanted:
        failure = (
            f"process {rank} would start at step {step}, the first one at step {wanted}: all need the same --run, in a "
            "folder that their machines share."
        )
    return None if failure is None else (rank, failure)


@cache
def _store(host: str, port: int, rank: int, size: int) -> Store:
    """Where processes meet: the place at which the trainer joins them later; torch lets it be opened twice.

    Raises:
        MultisegError: some of the processes were not started.
    """
    url = f"tcp://{host}:{port}?rank={rank}&world_size={size}"
    try:
        store: Store = next(iter(rendezvous(url, timeout=_MEETING)))[0]
    except DistError:
        raise MultisegError(
            f"process {rank} of {size} did not meet the others at {host}:{port}: were all of them started, by srun or "
            "torchrun?"
        ) from None
    store.set_timeout(_PATIENCE)
    return store
