"""Parts of images read from their files, against the whole images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from multiseg.datasets import find_reader
from multiseg.datasets.base import StoredImage, read_image
from multiseg.errors import MultisegError
from multiseg.loading.datamodule import DrawnSamples
from multiseg.loading.sampling import Draw
from multiseg.loading.transforms import Pipeline, seeded

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 84, 3), np.uint8)
BOXES = [(0, 60, 0, 84), (0, 1, 0, 1), (59, 60, 83, 84), (7, 31, 12, 50)]


def stored(folder: Path, ending: str, mode: str = "RGB", orientation: int = 1) -> Path:
    path = folder / f"picture{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(PICTURE)
    image = image if mode in ("RGB", "I;16") else image.convert(mode)
    image.save(path, **({"exif": exif} if orientation != 1 else {}))
    return path


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    ("ending", "mode", "orientation"),
    [
        (".png", "RGB", 1),
        (".png", "RGBA", 1),
        (".png", "P", 1),
        (".png", "L", 1),
        (".png", "1", 1),
        (".png", "I;16", 1),
        (".png", "RGB", 6),
        (".png", "RGB", 3),
        (".jpg", "RGB", 1),
        (".jpg", "RGB", 8),
        (".bmp", "RGB", 1),
        (".tif", "RGB", 1),
    ],
)
def test_a_part_is_the_same_part_of_the_whole(tmp_path, ending, mode, orientation, box):
    path = stored(tmp_path, ending, mode, orientation)
    top, bottom, left, right = box = box if orientation not in (6, 8) else (*box[2:], *box[:2])
    whole, image = read_image(path), StoredImage(path)
    assert image.shape == whole.shape == (3, *((84, 60) if orientation in (6, 8) else (60, 84)))
    part = image.read(box)
    assert isinstance(part, tv_tensors.Image) and part.dtype == torch.uint8
    assert torch.equal(part, whole[:, top:bottom, left:right])


def test_of_a_png_no_row_below_the_part_is_decoded(tmp_path):
    path = stored(tmp_path, ".png")
    whole = read_image(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    image = StoredImage(path)
    assert torch.equal(image.read((5, 30, 0, 84)), whole[:, 5:30])
    for damaged in (None, (5, 60, 0, 84)):
        with pytest.raises(MultisegError, match=r"picture.png cannot be decoded"):
            image.read(damaged)


def test_a_training_sample_is_what_the_whole_image_would_have_become(data_roots):
    dataset = find_reader("folder")(data_roots["town"], "train")
    transform = Pipeline(long_side=None, crop=(24, 32), scale=(0.5, 2.0), max_class_share=0.9).training()
    samples = DrawnSamples([dataset], [transform])
    for seed in range(12):
        drawn, whole = samples[Draw(0, seed % len(dataset), seed)], dataset[seed % len(dataset)]
        with seeded(seed):
            image, labels = transform(whole.image, whole.labels)
        assert torch.equal(drawn.image, image) and torch.equal(drawn.labels, labels)
        assert (drawn.key, drawn.space) == (whole.key, whole.space)
