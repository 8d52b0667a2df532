"""Any data in COCO's panoptic format, or in the two-channel format from which COCO's script makes it.

COCO's format (cocodataset.org/#format-data): `NAME.json` says what each segment is, and a folder `NAME` holds PNG files
whose colour `R + 256 G + 65536 B` is a segment's id. Two channels (Kirillov et al., "Panoptic segmentation", CVPR 2019,
section 3; `2channels2panoptic_coco_format.py` of cocodataset/panopticapi): red is the category, green the instance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from multiseg.batch import Segments
from multiseg.datasets.base import (
    Arrays,
    CocoPanopticDataset,
    DatasetCard,
    Description,
    Listing,
    PanopticFiles,
    PanopticIndex,
    SegmentTable,
    read_mask,
    segments_of,
)
from multiseg.datasets.base.index import code_of, indexed
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelClass, LabelSpace, UnknownIdsError

#: Where the JSON files lie, below the root.
_INDEX_FOLDERS = ("", "annotations/")

#: What the name of a folder of two-channel masks ends in.
_TWO_CHANNELS = "_2ch_format"

#: The green of a thing's pixels that are a crowd, as in COCO's own example of two channels.
_CROWD = 255

_UNKNOWN = IGNORE - 1


@dataclass(frozen=True)
class _Split:
    """Where a split lies: its JSON and its folder of masks, relative to the root."""

    index: str
    masks: str
    two_channels: bool


class Panoptic(CocoPanopticDataset):
    """Own or published panoptic data; the classes are the JSON's categories, and each JSON with masks is a split.

    A split is named by what stands behind `panoptic_` in the name of its JSON. Names in `train…` come first and those
    in `val…` next, so the first split is trained on and the second evaluated where the names say so. Where a split
    lies in both formats, the one of two channels has `_2ch` behind its name.
    """

    reader = "panoptic"
    card = DatasetCard(
        title="Any data in COCO's panoptic format",
        url="https://cocodataset.org/#format-data",
        license="as stated by its authors",
        citation="format: Kirillov et al., CVPR 2019",
        layout="panoptic_{train,val}.json, or the same in annotations/\n"
        "panoptic_{train,val}/*.png, of the same name, beside it or in the root\n"
        "images/{train,val}/*.jpg, or {train,val}/*.jpg, or images/*.jpg\n"
        "two channels: panoptic_{train,val}_2ch_format/*.png with images_info_{train,val}.json",
    )
    splits: tuple[str, ...] = ()
    label_space = LabelSpace("panoptic", (LabelClass("as stated in the JSON", (0,), (0, 0, 0)),))

    @classmethod
    def missing_marker(cls, folder: Path) -> str | None:
        return None if _splits_in(Listing(folder)) else "NAME.json' with masks in 'NAME"

    @classmethod
    def splits_of(cls, root: Path) -> tuple[str, ...]:
        return tuple(_splits_in(Listing(cls.find_root(root))))

    def prepare(self) -> None:
        self.places = _splits_in(Listing(self.root))
        self.splits = tuple(self.places)
        # every JSON states the categories; they are taken from the one that is read soonest
        indices = {place.index for place in self.places.values()}
        self.categories_file = min(sorted(indices), key=lambda path: os.path.getsize(self.root / path))
        try:
            classes = _read_categories(self.root, self.categories_file)
            if not classes:
                raise MultisegError("'panoptic' has no classes.")
            unlabelled = () if any(0 in entry.raw_ids for entry in classes) else (0,)
            self.label_space = LabelSpace("panoptic", classes, unlabelled)
        except MultisegError as error:
            file, message = str(self.root / self.categories_file), str(error)
            raise MultisegError(message if message.startswith(file) else f"{file}: {message}") from None

    def panoptic_files(self) -> PanopticFiles:
        place, name = self.places[self.split], self.split.removesuffix("_2ch")
        names = dict.fromkeys((name, {"train": "training", "val": "validation"}.get(name, name)))
        by_split = [form.format(name) for name in names for form in ("images/{}", "{}", "{}/images")]
        return PanopticFiles(place.index, (place.masks,), (*by_split, "images", "input_images", "JPEGImages", "."))

    def check_index(self, index: PanopticIndex) -> None:
        """
        Raises:
            MultisegError: a category is not what it is in the other JSON files.
        """
        self.listing.consult(self.categories_file)
        names = {entry.raw_ids[0]: entry.name for entry in self.label_space.classes}
        for entry in index.categories():
            (raw,) = entry.raw_ids
            if names.get(raw) != entry.name:
                there = f"is '{names[raw]}'" if raw in names else "does not exist"
                other = self.root / self.categories_file
                raise MultisegError(f"{index.file}: category {raw} is '{entry.name}', but {there} in {other}.")

    def build_index(self) -> Arrays:
        files = self.panoptic_files()
        for folder in _INDEX_FOLDERS:  # whatever comes there may change where this split lies
            self.listing.consult(folder or ".")
        if not self.places[self.split].two_channels:
            return super().build_index()
        index = PanopticIndex(self.listing.json(files.index), f"{self.root / files.index}")
        self.check_index(index)
        images = sorted(index.images().values())
        pairs = self.located(files, [(name, str(PurePosixPath(name).with_suffix(".png"))) for name in images])
        return {**pairs.to_arrays(), **SegmentTable.of([] for _ in images).to_arrays()}

    def read_segments(self, index: int) -> Segments:
        if not self.places[self.split].two_channels:
            return super().read_segments(index)
        path, things = self.mask_path(index), self.label_space.things
        class_of = self._class_of_red()

        def describe(values: NDArray[np.int32]) -> Description:
            red, green, blue = values & 255, values >> 8 & 255, values >> 16
            classes = np.where(blue == 0, class_of[red], _UNKNOWN)
            if (classes == _UNKNOWN).any():
                unknown = values[classes == _UNKNOWN].tolist()
                color = f"({unknown[0] & 255}, {unknown[0] >> 8 & 255}, {unknown[0] >> 16})"
                raise UnknownIdsError(f"{path}: colour {color} is of no category of the JSON.", unknown)
            return classes, (green == _CROWD) & (classes != IGNORE) & things[classes]

        return segments_of(read_mask(path, as_colors=True), describe, things)

    def _class_of_red(self) -> NDArray[np.int16]:
        """Of masks with two channels; 0 is no category but what is unlabelled. Shape: (256,)."""
        table = np.full(256, _UNKNOWN, np.int16)
        for place, entry in enumerate(self.label_space.classes):
            table[[raw for raw in entry.raw_ids if raw < 256]] = place
        table[0] = IGNORE
        return table


def _splits_in(listing: Listing) -> dict[str, _Split]:
    """The splits of a folder by name, in the order of use."""
    splits: dict[str, _Split] = {}
    found = list(_places_in(listing))
    for two_channels in (False, True):
        places = [place for place in found if place.two_channels == two_channels]
        spellings = [_spellings(place) for place in places]
        for place, candidates in zip(places, spellings, strict=True):
            name = next(name for name in candidates if sum(name in others for others in spellings) == 1)
            splits[f"{name}_2ch" if name in splits else name] = place
    return {name: splits[name] for name in sorted(splits, key=_rank)}


def _spellings(place: _Split) -> tuple[str, str, str]:
    """What a split can be called, the shortest first; the last is no other's."""
    stem = PurePosixPath(place.masks).name.removesuffix(_TWO_CHANNELS)
    return stem.rpartition("panoptic_")[2], stem, f"{place.index}:{place.masks}"


