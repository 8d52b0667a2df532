"""The label table of Cityscapes, shared by its semantic and its panoptic reader.

Ids, colours and what is a thing are those of the official `cityscapesscripts/helpers/labels.py`.
"""

from __future__ import annotations

from multiseg.label_space import LabelClass

#: The 19 evaluated classes in the order of their train ids.
CLASSES = (
    LabelClass("road", (7,), (128, 64, 128)),
    LabelClass("sidewalk", (8,), (244, 35, 232)),
    LabelClass("building", (11,), (70, 70, 70)),
    LabelClass("wall", (12,), (102, 102, 156)),
    LabelClass("fence", (13,), (190, 153, 153)),
    LabelClass("pole", (17,), (153, 153, 153)),
    LabelClass("traffic light", (19,), (250, 170, 30)),
    LabelClass("traffic sign", (20,), (220, 220, 0)),
    LabelClass("vegetation", (21,), (107, 142, 35)),
    LabelClass("terrain", (22,), (152, 251, 152)),
    LabelClass("sky", (23,), (70, 130, 180)),
    LabelClass("person", (24,), (220, 20, 60), thing=True),
    LabelClass("rider", (25,), (255, 0, 0), thing=True),
    LabelClass("car", (26,), (0, 0, 142), thing=True),
    LabelClass("truck", (27,), (0, 0, 70), thing=True),
    LabelClass("bus", (28,), (0, 60, 100), thing=True),
    LabelClass("train", (31,), (0, 80, 100), thing=True),
    LabelClass("motorcycle", (32,), (0, 0, 230), thing=True),
    LabelClass("bicycle", (33,), (119, 11, 32), thing=True),
)

#: What is not evaluated. Without license plate, whose id is -1: how that is written differs between the masks.
IGNORED = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
