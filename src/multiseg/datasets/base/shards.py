"""Shards: many images and masks in a few large files, in a folder or on object storage.

    packed.json            what the dataset is: classes, card, splits; written last, so that with it all is there
    0-train/files.npz      the names of images and masks, and a checksum of each sample
    0-train/index.json     how many samples each shard holds; by litdata
    0-train/chunk-0-*.bin  the samples; by litdata

litdata (github.com/Lightning-AI/litData) writes the shards, reads a sample out of one, and moves files to and from
object storage. Its iterating, shuffling and downloading ahead are not used: which image comes next is a pure function
of (seed, batch number) here, and a shard is fetched once, when its first image is asked for. A sample is three byte
strings (image file, mask as PNG, segments), so that nothing in a shard can be executed; an index of any other form is
refused before litdata sees it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from filelock import Timeout as LockTimeout
from numpy.typing import NDArray

from multiseg.cache import cache_folder
from multiseg.datasets.base.listing import Arrays
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace

#: The file that says what a packed dataset is.
MANIFEST = "packed.json"

#: Of the layout above. A reader refuses any other.
VERSION = 1

#: The file that marks a folder of the cache as the copy of a URL.
_REMOTE = "remote.json"

#: What litdata's index must say of samples: three byte strings in a tuple, neither compressed nor encrypted.
_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_SPEC = [1, {"type": "builtins.tuple", "context": "null", "children_spec": [_LEAF] * 3}]

#: So many shards stay mapped into memory at a time, in each process: what a pass over a dataset of any size takes.
_MAPPED = 4

#: Seconds to wait for another process that is fetching the same shard.
_PATIENCE = 3600

_AGAIN = "copy it again, or pack the dataset again"


class Item(NamedTuple):
    """A stored sample: the bytes of the image file, of a PNG of ids plus one, and of a JSON of segments; the last two
    may be empty.
    """

    image: bytes
    mask: bytes
    segments: bytes


class Shards:
    """The samples of one split, read in any order from any thread and any process.

    Args:
        folder: the split's, in the dataset or in the cache.
        checksums: of the samples, (N,) uint32, as `read_files` gives them.
        url: where it is fetched from; None where all is in the folder.

    Raises:
        MultisegError: the index is missing, damaged or not what `ShardWriter` writes, or litdata is not installed.
    """

    def __init__(self, folder: Path, checksums: NDArray[Any], url: str | None = None) -> None:
        if importlib.util.find_spec("litdata") is None:  # now, and not as a fault of every single image
            raise _not_installed()
        self.folder = folder
        self.checksums = checksums
        self.url = url
        chunks = _read_index(folder / "index.json")
        self.names = [name for name, _, _ in chunks]
        self.sizes = [size for _, _, size in chunks]
        self.ends = np.cumsum([count for _, count, _ in chunks], dtype=np.int64)
        if len(self) != len(checksums):
            raise MultisegError(f"{folder / 'index.json'} is of {len(self)} samples, not {len(checksums)}: {_AGAIN}.")
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._read: Callable[[int, int], Any] | None = None
        self._whole: set[int] = set()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def where(self, index: int) -> str:
        """The shard of a sample, for messages."""
        name = self.names[int(np.searchsorted(self.ends, index, side="right"))]
        return f"{self.url}/{name}" if self.url else str(self.folder / name)

    def __getitem__(self, index: int) -> Item:
        """
        Raises:
            MultisegError: the shard is missing, cannot be fetched, or is damaged.
        """
        if self._process != os.getpid():  # a forked worker: neither lock nor memory maps are its own
            self._open()
        shard = int(np.searchsorted(self.ends, index, side="right"))
        with self._lock:
            if shard not in self._whole:
                self._provide(shard)
                self._whole.add(shard)
            if self._read is None:
                self._read = _reading(self.folder, len(self.names))
            try:
                # copied while the shard is mapped for sure
                item = Item(*(bytes(part) for part in self._read(index, shard)))
            except Exception:  # whatever a damaged file makes of litdata
                raise MultisegError(f"the shard {self.where(index)} is damaged; {self._remedy}.") from None
        if _checksum(item) != self.checksums[index]:
            raise MultisegError(f"the shard {self.where(index)} is damaged; {self._remedy}.")
        return item

    @property
    def _remedy(self) -> str:
        return f"delete {self.folder} and it is fetched again" if self.url else _AGAIN

    def _provide(self, shard: int) -> None:
        """Sees to it that a shard lies in the folder, whole."""
        path, size = self.folder / self.names[shard], self.sizes[shard]
        if self.url is not None and not path.exists():
            fetch(f"{self.url}/{path.name}", path)
        try:
            there = path.stat().st_size
        except OSError:
            raise MultisegError(f"the shard {path} is missing; {self._remedy}.") from None
        if there != size:  # litdata would wait for a shorter one to become whole
            raise MultisegError(f"the shard {path} has {there:,} bytes, not {size:,}; {self._remedy}.")

    def require(self) -> None:
        """Looks for every shard, and at its size; where they are fetched when they are asked for, for none.

        Raises:
            MultisegError: one is missing, or not whole.
        """
        if self.url is None:
            for shard in range(len(self.names)):
                self._provide(shard)

    def missing(self) -> list[int]:
        """Samples whose shard does not lie in the folder; none where shards are fetched when they are asked for."""
        if self.url is not None:
            return []
        starts = [0, *self.ends[:-1].tolist()]
        gone = [place for place, name in enumerate(self.names) if not (self.folder / name).exists()]
        return [index for place in gone for index in range(starts[place], int(self.ends[place]))]


class ShardWriter:
    """Writes the samples of one split.

    Args:
        folder: a new one.
        shard_bytes: about how large a shard may be.

    Raises:
        MultisegError: litdata is not installed.
    """

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.checksums: list[int] = []
        self._writer = _litdata("writer").BinaryWriter(str(folder), chunk_bytes=shard_bytes)

    def add(self, item: Item) -> Path | None:
        """
        Returns:
            the shard that is finished by this sample, if one is.
        """
        finished = self._writer.add_item(len(self.checksums), tuple(item))
        self.checksums.append(_checksum(item))
        return Path(finished) if finished else None

    def close(self, files: Arrays) -> list[Path]:
        """Writes what is left.

        Args:
            files: the names of images and masks, as `PairTable.to_arrays` gives them.

        Returns:
            shards that were not finished before, and the two files that describe them.
        """
        finished = [Path(path) for path in self._writer.done()]
        self._writer.merge()
        checksums = np.array(self.checksums, np.uint32)
        np.savez_compressed(self.folder / "files.npz", checksums=checksums, **files)  # type: ignore[arg-type]
        return [*finished, self.folder / "files.npz", self.folder / "index.json"]


def _checksum(item: Item) -> int:
    value = 0
    for part in item:
        value = zlib.crc32(part, value)
    return value


def read_files(path: Path) -> Arrays:
    """The names of images and masks, as `PairTable.from_arrays` takes them, and `checksums`.

    Raises:
        MultisegError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ("text", "ends", "checksums")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise MultisegError(f"{path} is missing or damaged; {_AGAIN}.") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a packed dataset says of itself.

    Raises:
        MultisegError: its file is damaged, or of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        version = manifest["multiseg_packed"]
        if version == VERSION:
            LabelSpace.from_json(manifest["label_space"])
            folders = [split["folder"] for split in manifest["splits"].values()]
            texts = [manifest["kind"], manifest["reader"], *manifest["card"].values(), *manifest["withheld_splits"]]
            # a folder becomes a part of paths and URLs
            whole = bool(folders) and all(re.fullmatch(r"\d+-[\w.-]*", folder) for folder in folders)
            if not whole or not all(isinstance(text, str) for text in texts):
                raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MultisegError):
        raise MultisegError(f"{path} is missing, damaged or not of a packed dataset; {_AGAIN}.") from None
    if version != VERSION:
        raise MultisegError(f"{path} is of version {version} of the layout, this multiseg reads {VERSION}: pack again.")
    return manifest


