"""IDD, the India Driving Dataset: 20,000 pictures of unstructured traffic in two parts, 26 classes.

Varma, Subramanian, Namboodiri, Chandraker, Jawahar: "IDD: a dataset for exploring problems of autonomous navigation in
unconstrained environments", WACV 2019. Labels and colours are those of the official `helpers/anue_labels.py`, classes
and their names those of its level 3, as `evaluation/evaluate_mIoU.py` has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from multiseg.datasets.base import MAX_PIXELS, DatasetCard, SegmentationDataset, read_json
from multiseg.errors import MultisegError, did_you_mean
from multiseg.label_space import LabelClass, LabelSpace

#: Where the two official archives unpack to; side by side they are one dataset.
_PARTS = ("IDD_Segmentation", "idd20kII")
_DRAWN, _POLYGONS = "_gtFine_labellevel3Ids.png", "_gtFine_polygons.json"

_VOID = 255
#: The level-3 id of each label.
_LEVEL3 = {
    "road": 0,
    "parking": 1,
    "drivable fallback": 1,
    "sidewalk": 2,
    "rail track": 3,
    "non-drivable fallback": 3,
    "person": 4,
    "animal": 4,
    "rider": 5,
    "motorcycle": 6,
    "bicycle": 7,
    "autorickshaw": 8,
    "car": 9,
    "truck": 10,
    "bus": 11,
    "caravan": 12,
    "trailer": 12,
    "train": 12,
    "vehicle fallback": 12,
    "curb": 13,
    "wall": 14,
    "fence": 15,
    "guard rail": 16,
    "billboard": 17,
    "traffic sign": 18,
    "traffic light": 19,
    "pole": 20,
    "polegroup": 20,
    "obs-str-bar-fallback": 21,
    "building": 22,
    "bridge": 23,
    "tunnel": 23,
    "vegetation": 24,
    "sky": 25,
    "fallback background": 25,
    "unlabeled": _VOID,
    "ego vehicle": _VOID,
    "rectification border": _VOID,
    "out of roi": _VOID,
    "license plate": _VOID,
}
#: Occurs in the released files, is no official label, and is therefore not drawn by the official script.
_NOT_DRAWN = "ground"


class IDD(SegmentationDataset):
    """Reads the level-3 masks where the official script has written them, else draws the polygons as it would.

    The test split has no labels and so is none here.
    """

    reader = "idd"
    card = DatasetCard(
        title="India Driving Dataset, segmentation, parts I and II (26 level-3 classes)",
        url="https://idd.insaan.iiit.ac.in",
        license="IDD terms, research use",
        citation="Varma et al., WACV 2019",
        layout="leftImg8bit/{train,val}/SEQUENCE/*_leftImg8bit.{png,jpg}\n"
        "gtFine/{train,val}/SEQUENCE/*_gtFine_polygons.json, or *_gtFine_labellevel3Ids.png where the script has run\n"
        "or both in each of IDD_Segmentation/ and idd20kII/",
    )
    splits = ("train", "val")
    # the images of one part and the truth of the other: either both lie here, or neither
    markers = (("leftImg8bit", f"{_PARTS[0]}/leftImg8bit"), ("gtFine", f"{_PARTS[1]}/gtFine"))
    label_space = LabelSpace(
        "idd",
        (
            LabelClass("road", (0,), (128, 64, 128)),
            LabelClass("drivable fallback", (1,), (81, 0, 81)),
            LabelClass("sidewalk", (2,), (244, 35, 232)),
            LabelClass("non-drivable fallback", (3,), (152, 251, 152)),
            LabelClass("person", (4,), (220, 20, 60), thing=True),
            LabelClass("rider", (5,), (255, 0, 0), thing=True),
            LabelClass("motorcycle", (6,), (0, 0, 230), thing=True),
            LabelClass("bicycle", (7,), (119, 11, 32), thing=True),
            LabelClass("autorickshaw", (8,), (255, 204, 54), thing=True),
            LabelClass("car", (9,), (0, 0, 142), thing=True),
            LabelClass("truck", (10,), (0, 0, 70), thing=True),
            LabelClass("bus", (11,), (0, 60, 100), thing=True),
            LabelClass("vehicle fallback", (12,), (136, 143, 153), thing=True),
            LabelClass("curb", (13,), (220, 190, 40)),
            LabelClass("wall", (14,), (102, 102, 156)),
            LabelClass("fence", (15,), (190, 153, 153)),
            LabelClass("guard rail", (16,), (180, 165, 180)),
            LabelClass("billboard", (17,), (174, 64, 67)),
            LabelClass("traffic sign", (18,), (220, 220, 0)),
            LabelClass("traffic light", (19,), (250, 170, 30)),
            LabelClass("pole", (20,), (153, 153, 153)),
            LabelClass("obs-str-bar-fallback", (21,), (169, 187, 214)),
            LabelClass("building", (22,), (70, 70, 70)),
            LabelClass("bridge", (23,), (150, 100, 100)),
            LabelClass("vegetation", (24,), (107, 142, 35)),
            LabelClass("sky", (25,), (70, 130, 180)),
        ),
        ignore_ids=(_VOID,),
    )

    def list_pairs(self) -> Iterator[tuple[str, str]]:
        for part in [""] if self.listing.exists("gtFine") else [f"{part}/" for part in _PARTS]:
            yield from self._list_part(f"{part}leftImg8bit/{self.split}", f"{part}gtFine/{self.split}")

    def _list_part(self, images: str, masks: str) -> Iterable[tuple[str, str]]:
        pairs = list(self.listing.pairs(images, masks, ("_leftImg8bit.png", "_leftImg8bit.jpg"), (_POLYGONS,)))
        drawn = self.listing.stems(masks, (_DRAWN,))
        for image, polygons in pairs:
            stem = polygons[len(masks) + 1 : -len(_POLYGONS)]
            yield image, f"{masks}/{drawn[stem]}" if stem in drawn else polygons

    def read_raw(self, path: Path) -> NDArray[Any]:
        return _Annotation(path).draw() if path.suffix == ".json" else super().read_raw(path)

    def mask_size(self, path: Path) -> tuple[int, int]:
        return _Annotation(path).size if path.suffix == ".json" else super().mask_size(path)


class _Annotation:
    """The polygons of one image, read so that a missing or odd field is named.

    Raises:
        MultisegError: the file is missing, is no JSON, or says no size.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MultisegError(f"{path} does not exist.")
        self.path = path
        self.data = read_json(path)
        height, width = self._field(self.data, "imgHeight", int, ""), self._field(self.data, "imgWidth", int, "")
        if not 0 < height * width <= MAX_PIXELS or height < 0:
            raise MultisegError(f"{path}: imgWidth × imgHeight is {width}×{height}.")
        #: Height and width.
        self.size = (height, width)

    def draw(self) -> NDArray[np.uint8]:
        """Level-3 ids, each polygon over those before it. Shape: (H, W).

        Raises:
            MultisegError: a field is missing or odd, or a label is none of IDD's.
        """
        canvas = Image.new("L", self.size[::-1], _VOID)
        pen = ImageDraw.Draw(canvas)
        for place, entry in enumerate(self._field(self.data, "objects", list, "")):
            where = f"objects[{place}]."
            label = self._field(entry, "label", str, where)
            polygon = self._field(entry, "polygon", list, where)
            # the official script leaves these out
            if entry.get("deleted") or len(polygon) < 3 or label == _NOT_DRAWN:
                continue
            pen.polygon(self._points(polygon, where), fill=self._level3(label, where))
        return np.asarray(canvas)

    def _level3(self, label: str, where: str) -> int:
        # a group of cars is a "cargroup", but "polegroup" is a label of its own
        name = label if label in _LEVEL3 else label.removesuffix("group")
        if name not in _LEVEL3:
            raise MultisegError(f"{self.path}: {where}label '{label}' is none of IDD's; {did_you_mean(label, _LEVEL3)}")
        return _LEVEL3[name]

    def _points(self, polygon: list[Any], where: str) -> list[float]:
        try:
            points = np.array(polygon, np.float64)
        except (TypeError, ValueError, OverflowError):
            points = np.empty(0)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise MultisegError(f"{self.path}: {where}polygon is no list of points [x, y].")
        flat: list[float] = points.reshape(-1).tolist()
        return flat

    def _field(self, record: Any, key: str, kind: Any, where: str) -> Any:
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, kind):
            raise MultisegError(f"{self.path}: {where}{key} is missing or of the wrong type.")
        return value
