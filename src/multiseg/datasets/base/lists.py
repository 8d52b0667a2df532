"""Split lists as people write them: which image, and which mask, each line names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from multiseg.datasets.base.listing import Listing
from multiseg.errors import MultisegError, did_you_mean


class FilesByName:
    """Finds files below a folder by what a list calls them.

    A file is called by its path below the folder, whole, or without its extension, or without the whole ending.
    Folders in front that are not there are passed over, so that `7`, `images/7.jpg` and `/home/them/images/7.png` all
    name the 7.jpg of `images`: lists often come with the paths of the machine that they were made on.

    Args:
        listing: of the dataset.
        folder: relative to the root.
        endings: of the files, such as `_image.jpg`, the usual one first; case does not matter.
        but_not: endings of files that are not meant.
    """

    def __init__(self, listing: Listing, folder: str, endings: tuple[str, ...], but_not: tuple[str, ...] = ()) -> None:
        self.listing = listing
        self.folder = folder
        self.but_not = but_not
        self.usual_ending = endings[0]
        longest_first = sorted(endings, key=len, reverse=True)
        self.ending = re.compile("(?:" + "|".join(map(re.escape, longest_first)) + r")\Z", re.IGNORECASE)
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, text: str, from_start: bool = False) -> str | None:
        """The file's path below the folder, or None.

        Args:
            text: what the list says.
            from_start: pass over nothing but the folder itself.

        Raises:
            MultisegError: several files are called so.
        """
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        own = self.folder.split("/")
        starts = [0, len(own)] if parts[: len(own)] == own else [0]
        for start in starts if from_start else range(len(parts)):
            *folders, name = parts[start:] or [""]
            if found := self._in("/".join(folders), name):
                return "/".join([*folders, found])
        return None

    def without_ending(self, path: str) -> str:
        """What the image and the mask of a pair have in common."""
        return self.ending.sub("", path)

    def nearest(self, text: str) -> str:
        """A hint at what may have been meant."""
        *folders, name = text.replace("\\", "/").split("/")
        there = self._called("/".join(folders)) or self._called("")
        return did_you_mean(name, list(there)[:5000], limit=3)

    def _in(self, where: str, name: str) -> str | None:
        called = self._called(where)
        # a list made before the images were re-encoded has another extension
        files = called.get(name) or called.get(_EXTENSION.sub("", name)) or called.get(self.ending.sub("", name)) or []
        if len(files) > 1:
            raise MultisegError(f"'{name}' may be {' or '.join(files)}; write the extension, too.")
        return files[0] if files else None

    def _called(self, where: str) -> dict[str, list[str]]:
        """The files of one folder by all that they may be called."""
        if ".." in where.split("/"):
            return {}
        if where not in self._names:
            called: dict[str, list[str]] = {}
            files = self.listing.names(f"{self.folder}/{where}".rstrip("/"))
            for file in files:
                if self.ending.search(file) and not file.lower().endswith(self.but_not):
                    for name in {_EXTENSION.sub("", file), self.ending.sub("", file)} - {file}:
                        called.setdefault(name, []).append(file)
            # the whole name is never in doubt
            self._names[where] = called | {file: [file] for file in files if self.ending.search(file)}
        return self._names[where]


def listed_pairs(
    listing: Listing, lists: Iterable[str], images: FilesByName, masks: FilesByName
) -> Iterator[tuple[str, str]]:
    """(image, mask) of every line of some lists, relative to the root.

    A line names an image, whose mask is the one with the same path below its folder, up to the ending; or it names
    both, parted by a tab, a comma, a semicolon, or by spaces where the names have none.

    Args:
        listing: of the dataset.
        lists: files, relative to the root.
        images: where images are found.
        masks: where masks are found.

    Raises:
        MultisegError: a line names no image or no mask, or an image for the second time; with file and line.
    """
    seen: dict[str, str] = {}
    for file in lists:
        for number, line in listing.lines(file):
            where = f"{listing.root / file}, line {number}"
            try:
                image, mask = _pair(line, images, masks)
            except MultisegError as error:
                raise MultisegError(f"{where}: {error}") from None
            if image in seen:
                raise MultisegError(f"{where}: '{line}' is {seen[image]} again; take one of the two out.")
            seen[image] = f"{file}, line {number},"
            yield f"{images.folder}/{image}", f"{masks.folder}/{mask}"


def _pair(line: str, images: FilesByName, masks: FilesByName) -> tuple[str, str]:
    image, mask = images.find(line, from_start=True), None
    if image is None:
        columns = [column.strip() for column in _columns(line)]
        if len(columns) == 2 and (image := images.find(columns[0])):
            mask = masks.find(columns[1])
            if mask is None:
                raise MultisegError(f"there is no mask '{columns[1]}' in {masks.folder}; {masks.nearest(columns[1])}")
        image = image or images.find(line)
    if image is None:
        raise MultisegError(f"there is no image '{line}' in {images.folder}; {images.nearest(line)}")
    if mask is None:
        stem = images.without_ending(image)
        # a mask that is missing goes by the name that it should have, for the check to find
        mask = masks.find(stem, from_start=True) or stem + masks.usual_ending
    if (images.folder, image) == (masks.folder, mask):
        raise MultisegError(f"'{line}' names an image without its mask, and both lie in {masks.folder}.")
    return image, mask


def _columns(line: str) -> list[str]:
    separator = next((separator for separator in "\t,;" if separator in line), None)
    return line.split(separator)


#: Letters only: what follows the dot of `frame.001` is no extension.
_EXTENSION = re.compile(r"\.[A-Za-z]{3,4}\Z")
