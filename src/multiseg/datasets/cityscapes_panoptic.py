"""Cityscapes with fine annotations, panoptic: 5000 street scenes of 50 cities, 2048×1024, 8 things and 11 stuff.

Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: "The Cityscapes dataset for semantic urban
scene understanding", CVPR 2016. What is a segment follows the official `preparation/createPanopticImgs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.batch import Segments
from multiseg.datasets.base import DatasetCard, Description, PanopticDataset, segments_of
from multiseg.datasets.base.tables import cityscapes
from multiseg.label_space import IGNORE, LabelSpace

#: License plate has id -1, which sixteen bits spell so.
_LICENSE_PLATE = 65535


class CityscapesPanoptic(PanopticDataset):
    """Reads `instanceIds`, which every release contains; panoptic files exist only where the official script has run.

    The pixels of an object are `1000 * label id + number`. The bare label id of a thing marks a group of objects that
    nobody drew one by one, a crowd.
    """

    reader = "cityscapes_panoptic"
    card = DatasetCard(
        title="Cityscapes, fine annotations, panoptic (19 classes)",
        url="https://www.cityscapes-dataset.com",
        license="Cityscapes terms, non-commercial",
        citation="Cordts et al., CVPR 2016",
        layout="leftImg8bit/{train,val,test}/CITY/*_leftImg8bit.png\n"
        "gtFine/{train,val,test}/CITY/*_gtFine_instanceIds.png",
    )
    splits = ("train", "val", "test")
    withheld_splits = ("test",)
    markers = ("leftImg8bit", "gtFine")
    label_space = LabelSpace("cityscapes_panoptic", cityscapes.CLASSES, (*cityscapes.IGNORED, _LICENSE_PLATE))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        images, masks = f"leftImg8bit/{self.split}", f"gtFine/{self.split}"
        return self.listing.pairs(images, masks, ("_leftImg8bit.png",), ("_gtFine_instanceIds.png",))

    def read_segments(self, index: int) -> Segments:
        path = self.mask_path(index)

        def describe(values: NDArray[Any]) -> Description:
            single = (values >= 1000) & (values != _LICENSE_PLATE)
            classes = self.label_space.from_raw(np.where(single, values // 1000, values), where=str(path))
            return classes, (classes != IGNORE) & self.label_space.things[classes] & ~single

        return segments_of(self.read_raw(path), describe)
