"""Runs on packed datasets: what they learn is that of the folder, and they go on where they were interrupted."""

import threading
import time
from pathlib import Path

import pytest
import torch

import tiny_run
from multiseg.cli import main
from multiseg.configuration import compose
from multiseg.datasets import find_reader
from multiseg.datasets.base import shards
from multiseg.instantiation import resolve
from multiseg.loading.datamodule import DataModule, DatasetEntry
from multiseg.loading.transforms import Pipeline
from multiseg.packing import pack
from multiseg.run_folder import RunFolder

pytest.importorskip("litdata", reason="the extra `shards` is not installed")


@pytest.fixture(scope="module")
def packed_roots(data_roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("packed")
    for name, root in data_roots.items():
        pack([find_reader("folder")(root, split) for split in ("train", "val")], str(out / name), shard_bytes=6000)
    return {name: out / name for name in data_roots}


class FakeTrainer:
    max_steps, accumulate_grad_batches, global_rank, world_size = 8, 1, 0, 1


def batches(roots: dict[str, Path], workers: int, start: int = 0):
    entries = {name: DatasetEntry(root) for name, root in roots.items()}
    data = DataModule(entries, Pipeline(long_side=64, crop=(32, 48)), batch_size=2, workers=workers)
    data.trainer = FakeTrainer()
    data.start_batch = start
    return list(data.train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder_from_any_place_on(data_roots, packed_roots, workers):
    plain, packed = batches(data_roots, 0), batches(packed_roots, workers, start=5)
    assert len(plain) == 8 and len(packed) == 3
    for one, other in zip(plain[5:], packed, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_the_configuration_keeps_the_root_of_a_url():
    config = resolve(compose(["multi_head"], ["town=s3://bucket/a/town"]))
    assert config["data"]["datasets"]["town"]["root"] == "s3://bucket/a/town"
    assert resolve(config) == config


def train(roots: dict[str, object], run: Path, *more: str) -> int:
    return main(["train", "multi_head", *tiny_run.arguments(roots), "--run", str(run), "--quiet", *more])


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_is_that_of_the_folder(data_roots, packed_roots, tmp_path, workers):
    assert train(data_roots, tmp_path / "plain") == 0
    assert train(packed_roots, tmp_path / "packed", "--data.workers", workers) == 0
    for file in ("log.csv", "model/model.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "packed" / file).read_bytes()


# Object storage, by its real protocol


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket of a server on this machine that speaks S3, and the function that ends it."""
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "cache"))
    shards._mirrored.cache_clear()
    boto3.client("s3").create_bucket(Bucket="bucket")
    ended = threading.Event()

    def stop() -> None:
        if not ended.is_set():
            ended.set()
            server.stop()

    yield stop
    stop()


@pytest.mark.slow
def test_a_run_on_object_storage_is_that_of_the_folder_and_resumes(data_roots, tmp_path, bucket, capsys):
    out = "s3://bucket/packed"
    arguments = [f"{name}:folder={root}" for name, root in data_roots.items()]
    assert main(["datasets", "pack", *arguments, "--out", out]) == 0
    assert main(["datasets", "pack", *arguments, "--out", out]) == 2
    assert "s3://bucket/packed/town is not empty" in capsys.readouterr().err
    roots = {name: f"{out}/{name}" for name in data_roots}
    assert train(data_roots, tmp_path / "plain") == 0
    assert train(roots, tmp_path / "remote", "--data.workers", "2") == 0
    for file in ("log.csv", "model/model.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "remote" / file).read_bytes()
    entries = RunFolder(tmp_path / "remote").read_config()["data"]["datasets"]
    assert entries["town"]["root"] == "s3://bucket/packed/town"
    assert main(["evaluate", str(tmp_path / "remote")]) == 0
    assert main(["datasets", "check", f"town={out}/town"]) == 0
    assert main(["datasets", "check", f"town={out}/toun"]) == 2
    assert "s3://bucket/packed/toun/packed.json cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_lost_connection_is_told_within_a_minute(data_roots, bucket, capsys):
    pack([find_reader("folder")(data_roots["town"], "train")], "s3://bucket/town")
    bucket()
    started = time.monotonic()
    assert main(["datasets", "check", "town=s3://bucket/town"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "s3://bucket/town/packed.json cannot be read: Could not connect" in line
    assert time.monotonic() - started < 60
