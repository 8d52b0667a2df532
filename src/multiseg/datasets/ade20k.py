"""ADE20K as the MIT Scene Parsing Benchmark has it: 22,210 scenes indoors and outdoors, 150 classes.

Zhou, Zhao, Puig, Xiao, Fidler, Barriuso, Torralba: "Semantic understanding of scenes through the ADE20K dataset", IJCV
2019. The label table is that of the benchmark, github.com/CSAILVision/sceneparsing.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.datasets.base.tables import ade20k
from multiseg.label_space import LabelSpace

_FOLDERS = {"train": "training", "val": "validation"}


class ADE20K(SegmentationDataset):
    """The test images of the benchmark have no public masks and so are no split here."""

    reader = "ade20k"
    card = DatasetCard(
        title="ADE20K, MIT Scene Parsing Benchmark (150 classes)",
        url="https://github.com/CSAILVision/sceneparsing",
        license="images for non-commercial research, annotations BSD 3-Clause",
        citation="Zhou et al., IJCV 2019",
        layout="ADEChallengeData2016/images/{training,validation}/*.jpg\n"
        "ADEChallengeData2016/annotations/{training,validation}/*.png",
    )
    splits = ("train", "val")
    markers = ("images", "annotations", ("annotations/training", "annotations/validation"))
    label_space = LabelSpace("ade20k", ade20k.CLASSES, ignore_ids=(0,))  # 0 is what is none of the 150

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        folder = _FOLDERS[self.split]
        return self.listing.pairs(f"images/{folder}", f"annotations/{folder}", (".jpg",), (".png",))
