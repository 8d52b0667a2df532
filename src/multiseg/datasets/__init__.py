"""Readers of segmentation datasets as they lie on disk. A module declares its own; `find_reader` finds them by name."""

from multiseg.datasets.base import DatasetCard, SegmentationDataset, all_readers, find_reader

__all__ = ["DatasetCard", "SegmentationDataset", "all_readers", "find_reader"]
