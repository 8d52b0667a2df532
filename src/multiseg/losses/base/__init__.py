"""What the contrastive losses stand on: a loss imports from here, and from no other loss."""

from multiseg.losses.base.class_means import ClassMeans, class_means, merge_means, pixel_list
from multiseg.losses.base.loss_sum import LossSum
from multiseg.losses.base.partition import contrast, log_partition
from multiseg.losses.base.prototypes import Prototypes

__all__ = [
    "ClassMeans",
    "LossSum",
    "Prototypes",
    "class_means",
    "contrast",
    "log_partition",
    "merge_means",
    "pixel_list",
]
