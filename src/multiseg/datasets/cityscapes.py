"""Cityscapes with fine annotations: 5000 street scenes of 50 cities, 2048×1024, 19 evaluated classes.

Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: "The Cityscapes dataset for semantic urban
scene understanding", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.datasets.base.tables import cityscapes
from multiseg.label_space import LabelSpace


class Cityscapes(SegmentationDataset):
    """Reads `labelIds`, which every release contains; `labelTrainIds` exist only where the official script has run."""

    reader = "cityscapes"
    card = DatasetCard(
        title="Cityscapes, fine annotations (19 classes)",
        url="https://www.cityscapes-dataset.com",
        license="Cityscapes terms, non-commercial",
        citation="Cordts et al., CVPR 2016",
        layout="leftImg8bit/{train,val,test}/CITY/*_leftImg8bit.png\ngtFine/{train,val,test}/CITY/*_gtFine_labelIds.png",
    )
    splits = ("train", "val", "test")
    withheld_splits = ("test",)
    markers = ("leftImg8bit", "gtFine")
    # License plate has id -1. The official script leaves it out; other tools write it as 255 into eight bits.
    label_space = LabelSpace("cityscapes", cityscapes.CLASSES, (*cityscapes.IGNORED, 255))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        images, masks = f"leftImg8bit/{self.split}", f"gtFine/{self.split}"
        return self.listing.pairs(images, masks, ("_leftImg8bit.png",), ("_gtFine_labelIds.png",))
