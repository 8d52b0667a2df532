"""Which files a dataset consists of: folders, split lists and JSON indices, and the memory of having looked there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import EmptySplitError, MultisegError

Arrays = dict[str, NDArray[Any]]

#: Larger JSON files are refused, in bytes: in memory they take ten times as much. COCO's largest has half a gigabyte.
MAX_INDEX_BYTES = 2**31


class PairTable:
    """Relative paths of images and masks in one flat byte string and the places where each pair ends.

    A few dozen bytes an image, and, being no Python objects, never copied into forked workers by reference counting.

    Raises:
        MultisegError: a name in a list is none that a file can have.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        encoded = [os.fsencode(f"{_whole(image)}\0{_whole(mask)}") for image, mask in pairs]
        self._ends = np.cumsum([len(line) for line in encoded], dtype=np.int64)
        self._text = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> tuple[str, str]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self._ends[index - 1] if index else 0
        image, mask = os.fsdecode(self._text[start : self._ends[index]].tobytes()).split("\0")
        return image, mask

    def to_arrays(self) -> Arrays:
        """As `from_arrays` takes it."""
        return {"text": self._text, "ends": self._ends}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PairTable:
        table = cls(())
        table._text, table._ends = arrays["text"], arrays["ends"]
        return table


#: Time of the last change in nanoseconds, and size in bytes.
Stamp = tuple[int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes with a file, or with the set of names in a folder; None where there is neither."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Listing:
    """Looks into the folders and lists below a root, and remembers where it looked.

    What it found stays valid until one of `places` changes: a folder's time stamp moves when a file is added to it,
    removed or renamed, a list's when it is written.

    Args:
        root: what every path is relative to; paths have forward slashes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Folders and files consulted, relative to the root, with their stamps when they were first.
        self.places: dict[str, Stamp | None] = {}

    def consult(self, path: str) -> Path:
        """The absolute path of a folder or file that is about to be looked into."""
        absolute = self.root / path
        if path not in self.places:  # a change between two looks must not pass for seen by the first
            self.places[path] = stamp(absolute)
        return absolute

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder; its parent counts as consulted."""
        self.consult(PurePosixPath(path).parent.as_posix())
        return os.path.exists(self.root / path)  # unlike pathlib's, it takes a name that is too long for one of no file

    def first_of(self, paths: Iterable[str]) -> str | None:
        """The first of several files or folders that exists."""
        return next((path for path in paths if self.exists(path)), None)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted, without hidden ones; none where there is no such folder."""
        path = self.consult(folder)
        return sorted(name for name in os.listdir(path) if not name.startswith(".")) if path.is_dir() else []

    def lines(self, path: str) -> Iterator[tuple[int, str]]:
        """The lines of a split list with their numbers, without blank ones.

        Raises:
            EmptySplitError: there is no such file.
        """
        return list_lines(self.consult(path))

    def json(self, path: str) -> Any:
        """A JSON index.

        Raises:
            EmptySplitError: there is no such file.
            MultisegError: it is no JSON.
        """
        return read_json(self.consult(path))

    def pairs(
        self,
        images: str,
        masks: str,
        image_endings: tuple[str, ...],
        mask_endings: tuple[str, ...],
        complete_only: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """(image, mask) of two parallel folders, matched by their paths without the endings, in sorted order.

        An image without a mask, or a mask without an image, is paired with the name that its partner should have, so
        that `SegmentationDataset.missing_files` finds it.

        Args:
            images: the folder of the images.
            masks: the folder of the masks.
            image_endings: such as `_image.jpg`, the usual one first; case does not matter.
            mask_endings: the same for the masks.
            complete_only: leave out what has no partner instead.

        Raises:
            EmptySplitError: there is no folder of images.
            MultisegError: there is none of masks, or two files match the same partner.
        """
        if not (self.root / images).is_dir():
            raise EmptySplitError(f"the folder {self.root / images} does not exist.")
        # images and masks may share a folder, or the masks' lie within the images'
        image_of = self.stems(images, image_endings, masks, mask_endings if images == masks else ())
        mask_of = self.stems(masks, mask_endings, images)
        stems = image_of.keys() & mask_of.keys() if complete_only else image_of.keys() | mask_of.keys()
        for stem in sorted(stems):
            image = image_of.get(stem, stem + image_endings[0])
            yield f"{images}/{image}", f"{masks}/{mask_of.get(stem, stem + mask_endings[0])}"

    def stems(
        self, folder: str, endings: tuple[str, ...], apart_from: str | None = None, but_not: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """Files anywhere below a folder: path without its ending to path, both relative to the folder.

        Args:
            folder: relative to the root.
            endings: of the files wanted; case does not matter.
            apart_from: a folder that is not entered.
            but_not: endings of files that are not wanted.

        Raises:
            MultisegError: there is no such folder, or two files differ in their ending only.
        """
        files: dict[str, str] = {}
        for stem, path in self.files(folder, endings, apart_from, but_not):
            if stem in files:
                first, second = sorted([files[stem], path])
                raise MultisegError(f"{self.root / folder} has both {first} and {second}; keep one.")
            files[stem] = path
        return files

    def files(
        self, folder: str, endings: tuple[str, ...], apart_from: str | None = None, but_not: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, str]]:
        """Files anywhere below a folder, in any order: path without its ending, and path; see `stems`.

        Raises:
            MultisegError: there is no such folder.
        """
        by_length = sorted((ending.lower() for ending in endings), key=len, reverse=True)
        top = os.fspath(self.root / folder)
        skipped = os.fspath(self.root / apart_from) if apart_from is not None else None
        if not os.path.isdir(top):
            raise MultisegError(f"the folder {top} does not exist.")
        waiting = [(top, "")]
        while waiting:
            where, prefix = waiting.pop()
            self.consult(f"{folder}/{prefix}".rstrip("/"))
            with os.scandir(where) as entries:
                for entry in entries:
                    name, path = entry.name, prefix + entry.name
                    if name.startswith("."):  # macOS leaves a "._x.png" beside an "x.png"
                        continue
                    if entry.is_dir():
                        if entry.path != skipped:
                            waiting.append((entry.path, path + "/"))
                        continue
                    lower = name.lower()
                    ending = next((ending for ending in by_length if lower.endswith(ending)), None)
                    if ending is not None and not lower.endswith(but_not):
                        yield path[: len(path) - len(ending)], path


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a split list with their numbers, without blank ones.

    Raises:
        EmptySplitError: there is no such file.
    """
    if not path.is_file():
        raise EmptySplitError(f"the list {path} does not exist.")
    # file names need not be UTF-8, so what is not comes back as `os.fsdecode` spells it
    for number, line in enumerate(path.read_text("utf-8-sig", "surrogateescape").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def read_json(path: Path) -> Any:
    """
    Raises:
        EmptySplitError: there is no such file.
        MultisegError: it is no JSON.
    """
    if not path.is_file():
        raise EmptySplitError(f"the index {path} does not exist.")
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise MultisegError(f"the index {path} has more than {MAX_INDEX_BYTES:,} bytes.")
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MultisegError(f"{path} is no JSON: {error}.") from None


def _whole(path: str) -> str:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise MultisegError(f"{path!r} is no name of a file.") from None
    if "\0" in path:
        raise MultisegError(f"{path!r} is no name of a file: it holds a NUL.")
    return path


def leaves_root(path: str) -> bool:
    """Whether a path from a list or a recipe is absolute or climbs out by `..`, on any system, or is none at all as it
    holds a NUL: such a file is never opened.

    Links are followed wherever they lead: datasets are often made of links, and who lays them out has the disk anyway.
    """
    if "\0" in path:
        return True
    if path[:1] not in ("/", "\\") and ":" not in path and ".." not in path:
        return False  # nearly always: the rest takes twenty times as long
    absolute = PurePosixPath(path).is_absolute() or bool(PureWindowsPath(path).anchor)
    return absolute or ".." in PureWindowsPath(path).parts
