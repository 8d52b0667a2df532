"""IDD-Lite: driving on Indian roads at 320×227, the seven coarsest classes of IDD.

Varma, Subramanian, Namboodiri, Chandraker, Jawahar: "IDD: a dataset for exploring problems of autonomous navigation in
unconstrained environments", WACV 2019; the Lite release: Mishra et al., NCVPRIPG 2019.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.label_space import LabelClass, LabelSpace


class IDDLite(SegmentationDataset):
    """The test split has no masks and so is none here. Each colour is that of the group's first label in full IDD."""

    reader = "idd_lite"
    card = DatasetCard(
        title="India Driving Dataset Lite (level-1 labels)",
        url="https://idd.insaan.iiit.ac.in",
        license="IDD terms, research use",
        citation="Varma et al., WACV 2019; Mishra et al., NCVPRIPG 2019",
        layout="idd20k_lite/leftImg8bit/{train,val}/SEQUENCE/*_image.jpg\n"
        "idd20k_lite/gtFine/{train,val}/SEQUENCE/*_label.png",
    )
    splits = ("train", "val")
    markers = ("leftImg8bit", "gtFine")
    label_space = LabelSpace(
        "idd_lite",
        (
            LabelClass("drivable", (0,), (128, 64, 128)),
            LabelClass("non-drivable", (1,), (244, 35, 232)),
            LabelClass("living things", (2,), (220, 20, 60), thing=True),
            LabelClass("vehicles", (3,), (0, 0, 230), thing=True),
            LabelClass("roadside objects", (4,), (220, 190, 40)),
            LabelClass("far objects", (5,), (70, 70, 70)),
            LabelClass("sky", (6,), (70, 130, 180)),
        ),
        ignore_ids=(255,),
    )

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        images, masks = f"leftImg8bit/{self.split}", f"gtFine/{self.split}"
        return self.listing.pairs(images, masks, ("_image.jpg",), ("_label.png",))
