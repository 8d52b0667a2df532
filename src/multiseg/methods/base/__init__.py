"""What methods stand on: a method imports from here, and from no other method."""

from multiseg.methods.base.mask_method import MaskMethod
from multiseg.methods.base.pretraining_method import PretrainingMethod
from multiseg.methods.base.segmentation_method import Inference, SegmentationMethod
from multiseg.methods.base.union_tables import UnionTables

__all__ = ["Inference", "MaskMethod", "PretrainingMethod", "SegmentationMethod", "UnionTables"]
