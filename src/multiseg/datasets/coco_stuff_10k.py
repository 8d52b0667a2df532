"""COCO-Stuff 10k, version 1.1: 10,000 images of COCO, 80 kinds of things and 91 of stuff.

Caesar, Uijlings, Ferrari: "COCO-Stuff: thing and stuff classes in context", CVPR 2018. The label table is the official
`cocostuff-labels.txt`; it has no colours. Version 1.0 has other ids and another file format.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from multiseg.datasets.base import DatasetCard, SegmentationDataset, leaves_root, read_matlab
from multiseg.datasets.base.tables.coco_stuff import coco_stuff_classes
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace


class COCOStuff10k(SegmentationDataset):
    """Reads the MATLAB files as they come. The official split trains on 9000 images and evaluates on 1000."""

    reader = "coco_stuff_10k"
    card = DatasetCard(
        title="COCO-Stuff 10k, version 1.1 (171 classes)",
        url="https://github.com/nightrome/cocostuff10k",
        license="annotations CC BY 4.0, images under Flickr terms",
        citation="Caesar et al., CVPR 2018",
        layout="images/*.jpg\nannotations/*.mat\nimageLists/{train,test}.txt",
    )
    splits = ("train", "test")
    markers = ("images", "annotations", "imageLists")
    label_space = LabelSpace("coco_stuff_10k", coco_stuff_classes(offset=0), ignore_ids=(0,))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        path = f"imageLists/{self.split}.txt"
        for number, stem in self.listing.lines(path):
            if leaves_root(stem):
                raise MultisegError(f"{self.root / path}, line {number}: '{stem}' lies outside the dataset.")
            yield f"images/{stem}.jpg", f"annotations/{stem}.mat"

    def read_raw(self, path: Path) -> NDArray[Any]:
        return read_matlab(path, "S")

    def mask_size(self, path: Path) -> tuple[int, int]:
        height, width = self.read_raw(path).shape
        return height, width
