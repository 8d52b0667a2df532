"""What the readers stand on: a reader imports from here, and from no other reader."""

from multiseg.datasets.base.colors import numbered_color
from multiseg.datasets.base.dataset import (
    DatasetCard,
    PanopticDataset,
    SegmentationDataset,
    StoredSample,
    UnlabelledDataset,
)
from multiseg.datasets.base.decoding import (
    IMAGE_ENDINGS,
    MAX_PIXELS,
    SIDEWAYS,
    ColoredMaskError,
    ImageHeader,
    StoredImage,
    image_header,
    image_size,
    pack_color,
    read_image,
    read_mask,
)
from multiseg.datasets.base.listing import Arrays, Listing, PairTable, Stamp, leaves_root, list_lines, read_json, stamp
from multiseg.datasets.base.lists import FilesByName, listed_pairs
from multiseg.datasets.base.matlab import read_matlab
from multiseg.datasets.base.registry import all_readers, find_reader
from multiseg.datasets.base.segments import (
    CocoPanopticDataset,
    Description,
    PanopticFiles,
    PanopticIndex,
    SegmentTable,
    segments_of,
)
from multiseg.datasets.base.shares import Share, draw

__all__ = [
    "IMAGE_ENDINGS",
    "MAX_PIXELS",
    "SIDEWAYS",
    "Arrays",
    "CocoPanopticDataset",
    "ColoredMaskError",
    "DatasetCard",
    "Description",
    "FilesByName",
    "ImageHeader",
    "Listing",
    "PairTable",
    "PanopticDataset",
    "PanopticFiles",
    "PanopticIndex",
    "SegmentTable",
    "SegmentationDataset",
    "Share",
    "Stamp",
    "StoredImage",
    "StoredSample",
    "UnlabelledDataset",
    "all_readers",
    "draw",
    "find_reader",
    "image_header",
    "image_size",
    "leaves_root",
    "list_lines",
    "listed_pairs",
    "numbered_color",
    "pack_color",
    "read_image",
    "read_json",
    "read_mask",
    "read_matlab",
    "segments_of",
    "stamp",
]
