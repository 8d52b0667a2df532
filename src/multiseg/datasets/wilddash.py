"""WildDash 2: 4256 labelled driving scenes from all over the world, picked for what makes them hard, 1920×1080.

Zendel, Schörghuber, Rainer, Murschitz, Beleznai: "Unifying panoptic segmentation for autonomous driving", CVPR 2022.
The classes are the 26 that the benchmark evaluates. Which of the 81 annotated categories are part of which class, their
colours and what is a thing is the official label policy, `wd2_unified_label_policy.json`, mapping `wd2eval`; its names
are written as words. Release `wd_public_02` uses the categories up to 38 of the same numbering.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import PurePosixPath
from typing import ClassVar

from torchvision import tv_tensors

from multiseg.datasets.base import (
    Arrays,
    CocoPanopticDataset,
    DatasetCard,
    PanopticFiles,
    SegmentationDataset,
)
from multiseg.label_space import LabelClass, LabelSpace

_CLASSES = (
    LabelClass("ego vehicle", (1, 67), (0, 20, 50), thing=True),
    LabelClass("road", (7, 41, 43, 61, 64, 70, 74, 75, 76, 79), (128, 64, 128)),
    LabelClass("sidewalk", (8, 52, 65, 77, 80), (244, 35, 232)),
    LabelClass("building", (11,), (70, 70, 70)),
    LabelClass("wall", (12, 56), (102, 102, 156)),
    LabelClass("fence", (13,), (190, 153, 153)),
    LabelClass("guard rail", (14,), (180, 165, 180)),
    LabelClass("pole", (17, 18, 45, 46), (152, 152, 152), thing=True),
    LabelClass("traffic light", (19,), (250, 170, 30), thing=True),
    LabelClass("traffic sign", (20,), (220, 220, 0), thing=True),
    LabelClass("vegetation", (21,), (107, 142, 35)),
    LabelClass("terrain", (22, 78), (152, 251, 152)),
    LabelClass("sky", (23,), (70, 130, 180)),
    LabelClass("person", (24,), (220, 20, 60), thing=True),
    LabelClass("rider", (25, 47, 48, 49), (255, 0, 0), thing=True),
    LabelClass("car", (26,), (0, 0, 142), thing=True),
    LabelClass("truck", (27,), (0, 0, 70), thing=True),
    LabelClass("bus", (28,), (0, 60, 100), thing=True),
    LabelClass("on rails", (31,), (0, 80, 100), thing=True),
    LabelClass("motorcycle", (32, 58), (0, 0, 230), thing=True),
    LabelClass("bicycle", (33,), (119, 11, 32), thing=True),
    LabelClass("pickup", (34,), (40, 0, 100), thing=True),
    LabelClass("van", (35,), (0, 40, 120), thing=True),
    LabelClass("billboard", (36,), (174, 64, 67), thing=True),
    LabelClass("streetlight", (37,), (210, 170, 100), thing=True),
    LabelClass("road-marking", (38,), (196, 176, 128)),
)
#: Void, and categories that the benchmark counts as void: parking, rail track, bridge, tunnel, caravan, trailer, …
_IGNORED = (
    *(0, 2, 3, 4, 5, 6, 9, 10, 15, 16, 29, 30, 39, 40, 42, 44, 50, 51),
    *(53, 54, 55, 57, 59, 60, 62, 63, 66, 68, 69, 71, 72, 73),
)


def _split_of(image: str) -> str:
    """The labelled images come without a split, and RVC draws 80:20 by chance. Here a checksum of the name decides, so
    that an image stays in its split whatever else lies beside it.
    """
    return "val" if zlib.crc32(PurePosixPath(image).stem.encode()) % 5 == 0 else "train"


class WildDashPanoptic(CocoPanopticDataset):
    """One JSON holds both splits: every fifth image, by a checksum of its name, is one of `val`.

    Categories without objects that became part of a thing class are crowds, as in the official `remap_coco.py`.
    """

    reader = "wilddash_panoptic"
    card = DatasetCard(
        title="WildDash 2, panoptic (26 evaluated classes; val: a fifth of the images, drawn by name)",
        url="https://wilddash.cc",
        license="WildDash terms, non-commercial",
        citation="Zendel et al., CVPR 2022",
        layout="images/*.jpg\npanoptic.json\npanoptic/*.png",
    )
    splits = ("train", "val")
    markers = ("images", "panoptic.json", "panoptic")
    label_space = LabelSpace("wilddash_panoptic", _CLASSES, _IGNORED)
    #: Groups of poles, and mounts of dashcams.
    crowd_categories: ClassVar[frozenset[int]] = frozenset({18, 67})

    def panoptic_files(self) -> PanopticFiles:
        return PanopticFiles("panoptic.json", "panoptic", "images")

    def in_split(self, name: str) -> bool:
        return _split_of(name) == self.split


class WildDash(SegmentationDataset):
    """Reads `labels` where the release has them (`wd_public_02`), else the panoptic files (`wd_public_v2p0`).

    Every fifth image, by a checksum of its name, is one of `val`.
    """

    reader = "wilddash"
    card = DatasetCard(
        title="WildDash 2 (26 evaluated classes; val: a fifth of the images, drawn by name)",
        url=WildDashPanoptic.card.url,
        license=WildDashPanoptic.card.license,
        citation=WildDashPanoptic.card.citation,
        layout="images/*.jpg\nlabels/*.png, or panoptic.json and panoptic/*.png",
    )
    splits = WildDashPanoptic.splits
    markers = ("images", ("labels", "panoptic.json"))
    label_space = LabelSpace("wilddash", _CLASSES, _IGNORED)

    def use_index(self, arrays: Arrays) -> None:
        super().use_index(arrays)
        _ = self.panoptic  # here, once, rather than in every loading worker

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        if self.panoptic is not None:
            return self.panoptic.list_pairs()
        pairs = self.listing.pairs("images", "labels", (".jpg",), (".png",))
        return (pair for pair in pairs if _split_of(pair[0]) == self.split)

    def read_labels(self, index: int) -> tv_tensors.Mask:
        return super().read_labels(index) if self.panoptic is None else self.panoptic.read_labels(index)

    @cached_property
    def panoptic(self) -> WildDashPanoptic | None:
        """The same images in the same order with panoptic truth, where there is no other."""
        if self.listing.exists("labels"):
            return None
        self.listing.consult("panoptic.json")
        return WildDashPanoptic(self.root, self.split, self.name)
