"""Several processes, started as torchrun and SLURM start them: they train together, or end together with one line."""

import json
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

import tiny_run
from multiseg import agreement
from multiseg.agreement import all_or_none
from multiseg.configuration import shipped_scripts
from multiseg.errors import MultisegError
from processes import free_port, torchrun_environment

#: What each of three processes does, round after round: fail or not, and start at a step. No trainer, no data.
_ROUNDS = """
import json, os, sys
from multiseg.agreement import all_or_none
from multiseg.errors import MultisegError, SaidByAnotherError
rank = int(os.environ["RANK"])
for failing, steps in json.loads(sys.argv[1]):
    try:
        with all_or_none() as start:
            start.step = steps[rank]
            if rank in failing:
                raise MultisegError("the mask 3.png is missing.")
        print("trains")
    except SaidByAnotherError:
        print("silent")
    except MultisegError as error:
        print(error)
"""

_ALIKE = [5, 5, 5]


@pytest.mark.slow
def test_what_fails_in_one_ends_all_and_one_of_them_says_so() -> None:
    rounds = [([], _ALIKE), ([0], _ALIKE), ([1], _ALIKE), ([1, 2], _ALIKE), ([0, 1, 2], _ALIKE), ([], [5, 5, 0])]
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _ROUNDS, json.dumps(rounds)],
            env={**os.environ, **torchrun_environment(rank, 3, port)}, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(3)
    ]  # fmt: skip
    texts = [process.communicate(timeout=200)[0].splitlines() for process in started]
    fault, silent = "the mask 3.png is missing.", "silent"
    elsewhere = f"process 1, on {socket.gethostname()}: {fault}"
    shared = (
        "process 2 would start at step 0, the first one at step 5: all need the same --run, in a folder that their "
    )
    assert [list(told) for told in zip(*texts, strict=True)] == [
        ["trains"] * 3,
        [fault, silent, silent],
        [silent, elsewhere, silent],
        [silent, elsewhere, silent],
        [fault, silent, silent],
        [silent, silent, f"{shared}machines share."],
    ]


@pytest.mark.slow
def test_as_many_processes_must_be_started_as_are_asked_for(tmp_path: Path) -> None:
    """Else each of them would train a run of its own into the same folder."""
    port, command = free_port(), ["train", *arguments(tmp_path), "--devices", "1", "--run", str(tmp_path / "run")]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "multiseg", *command], env={**os.environ, **torchrun_environment(rank, 2, port)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    texts = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert texts == ["error: 2 processes were started, but --devices times --trainer.nodes is 1.\n", ""]


@pytest.mark.slow
def test_who_is_alone_where_others_should_be_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a job of several tasks whose script forgot srun."""
    port = free_port()
    for name, value in torchrun_environment(0, 2, port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(agreement, "_MEETING", timedelta(seconds=2))
    with (
        pytest.raises(MultisegError, match=rf"process 0 of 2 did not meet the others at 127.0.0.1:{port}"),
        all_or_none(),
    ):
        pass


def test_alone_there_is_nothing_to_agree_on() -> None:
    with pytest.raises(MultisegError, match=r"^a fault$"), all_or_none():
        raise MultisegError("a fault")


def arguments(root: Path) -> list[str]:
    """A tiny run on the CPU; the rest is for the job script to say."""
    for name, classes in {"town": ["road", "car", "sky"], "park": ["tree", "sky"]}.items():
        tiny_run.write_dataset(root / name, name, classes, {"train": 4, "val": 1})
    given = tiny_run.arguments({"town": root / "town", "park": root / "park"})
    devices = given.index("--devices")
    return ["multi_head", *given[:devices], *given[devices + 2 :], "--trainer.accelerator", "cpu", "--quiet"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with what a cluster has: `srun`, for two machines of one task each, and `scontrol`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    texts = {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\n'
        'SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NODEID=1 "$@" & other=$!\n'
        'SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 "$@"; code=$?\n'
        f"echo $code >> {tmp_path}/said; wait $other; echo $? >> {tmp_path}/said; exit ${{SRUN_ENDS:-$code}}\n",
        "scontrol": f'echo "$@" >> {tmp_path}/said\n',
        "multiseg": f'exec {sys.executable} -m multiseg "$@"\n',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    return folder


def slurm(programs: Path, tmp_path: Path, *given: str, **more: str) -> "subprocess.CompletedProcess[str]":
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "multiseg", "SLURM_NNODES": "2", "SLURM_NTASKS": "2"}
    environment = {**job, "SLURM_NTASKS_PER_NODE": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RUN": str(tmp_path / "run")}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", shipped_scripts()["slurm.sh"], *given],
        env={**os.environ, **environment, **meeting, "PATH": path, **more}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_the_slurm_script_trains_once_on_two_machines(programs: Path, tmp_path: Path) -> None:
    done = slurm(programs, tmp_path, *arguments(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/metrics.json").is_file()
    assert len(list((tmp_path / "run").glob("events.out.*"))) == 1, "a second process wrote a log, too"
    assert done.stdout.count("dataset  mIoU") == 1
    assert (tmp_path / "said").read_text().split() == ["0", "0"], "a finished run is not put into the queue again"


@pytest.mark.slow
def test_broken_data_end_a_slurm_job_in_one_line(programs: Path, tmp_path: Path) -> None:
    given = arguments(tmp_path)
    (tmp_path / "town/masks/train/3.png").unlink()
    started = time.monotonic()
    done = slurm(programs, tmp_path, *given)
    assert time.monotonic() - started < 90
    assert (tmp_path / "said").read_text().split() == ["2", "2"] and done.returncode == 2
    assert "missing_mask" in done.stderr and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("code", "again"), [("143", True), ("130", True), ("0", True), ("2", False), ("1", False)])
def test_a_job_that_was_stopped_is_put_into_the_queue_again(
    code: str, again: bool, programs: Path, tmp_path: Path
) -> None:
    (programs / "multiseg").write_text("#!/bin/sh\n")
    slurm(programs, tmp_path, SRUN_ENDS=code)
    assert any(line.startswith("requeue ") for line in (tmp_path / "said").read_text().splitlines()) == again


@pytest.mark.slow
def test_torchrun_trains_on_two_machines(programs: Path, tmp_path: Path) -> None:
    given, script = arguments(tmp_path), shipped_scripts()["torchrun.sh"]
    settings = {"NODES": "2", "GPUS": "1", "HEAD": "localhost", "PORT": str(free_port()), "RUN": str(tmp_path / "run")}
    environment = {**os.environ, **settings, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    machines = [
        subprocess.Popen(
            ["sh", script, *given], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [machine.communicate(timeout=200)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert (tmp_path / "run/metrics.json").is_file()
    assert sum(output.count("dataset  mIoU") for output in outputs) == 1
