"""COCO-Stuff: the 123,287 images of COCO 2017 with 80 kinds of things and 91 of stuff, in one mask an image.

Caesar, Uijlings, Ferrari: "COCO-Stuff: thing and stuff classes in context", CVPR 2018. The label table is the official
`labels.txt`, from whose ids the masks ("pixel maps") subtract one; it has no colours.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiseg.datasets.base import DatasetCard, SegmentationDataset
from multiseg.datasets.base.tables.coco_stuff import coco_stuff_classes
from multiseg.errors import EmptySplitError, MultisegError
from multiseg.label_space import LabelSpace

#: Where the masks' archive may have been unpacked, and where the official instructions unpack it.
_MASKS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")


class COCOStuff(SegmentationDataset):
    """Things and stuff in one mask, from `stuffthingmaps_trainval2017.zip`."""

    reader = "coco_stuff"
    card = DatasetCard(
        title="COCO-Stuff 164k (171 classes)",
        url="https://github.com/nightrome/cocostuff",
        license="annotations CC BY 4.0, images under Flickr terms",
        citation="Caesar et al., CVPR 2018",
        layout="{train,val}2017/*.jpg, or the same in images/\n"
        "stuffthingmaps/{train,val}2017/*.png, or the same in annotations/",
    )
    splits = ("train", "val")
    markers = (
        ("val2017", "train2017", "images/val2017", "images/train2017"),
        # any copy of COCO has a folder "annotations"
        ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations/val2017", "annotations/train2017"),
    )
    label_space = LabelSpace("coco_stuff", coco_stuff_classes(offset=-1), ignore_ids=(255,))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        name = f"{self.split}2017"
        images = self.listing.first_of((name, f"images/{name}"))
        masks = self.listing.first_of(f"{folder}/{name}" for folder in _MASKS)
        if images is None:
            raise EmptySplitError(f"{self.root} has no folder {name} or images/{name}.")
        if masks is None:
            raise MultisegError(f"{self.root} has no folder {name} of masks in {', '.join(_MASKS)}.")
        image_of = self.listing.stems(images, (".jpg",))
        # mmsegmentation writes its own numbering beside the official one
        mask_of = self.listing.stems(masks, (".png",), but_not=("_labeltrainids.png",))
        for stem in sorted(image_of.keys() | mask_of.keys()):
            yield f"{images}/{image_of.get(stem, stem + '.jpg')}", f"{masks}/{mask_of.get(stem, stem + '.png')}"
