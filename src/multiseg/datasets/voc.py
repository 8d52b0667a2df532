"""Pascal VOC 2012: 2913 photographs with 20 kinds of objects, and 9118 more to train on by SBD.

Everingham, Eslami, Van Gool, Williams, Winn, Zisserman: "The Pascal visual object classes challenge: a retrospective",
IJCV 2015. SBD: Hariharan, Arbeláez, Bourdev, Maji, Malik: "Semantic contours from inverse detectors", ICCV 2011.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from multiseg.datasets.base import DatasetCard, SegmentationDataset, numbered_color, read_matlab
from multiseg.errors import EmptySplitError
from multiseg.label_space import LabelClass, LabelSpace

#: Where SBD's `dataset` folder may lie: within `VOC2012`, beside it, or beside `VOCdevkit`; lastly as mmsegmentation
#: has it.
SBD_FOLDERS = (
    "benchmark_RELEASE/dataset",
    "../benchmark_RELEASE/dataset",
    "../../benchmark_RELEASE/dataset",
    "../VOCaug/dataset",
)
#: SBD's masks as palette images, which others made and many copied.
CONVERTED = "SegmentationClassAug"

_LISTS = "ImageSets/Segmentation"

_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


class VOC(SegmentationDataset):
    """The test split has no public masks and so is none here. `trainaug` is what most papers train on: the images of
    VOC's train and of SBD, but those of VOC's val, 10,582 in all. VOC's own masks go before SBD's, which are coarser.
    """

    reader = "voc"
    card = DatasetCard(
        title="Pascal VOC 2012 segmentation (20 classes and background), with SBD as split trainaug",
        url="https://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        license="Flickr terms, research use",
        citation="Everingham et al., IJCV 2015; SBD: Hariharan et al., ICCV 2011",
        layout="VOCdevkit/VOC2012/JPEGImages/*.jpg\n"
        "VOCdevkit/VOC2012/SegmentationClass/*.png\n"
        "VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt\n"
        "for trainaug: VOCdevkit/VOC2012/SegmentationClassAug/*.png or benchmark_RELEASE/dataset/{cls/*.mat,*.txt}",
    )
    splits = ("train", "val", "trainaug")
    markers = ("JPEGImages", "SegmentationClass", _LISTS)
    label_space = LabelSpace(
        "voc",
        tuple(LabelClass(name, (raw,), numbered_color(raw), thing=raw > 0) for raw, name in enumerate(_NAMES)),
        ignore_ids=(255,),  # the border of every object
    )

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """As the archive unpacks it, also two levels down; where other years lie beside it, 2012 is meant."""
        for nested in ("VOC2012", "VOCdevkit/VOC2012"):
            if cls.missing_marker(root) is not None and cls.missing_marker(root / nested) is None:
                return root / nested
        return super().find_root(root)

    def list_pairs(self) -> Iterable[tuple[str, str]]:
        own = list(self._stems(f"{_LISTS}/{'train' if self.split == 'trainaug' else self.split}.txt"))
        masks = {stem: f"SegmentationClass/{stem}.png" for stem in own}
        if self.split == "trainaug":
            sbd = self.listing.first_of(SBD_FOLDERS)
            further = set(self._augmented_stems(sbd)) - masks.keys()
            if self.listing.exists(CONVERTED):
                masks |= {stem: f"{CONVERTED}/{stem}.png" for stem in further}
            elif sbd is not None:
                masks |= {stem: f"{sbd}/cls/{stem}.mat" for stem in further}
            else:
                raise EmptySplitError(f"split 'trainaug' needs SBD: {self.root} has no '{CONVERTED}', {_BESIDE}.")
        return ((f"JPEGImages/{stem}.jpg", masks[stem]) for stem in sorted(masks))

    def _augmented_stems(self, sbd: str | None) -> Iterator[str]:
        """The images of `trainaug`: as listed, else all that have a mask of SBD's but not those of VOC's val."""
        listed = self.listing.first_of(f"{_LISTS}/{name}.txt" for name in ("trainaug", "train_aug"))
        if listed is not None:
            yield from self._stems(listed)
            return
        evaluated = set(self._stems(f"{_LISTS}/val.txt"))
        if sbd is not None:
            candidates = [stem for name in ("train", "val") for stem in self._stems(f"{sbd}/{name}.txt")]
        else:
            candidates = [name.removesuffix(".png") for name in self.listing.names(CONVERTED) if name.endswith(".png")]
        yield from (stem for stem in candidates if stem not in evaluated)

    def _stems(self, path: str) -> Iterator[str]:
        """Of a list whose lines are `2007_000032` or `/JPEGImages/2007_000032.jpg /SegmentationClass/….png`."""
        return (PurePosixPath(line.split()[0]).stem for _, line in self.listing.lines(path))

    def read_raw(self, path: Path) -> NDArray[Any]:
        return read_matlab(path, "GTcls", "Segmentation") if path.suffix == ".mat" else super().read_raw(path)

    def mask_size(self, path: Path) -> tuple[int, int]:
        if path.suffix != ".mat":
            return super().mask_size(path)
        height, width = self.read_raw(path).shape
        return height, width


_BESIDE = "and there is no 'benchmark_RELEASE/dataset' in it, beside it or beside VOCdevkit"
