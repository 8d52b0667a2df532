"""A plain folder of images without masks: what a method that needs no labels is pretrained on besides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from multiseg.datasets.base import IMAGE_ENDINGS, DatasetCard, UnlabelledDataset
from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace


class Images(UnlabelledDataset):
    """Every image anywhere below a folder, in the order of their paths; hidden files and folders are passed over.

    Any folder is of this layout, so the reader is never guessed.
    """

    reader = "images"
    card = DatasetCard(
        title="One's own images without masks, for pretraining",
        url="",
        license="that of the images",
        citation="",
        layout="photos/**/*.{" + ",".join(ending[1:] for ending in IMAGE_ENDINGS) + "}",
    )
    splits = ("train",)
    markers = ()
    label_space = LabelSpace("images", ())

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """
        Raises:
            MultisegError: there is no such folder, or it is a described dataset, whose masks would pass for images.
        """
        found = super().find_root(root)
        if (found / "dataset.yaml").exists():
            raise MultisegError(
                f"{cls.reader}: {found} holds a dataset.yaml, and so perhaps masks that are no images to learn from: "
                "read it as `folder`, or name the folder of its images."
            )
        return found

    def list_images(self) -> Iterable[str]:
        return sorted(path for _, path in self.listing.files(".", IMAGE_ENDINGS))
