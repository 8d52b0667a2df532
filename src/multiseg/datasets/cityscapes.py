"""Cityscapes with fine annotations: 5000 street scenes of 50 cities, 2048×1024, 19 evaluated classes.

Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: "The Cityscapes dataset for semantic urban
scene understanding", CVPR 2016. Ids and colours are those of the official `cityscapesscripts/helpers/labels.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.label_space import LabelClass, LabelSpace


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
    label_space = LabelSpace(
        "cityscapes",
        (
            LabelClass("road", (7,), (128, 64, 128)),
            LabelClass("sidewalk", (8,), (244, 35, 232)),
            LabelClass("building", (11,), (70, 70, 70)),
            LabelClass("wall", (12,), (102, 102, 156)),
            LabelClass("fence", (13,), (190, 153, 153)),
            LabelClass("pole", (17,), (153, 153, 153)),
            LabelClass("traffic light", (19,), (250, 170, 30)),
            LabelClass("traffic sign", (20,), (220, 220, 0)),
            LabelClass("vegetation", (21,), (107, 142, 35)),
            LabelClass("terrain", (22,), (152, 251, 152)),
            LabelClass("sky", (23,), (70, 130, 180)),
            LabelClass("person", (24,), (220, 20, 60), thing=True),
            LabelClass("rider", (25,), (255, 0, 0), thing=True),
            LabelClass("car", (26,), (0, 0, 142), thing=True),
            LabelClass("truck", (27,), (0, 0, 70), thing=True),
            LabelClass("bus", (28,), (0, 60, 100), thing=True),
            LabelClass("train", (31,), (0, 80, 100), thing=True),
            LabelClass("motorcycle", (32,), (0, 0, 230), thing=True),
            LabelClass("bicycle", (33,), (119, 11, 32), thing=True),
        ),
        # License plate has id -1. The official script leaves it out; other tools write it as 255 into eight bits.
        ignore_ids=(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255),
    )

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        images, masks = f"leftImg8bit/{self.split}", f"gtFine/{self.split}"
        return self.listing.pairs(images, masks, ("_leftImg8bit.png",), ("_gtFine_labelIds.png",))
