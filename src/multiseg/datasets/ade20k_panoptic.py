"""ADE20K-Panoptic: 22,210 scenes, 100 kinds of things and 50 of stuff, from the two official sets of masks.

The scene parsing masks give the stuff and the masks of the Places Challenge 2017 for instance segmentation the things,
which lie over the stuff. A pixel of a thing class without an instance is unlabelled. This is what Cheng, Schwing,
Kirillov evaluate on ("Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021), and other
papers since. Dataset: Zhou et al., "Semantic understanding of scenes through the ADE20K dataset", IJCV 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multiseg.batch import Segments
from multiseg.datasets.base import DatasetCard, Description, PanopticDataset, read_mask, segments_of
from multiseg.datasets.base.tables import ade20k
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace, UnknownIdsError

_FOLDERS = {"train": "training", "val": "validation"}

#: The class of each thing of the instance masks, whose ids begin at 1. Shape: (101,).
_CLASS_OF_INSTANCE = np.array([IGNORE, *(place for place, entry in enumerate(ade20k.CLASSES) if entry.thing)], np.int16)

_UNKNOWN = IGNORE - 1

#: The class of each stuff id of the scene parsing masks; things are left to the instance masks. Shape: (256,).
_CLASS_OF_STUFF = np.full(256, _UNKNOWN, np.int16)
_CLASS_OF_STUFF[: 1 + len(ade20k.CLASSES)] = [
    IGNORE,
    *(IGNORE if entry.thing else place for place, entry in enumerate(ade20k.CLASSES)),
]


class ADE20KPanoptic(PanopticDataset):
    """Reads the masks as they are; the JSON and PNG files that Mask2Former makes of them are read by `panoptic`."""

    reader = "ade20k_panoptic"
    card = DatasetCard(
        title="ADE20K-Panoptic (100 thing and 50 stuff classes)",
        url="https://github.com/CSAILVision/placeschallenge",
        license="images for non-commercial research, annotations BSD 3-Clause",
        citation="Zhou et al., IJCV 2019",
        layout="ADEChallengeData2016/images/{training,validation}/*.jpg\n"
        "ADEChallengeData2016/annotations/{training,validation}/*.png\n"
        "ADEChallengeData2016/annotations_instance/{training,validation}/*.png",
    )
    splits = ("train", "val")
    markers = ("images", "annotations", "annotations_instance")
    label_space = LabelSpace("ade20k_panoptic", ade20k.CLASSES, ignore_ids=(0,))

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        folder = _FOLDERS[self.split]
        return self.listing.pairs(f"images/{folder}", f"annotations/{folder}", (".jpg",), (".png",))

    def instance_path(self, index: int) -> Path:
        """The mask of instances that belongs to a scene parsing mask: red is the class, green the instance."""
        return self.root / self.pairs[index][1].replace("annotations/", "annotations_instance/", 1)

    def missing_files(self) -> tuple[list[int], list[int]]:
        images, masks = super().missing_files()
        names = set(self.listing.names(f"annotations_instance/{_FOLDERS[self.split]}"))
        without = {index for index in range(len(self)) if self.instance_path(index).name not in names}
        return images, sorted(without.union(masks))

    def read_segments(self, index: int) -> Segments:
        path, instance_path = self.mask_path(index), self.instance_path(index)
        # red + 256 green; where green is 0 there is no instance, whatever red says
        stuff, instances = read_mask(path, as_colors=False), read_mask(instance_path, as_colors=True) & 0xFFFF
        if stuff.shape != instances.shape:
            (height, width), (other_height, other_width) = stuff.shape, instances.shape
            raise MultisegError(f"{instance_path} is {other_width}×{other_height}, but {path} is {width}×{height}.")
        raw = np.where(instances > 255, instances, stuff)

        def describe(values: NDArray[np.int32]) -> Description:
            is_thing = values > 255
            red = values & 255
            classes = np.where(
                is_thing,
                _CLASS_OF_INSTANCE[red.clip(max=len(_CLASS_OF_INSTANCE) - 1)],
                _CLASS_OF_STUFF[red],
            )
            wrong_thing = is_thing & ((red == 0) | (red >= len(_CLASS_OF_INSTANCE)))
            for wrong, file in ((wrong_thing, instance_path), (classes == _UNKNOWN, path)):
                if wrong.any():
                    ids = np.unique(red[wrong]).tolist()
                    raise UnknownIdsError(f"{file}: id {ids[0]} is no class of '{self.label_space.name}'.", ids)
            return classes, np.zeros(len(values), np.bool_)

        return segments_of(raw, describe)
