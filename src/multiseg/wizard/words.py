"""What people call folders and files: words for images, masks and splits."""

from __future__ import annotations

import re

#: What splits are called, and how they are called here.
SPLITS = {
    "train": "train",
    "training": "train",
    "trainval": "trainval",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

#: Trained on first; what is not named here follows in alphabetical order.
SPLIT_ORDER = ("train", "trainval", "val", "test")

_IMAGES = "image images img imgs jpegimages jpeg photo photos picture pictures frame frames input rgb raw leftimg8bit"
_MASKS = (
    "mask masks label labels lbl lbls annotation annotations annot annots ann gt gtfine truth groundtruth seg segs "
    "segmentation segmentations segmentationclass semantic target targets labelids trainids ids id parsing l"
)
#: What lies beside masks and is none: renderings of them,
_RENDERED = "color colors colour colours colored colormap vis visual visualization overlay overlays preview blend"
#: and objects one by one, parts, other measurements.
_OTHER = (
    "instance instances inst instanceids object objects segmentationobject panoptic depth disparity edge edges "
    "boundary boundaries contour contours polygon polygons part parts skeleton pred prediction predictions"
)
IMAGES, MASKS, RENDERED, OTHER = (frozenset(words.split()) for words in (_IMAGES, _MASKS, _RENDERED, _OTHER))

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z0-9]+")


def words_of(text: str) -> set[str]:
    """The words of a path: whole names, and their parts between separators and capitals, in lower case."""
    names = re.split(r"[^A-Za-z0-9]+", text)
    return {word.lower() for word in [*names, *_TOKEN.findall(text)] if word.isalnum()}


def split_in(name: str) -> tuple[str, str] | None:
    """The split that a name of a folder or list speaks of: `train_images`, `images-val`, `trainannot`, `TestSet`.

    Returns:
        The name with NUL in place of that word, and the split; None where it speaks of none.
    """
    tokens = _TOKEN.findall(name)
    for place, token in enumerate(tokens):
        word = token.lower()
        for spelling, split in sorted(SPLITS.items(), key=lambda item: -len(item[0])):
            if word == spelling or (word.startswith(spelling) and word[len(spelling) :] in IMAGES | MASKS):
                rest = token[len(spelling) :]
                return "".join([*tokens[:place], "\0", rest, *tokens[place + 1 :]]), split
    return None
