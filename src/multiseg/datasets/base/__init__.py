"""What the readers stand on: a reader imports from here, and from no other reader."""

from multiseg.datasets.base.dataset import DatasetCard, PanopticDataset, SegmentationDataset
from multiseg.datasets.base.decoding import MAX_PIXELS, image_size, pack_color, read_image, read_mask
from multiseg.datasets.base.index import cache_folder
from multiseg.datasets.base.listing import Arrays, Listing, PairTable, leaves_root, list_lines, read_json
from multiseg.datasets.base.registry import all_readers, find_reader
from multiseg.datasets.base.segments import CocoPanopticDataset, Description, PanopticFiles, SegmentTable, segments_of

__all__ = [
    "MAX_PIXELS",
    "Arrays",
    "CocoPanopticDataset",
    "DatasetCard",
    "Description",
    "Listing",
    "PairTable",
    "PanopticDataset",
    "PanopticFiles",
    "SegmentTable",
    "SegmentationDataset",
    "all_readers",
    "cache_folder",
    "find_reader",
    "image_size",
    "leaves_root",
    "list_lines",
    "pack_color",
    "read_image",
    "read_json",
    "read_mask",
    "segments_of",
]
