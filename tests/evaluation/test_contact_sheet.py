"""A contact sheet is measured in the picture itself."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from multiseg.batch import Sample
from multiseg.evaluation.contact_sheet import contact_sheet
from multiseg.label_space import LabelClass, LabelSpace

GREY = 120
COLORS = ((250, 0, 0), (0, 200, 0), (0, 0, 240))
SPACE = LabelSpace("town", tuple(LabelClass(f"class {p}", (p,), color) for p, color in enumerate(COLORS)))


def sample(label=0, size=(60, 80), key="a/b"):
    image = torch.full((3, *size), GREY, dtype=torch.uint8)
    labels = torch.full(size, label, dtype=torch.int16)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(labels), SPACE, key)


def blended(label):
    return np.round(0.35 * GREY + 0.65 * np.array(COLORS[label])).astype(np.uint8)


def boxes(sheet, color):
    """Left, top, width and height of the rectangles of a colour, row by row."""
    here = (np.asarray(sheet) == color).all(-1)
    found = []
    while here.any():
        top, left = np.argwhere(here)[0]
        width = np.argmin(np.append(here[top, left:], False))
        height = np.argmin(np.append(here[top:, left], False))
        found.append((left, top, width, height))
        here[top : top + height, left : left + width] = False
    return [box for box in found if box[2] > 10 and box[3] > 10]


@pytest.mark.parametrize("width", [1200, 2000])
def test_each_image_stands_beside_its_labels(width):
    sheet = contact_sheet([sample(label) for label in (0, 1, 2)], SPACE, "town/train", "3 images", width)
    assert sheet.width == width
    images = boxes(sheet, (GREY,) * 3)
    assert len(images) == 3
    for label, image in enumerate(images):
        (overlaid,) = boxes(sheet, blended(label))
        assert overlaid[1:] == image[1:]
        assert 0 < overlaid[0] - (image[0] + image[2]) < 6
        assert image[2] / image[3] == pytest.approx(80 / 60, rel=0.02)


def test_rows_are_as_wide_as_the_sheet_and_of_one_height_each():
    sizes = [(60, 80), (80, 60), (60, 60), (50, 100), (60, 80), (100, 50), (60, 90), (60, 80), (40, 80)]
    sheet = contact_sheet([sample(0, size) for size in sizes], SPACE, "t")
    images, overlays = boxes(sheet, (GREY,) * 3), boxes(sheet, blended(0))
    assert len(images) == len(overlays) == len(sizes)
    rows = sorted({top for _, top, *_ in images})
    assert len(rows) >= 3
    for top in rows[:-1]:
        assert len({height for _, y, _, height in images if y == top}) == 1
        right = max(left + width for left, y, width, _ in overlays if y == top)
        assert right == pytest.approx(2000 - 24, abs=12)
    for (_, _, width, height), size in zip(images, sizes, strict=True):
        assert width / height == pytest.approx(size[1] / size[0], rel=0.02)


def test_a_last_row_is_not_blown_up():
    sheet = contact_sheet([sample() for _ in range(4)], SPACE, "t")
    assert len({(width, height) for _, _, width, height in boxes(sheet, (GREY,) * 3)}) == 1
    alone = contact_sheet([sample()], SPACE, "t")
    (box,) = boxes(alone, (GREY,) * 3)
    assert box[3] < 300


def test_what_is_ignored_has_no_colour():
    sheet = contact_sheet([sample(-1)], SPACE, "t")
    assert len(boxes(sheet, (GREY,) * 3)) == 2  # the image, and it again
    assert not any((np.asarray(sheet) == color).all(-1).any() for color in COLORS)  # and an empty legend


def test_the_legend_names_the_classes_that_are_there_and_fits():
    def swatches(sheet):
        return [len(boxes(sheet, color)) for color in COLORS]

    assert swatches(contact_sheet([sample(0), sample(2)], SPACE, "t")) == [1, 0, 1]
    many = LabelSpace("s", tuple(LabelClass(f"a name {p}" * 3, (p,), (p, 99, 99)) for p in range(200)))
    labels = tv_tensors.Mask(torch.arange(200, dtype=torch.int16).repeat(50, 1))
    image = tv_tensors.Image(torch.zeros(3, 50, 200, dtype=torch.uint8))
    sheet = contact_sheet([Sample(image, labels, many, "k")], many, "t", width=1500)
    assert sheet.width == 1500
    picture = np.asarray(sheet)
    swatch_sizes = np.bincount(picture[(picture[..., 1:] == 99).all(-1), 0], minlength=200)
    assert swatch_sizes[:200].min() > 100


def test_outlines_are_one_pixel_wide_however_large_the_image():
    large = sample(0, (1200, 1600))
    large.labels[:, 800:] = 1
    sheet = np.asarray(contact_sheet([large], SPACE, "t"))
    (left,) = boxes(sheet, blended(0))
    (right,) = boxes(sheet, blended(1))
    assert right[0] - (left[0] + left[2]) == 1


def test_keys_of_any_length_are_captions():
    keys = ["", "x", "a/very/long/" * 40 + "end", "ünïcode/図"]
    sheet = contact_sheet([sample(key=key) for key in keys], SPACE, "t")
    assert len(boxes(sheet, (GREY,) * 3)) == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3, 500)])
def test_images_of_odd_shapes_fit(size):
    assert contact_sheet([sample(0, size), sample()], SPACE, "t").width == 2000


def test_samples_are_read_as_rows_fill():
    read = []

    def samples():
        for number in range(7):
            read.append(number)
            yield sample()

    contact_sheet(samples(), SPACE, "t")
    assert read == list(range(7))
    with pytest.raises(ValueError, match="needs a sample"):
        contact_sheet([], SPACE, "t")


def test_without_classes_each_image_stands_alone():
    photos = LabelSpace("photos", ())
    sizes = [(60, 80)] * 9
    sheet = contact_sheet([sample(-1, size) for size in sizes], photos, "photos/train", "9 images, without labels.")
    images = boxes(sheet, (GREY,) * 3)
    assert len(images) == len(sizes)
    top = images[0][1]
    assert max(left + width for left, y, width, _ in images if y == top) == pytest.approx(2000 - 24, abs=12)
    assert all(width / height == pytest.approx(80 / 60, rel=0.02) for *_, width, height in images)
