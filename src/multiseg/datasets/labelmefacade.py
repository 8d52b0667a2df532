"""LabelMeFacade: 945 photographs of facades from LabelMe, 8 classes, coarse polygons.

Fröhlich, Rodner, Denzler: "A fast approach for pixelwise labeling of facade images", ICPR 2010.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import ClassVar

from multiseg.datasets.base import DatasetCard, SegmentationDataset, leaves_root, pack_color
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace


class LabelMeFacade(SegmentationDataset):
    """The official split, which trains on the 100 images of `train.txt`."""

    reader = "labelmefacade"
    card = DatasetCard(
        title="LabelMeFacade",
        url="https://github.com/cvjena/labelmefacade",
        license="LabelMe terms, research use",
        citation="Fröhlich et al., ICPR 2010",
        layout="labelmefacade/images/*.jpg\nlabelmefacade/labels/*.png\nlabelmefacade/{train,test}.txt",
    )
    splits = ("train", "test")
    markers = ("images", "labels", "train.txt", "test.txt")
    masks_are_colors = True
    label_space = LabelSpace(
        "labelmefacade",
        tuple(
            LabelClass(name, (pack_color(color),), color, thing=name == "car")
            for name, color in (
                ("building", (128, 0, 0)),
                ("car", (128, 0, 128)),
                ("door", (128, 128, 0)),
                ("pavement", (128, 128, 128)),
                ("road", (128, 64, 0)),
                ("sky", (0, 128, 128)),
                ("vegetation", (0, 128, 0)),
                ("window", (0, 0, 128)),
            )
        ),
        ignore_ids=(0,),  # void is black
    )
    #: Which list each split reads.
    list_files: ClassVar[dict[str, str]] = {"train": "train.txt", "test": "test.txt"}

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        list_path = self.root / self.list_files[self.split]
        for number, image in self.listing.lines(self.list_files[self.split]):
            if leaves_root(image):
                raise MultisegError(f"{list_path}, line {number}: '{image}' lies outside the dataset.")
            yield image, f"labels/{PurePosixPath(image).stem}.png"


class LabelMeFacadeSwapped(LabelMeFacade):
    """Trains on the 845 images of `test.txt`, evaluates on the 100 of `train.txt`: more useful beside other data."""

    reader = "labelmefacade_swapped"
    splits = ("train", "val")
    label_space = LabelMeFacade.label_space.renamed("labelmefacade_swapped")
    list_files: ClassVar[dict[str, str]] = {"train": "test.txt", "val": "train.txt"}
