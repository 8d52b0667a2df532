"""What the contrastive, the ranking and the mask losses stand on: a loss imports from here, and from no other loss."""

from multiseg.losses.base.class_means import ClassMeans, class_means, merge_means, pixel_list
from multiseg.losses.base.focal import ALPHA, GAMMA, FocalTerms, focal_terms
from multiseg.losses.base.loss_sum import LossSum
from multiseg.losses.base.mask_targets import MaskTargets
from multiseg.losses.base.partition import coded_contrast, contrast, log_partition
from multiseg.losses.base.prototypes import Prototypes
from multiseg.losses.base.triplets import Triplets

__all__ = [
    "ALPHA",
    "GAMMA",
    "ClassMeans",
    "FocalTerms",
    "LossSum",
    "MaskTargets",
    "Prototypes",
    "Triplets",
    "class_means",
    "coded_contrast",
    "contrast",
    "focal_terms",
    "log_partition",
    "merge_means",
    "pixel_list",
]