def _read_index(path: Path) -> list[tuple[str, int, int]]:
    """Name, samples and bytes of each shard.

    Raises:
        MultisegError: the file is missing or damaged, or describes anything but plain byte strings.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        config = index["config"]
        plain = config["data_format"] == ["bytes"] * 3 and json.loads(config["data_spec"]) == _SPEC
        plain &= config["item_loader"] == "PyTreeLoader"
        plain &= not any(value for key, value in config.items() if "compression" in key or key == "encryption")
        chunks = [(chunk["filename"], int(chunk["chunk_size"]), int(chunk["chunk_bytes"])) for chunk in index["chunks"]]
        plain &= all(re.fullmatch(r"chunk-\d+-\d+\.bin", name) is not None for name, _, _ in chunks)
    except FileNotFoundError:
        raise MultisegError(f"{path} is missing; {_AGAIN}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise MultisegError(f"{path} is damaged; {_AGAIN}.") from None
    if not plain:
        raise MultisegError(f"{path} was not written by `multiseg datasets pack`: it is not opened.")
    return chunks


def _reading(folder: Path, shards: int) -> Callable[[int, int], Any]:
    """A function that takes the numbers of a sample and of its shard.

    It maps a shard into memory and takes what is asked for of it. litdata's loader would by itself read whole shards
    for samples that are asked for out of order, and its `StreamingDataset` chooses how many it maps by file system.
    """
    reader = _litdata("reader")
    loader = _litdata("item_loader").PyTreeLoader(batch_decode=0)
    loader.set_mmap_allowed_chunks(set(range(shards)))
    loader.set_posix_fast(True, keep=_MAPPED, willneed=False)
    opened = reader.BinaryReader(str(folder), item_loader=loader)
    return lambda index, shard: opened.read(reader.ChunkedIndex(index=index, chunk_index=shard))


def _litdata(part: str) -> Any:
    try:
        return importlib.import_module(f"litdata.streaming.{part}")
    except ImportError:
        raise _not_installed() from None


def _not_installed() -> MultisegError:
    return MultisegError("packed datasets need litdata: pip install 'multiseg[shards]'")


# Object storage


def local_root(root: Path | str) -> Path:
    """A root as a folder. Of a URL it is one in the user's cache, to which shards are fetched when they are needed.

    Raises:
        MultisegError: there is no packed dataset at the URL, or it cannot be reached.
    """
    return _mirrored(str(root)) if "://" in str(root) else Path(root)


@lru_cache(maxsize=256)
def _mirrored(url: str) -> Path:
    """The folder in the cache for what lies at a URL now: packed anew under the same URL, it gets another one."""
    shards = cache_folder() / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    newest = shards / f"{_digest(url)}.{os.getpid()}.json"
    try:
        _download(f"{url}/{MANIFEST}", newest)
        folder = shards / _digest(url, newest.read_text(encoding="utf-8"))
        folder.mkdir(exist_ok=True)
        _replace_text(folder / _REMOTE, json.dumps({"url": url}))
        newest.replace(folder / MANIFEST)
    finally:
        newest.unlink(missing_ok=True)
    for split in read_manifest(folder)["splits"].values():
        for name in ("files.npz", "index.json"):
            path = folder / split["folder"] / name
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                fetch(f"{url}/{split['folder']}/{name}", path)
    return folder


def url_of(folder: Path) -> str | None:
    """Where the packed dataset lies that a folder of the cache stands for; None for any other folder."""
    try:
        return str(json.loads((folder / _REMOTE).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fetch(url: str, path: Path) -> None:
    """Downloads a file once, however many processes ask for it at the same time.

    Raises:
        MultisegError: it does not exist, or the place cannot be reached.
    """
    try:
        with FileLock(f"{path}.lock", timeout=_PATIENCE):
            if not path.exists():
                unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")
                try:
                    _download(url, unfinished)
                    unfinished.replace(path)
                finally:
                    unfinished.unlink(missing_ok=True)
    except LockTimeout:
        raise MultisegError(f"{path}.lock has been held for an hour by another process; end that one.") from None


def _download(url: str, path: Path) -> None:
    with _naming(url, "read"):
        _storage(url).download_file(url, str(path))


def upload(path: Path, url: str) -> None:
    """
    Raises:
        MultisegError: the place cannot be reached or written.
    """
    with _naming(url, "written"):
        _storage(url).upload_file(str(path), url)


def is_vacant(url: str) -> bool:
    """Whether nothing lies at or below a URL.

    Raises:
        MultisegError: the place cannot be reached.
    """
    with _naming(url, "read"):
        return bool(_storage(url).is_empty(url))


def _storage(url: str) -> Any:
    """What moves files to and from a place; a new one each time, as a client does not survive a fork."""
    providers = _litdata("fs_provider")
    scheme = url.partition("://")[0].lower()
    makers: dict[str, Callable[[], Any]] = {
        "s3": lambda: providers.S3FsProvider(storage_options={"config": _patient_but_not_forever()}),
        "gs": lambda: providers.GCPFsProvider(),
    }
    if scheme not in makers:
        raise MultisegError(f"{url}: packed datasets lie in a folder, at s3://BUCKET/PATH or at gs://BUCKET/PATH.")
    return makers[scheme]()


def _patient_but_not_forever() -> Any:
    """Of S3. litdata itself would try a thousand times, which is to say that a lost network would never be told."""
    config = importlib.import_module("botocore.config").Config
    return config(retries={"max_attempts": 6, "mode": "standard"}, connect_timeout=10, read_timeout=60)


@contextlib.contextmanager
def _naming(url: str, what: str) -> Iterator[None]:
    """Whatever goes wrong inside is an error of one line that names the URL."""
    try:
        yield
    except MultisegError:
        raise
    except Exception as error:  # of botocore and google-cloud, which have no common base
        raise MultisegError(f"{url} cannot be {what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _digest(*texts: str) -> str:
    return blake2b("\0".join(texts).encode(), digest_size=10).hexdigest()


def _replace_text(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
