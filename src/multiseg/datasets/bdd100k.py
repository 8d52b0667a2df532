"""BDD100K, semantic segmentation: 10,000 dashcam pictures of the United States, 1280×720, 8,000 of them labelled.

Yu, Chen, Wang, Xian, Chen, Liu, Madhavan, Darrell: "BDD100K: a diverse driving dataset for heterogeneous multitask
learning", CVPR 2020. Ids and colours are those of the official `bdd100k/label/label.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.label_space import LabelClass, LabelSpace

#: Folders of images and masks, and the ending of a mask, in today's release and in that of 2018.
_RELEASES = (
    ("images/10k", "labels/sem_seg/masks", ".png"),
    ("seg/images", "seg/labels", "_train_id.png"),
)


class BDD100K(SegmentationDataset):
    """Masks hold Cityscapes' train ids, so they start at 0 and 255 is ignored. The masks of the test split are kept
    back, and so it is none here.
    """

    reader = "bdd100k"
    card = DatasetCard(
        title="BDD100K semantic segmentation (10k images, 19 classes)",
        url="https://www.bdd100k.com",
        license="BDD100K terms, research and not-for-profit",
        citation="Yu et al., CVPR 2020",
        layout="bdd100k/images/10k/{train,val}/*.jpg\nbdd100k/labels/sem_seg/masks/{train,val}/*.png\n"
        "or the release of 2018: bdd100k/seg/images/{train,val}/*.jpg, seg/labels/{train,val}/*_train_id.png",
    )
    splits = ("train", "val")
    markers = (("images/10k", "seg/images"), ("labels/sem_seg/masks", "seg/labels"))
    label_space = LabelSpace(
        "bdd100k",
        (
            LabelClass("road", (0,), (128, 64, 128)),
            LabelClass("sidewalk", (1,), (244, 35, 232)),
            LabelClass("building", (2,), (70, 70, 70)),
            LabelClass("wall", (3,), (102, 102, 156)),
            LabelClass("fence", (4,), (190, 153, 153)),
            LabelClass("pole", (5,), (153, 153, 153)),
            LabelClass("traffic light", (6,), (250, 170, 30)),
            LabelClass("traffic sign", (7,), (220, 220, 0)),
            LabelClass("vegetation", (8,), (107, 142, 35)),
            LabelClass("terrain", (9,), (152, 251, 152)),
            LabelClass("sky", (10,), (70, 130, 180)),
            LabelClass("person", (11,), (220, 20, 60), thing=True),
            LabelClass("rider", (12,), (255, 0, 0), thing=True),
            LabelClass("car", (13,), (0, 0, 142), thing=True),
            LabelClass("truck", (14,), (0, 0, 70), thing=True),
            LabelClass("bus", (15,), (0, 60, 100), thing=True),
            LabelClass("train", (16,), (0, 80, 100), thing=True),
            LabelClass("motorcycle", (17,), (0, 0, 230), thing=True),
            LabelClass("bicycle", (18,), (119, 11, 32), thing=True),
        ),
        ignore_ids=(255,),
    )

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        images, masks, ending = _RELEASES[0] if self.listing.exists("images/10k") else _RELEASES[1]
        return self.listing.pairs(f"{images}/{self.split}", f"{masks}/{self.split}", (".jpg",), (ending,))