def _rank(name: str) -> tuple[bool, int, str]:
    use = 0 if name.startswith("train") else 1 if name.startswith("val") else 2
    return name.endswith("_2ch"), use, name


def _places_in(listing: Listing) -> Iterator[_Split]:
    """Each JSON that has a folder of masks, and each folder of two-channel masks that has a JSON."""
    for where in _INDEX_FOLDERS:
        names = listing.names(where or ".")
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending == ".json":
                masks = listing.first_of(dict.fromkeys((where + stem, stem)))
                if masks is not None:
                    yield _Split(where + name, masks, two_channels=False)
            if name.endswith(_TWO_CHANNELS):
                stem = name.removesuffix(_TWO_CHANNELS)
                of_images = f"{where}images_info_{stem.rpartition('panoptic_')[2]}.json"
                index = listing.first_of((of_images, f"{where}{stem}.json"))
                if index is not None:
                    yield _Split(index, where + name, two_channels=True)


def _read_categories(root: Path, path: str) -> tuple[LabelClass, ...]:
    """The classes of a JSON, from the index cache if it has them: such files can have hundreds of megabytes."""
    listing = Listing(root)

    def build() -> Arrays:
        data = listing.json(path)
        stated = json.dumps({"categories": data.get("categories") if isinstance(data, dict) else None})
        return {"categories": np.frombuffer(stated.encode(), np.uint8)}

    key = ("panoptic categories", code_of(__file__), str(root.resolve()), path)
    arrays = indexed(key, listing, build)
    return tuple(PanopticIndex(json.loads(arrays["categories"].tobytes()), str(root / path)).categories())
