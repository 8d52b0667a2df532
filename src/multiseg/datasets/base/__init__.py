"""What the readers stand on: a reader imports from here, and from no other reader."""

from multiseg.datasets.base.colors import numbered_color
from multiseg.datasets.base.dataset import DatasetCard, PanopticDataset, SegmentationDataset, UnlabelledDataset
from multiseg.datasets.base.decoding import (
    IMAGE_ENDINGS,
    IMAGE_FORMATS,
    MAX_PIXELS,
    SIDEWAYS,
    ColoredMaskError,
    ImageHeader,
    Source,
    StoredFile,
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
from multiseg.datasets.base.shards import (
    Item,
    Shards,
    ShardWriter,
    is_vacant,
    local_root,
    read_files,
    read_manifest,
    upload,
    url_of,
)
from multiseg.datasets.base.shares import Share, draw

__all__ = [
    "IMAGE_ENDINGS",
    "IMAGE_FORMATS",
    "MAX_PIXELS",
    "SIDEWAYS",
    "Arrays",
    "CocoPanopticDataset",
    "ColoredMaskError",
    "DatasetCard",
    "Description",
    "FilesByName",
    "ImageHeader",
    "Item",
    "Listing",
    "PairTable",
    "PanopticDataset",
    "PanopticFiles",
    "PanopticIndex",
    "SegmentTable",
    "SegmentationDataset",
    "ShardWriter",
    "Shards",
    "Share",
    "Source",
    "Stamp",
    "StoredFile",
    "UnlabelledDataset",
    "all_readers",
    "draw",
    "find_reader",
    "image_header",
    "image_size",
    "is_vacant",
    "leaves_root",
    "list_lines",
    "listed_pairs",
    "local_root",
    "numbered_color",
    "pack_color",
    "read_files",
    "read_image",
    "read_json",
    "read_manifest",
    "read_mask",
    "read_matlab",
    "segments_of",
    "stamp",
    "upload",
    "url_of",
]
