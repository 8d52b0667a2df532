import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.evaluation.overlays import legend, overlay, panel, panoptic_overlay, segment_colors, with_legend
from multiseg.label_space import IGNORE, LabelClass, LabelSpace

SPACE = LabelSpace(
    "toy",
    (
        LabelClass("road", (0,), (200, 0, 0)),
        LabelClass("sky", (1,), (0, 0, 255)),
        LabelClass("never seen", (2,), (0, 255, 0)),
    ),
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


@pytest.fixture
def labels():
    labels = np.zeros((12, 17), np.int16)
    labels[:, 9:] = 1
    labels[4:7, 3:14] = IGNORE
    return labels


@pytest.mark.parametrize("outline", [True, False])
def test_ignored_pixels_are_untouched(image, labels, outline):
    picture = np.asarray(overlay(image, labels, SPACE, outline=outline))
    ignored = labels == IGNORE
    np.testing.assert_array_equal(picture[ignored], image[ignored])
    assert (picture[~ignored] != image[~ignored]).any(1).mean() > 0.95


def test_blends_by_a_loop(image, labels):
    picture = np.asarray(overlay(image, labels, SPACE, alpha=0.25, outline=False)).astype(float)
    for y, x in np.ndindex(*labels.shape):
        if labels[y, x] != IGNORE:
            wanted = 0.75 * image[y, x] + 0.25 * np.array(SPACE.classes[labels[y, x]].color)
            np.testing.assert_allclose(picture[y, x], wanted, atol=0.51)


def test_outline_is_one_pixel_wide_and_only_between_classes(image, labels):
    labels[4:7] = labels[0]
    plain, lined = (np.asarray(overlay(image, labels, SPACE, outline=outline)) for outline in (False, True))
    assert np.unique((plain != lined).any(2).nonzero()[1]).tolist() == [8]


def test_takes_tensors_and_channels_first(image, labels):
    first = overlay(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels).long(), SPACE)
    assert first.tobytes() == overlay(image, labels, SPACE).tobytes()


def test_image_three_pixels_high_is_no_channel(image, labels):
    picture = overlay(image[:3], np.full((3, 17), IGNORE), SPACE)
    np.testing.assert_array_equal(np.asarray(picture), image[:3])


def test_sizes_must_agree(image, labels):
    with pytest.raises(ValueError, match="the labels are"):
        overlay(image[:-1], labels, SPACE)


THINGS = LabelSpace(
    "things",
    (
        LabelClass("road", (0,), (128, 64, 128)),
        LabelClass("car", (1,), (0, 0, 142), thing=True),
        LabelClass("sheep", (2,), (250, 250, 250), thing=True),
        LabelClass("hole", (3,), (0, 0, 0), thing=True),
    ),
)


def segments(ids, classes):
    mask = tv_tensors.Mask(torch.from_numpy(np.asarray(ids, np.int16)))
    return Segments(mask, torch.tensor(classes, dtype=torch.int64), torch.zeros(len(classes), dtype=torch.bool))


def test_things_of_a_class_have_shades_of_their_own_and_stuff_has_its_colour():
    classes = [0, 1, 1, 2, 1, 3, 2, 3] + [1, 2, 3] * 8
    part = segments([[0]], classes)
    colors = segment_colors(part, THINGS)
    assert (colors.dtype, colors.shape) == (np.uint8, (len(classes), 3))
    for index, entry in enumerate(THINGS.classes):
        shades = colors[np.array(classes) == index].astype(int)
        assert tuple(shades[0]) == entry.color
        for number, shade in enumerate(shades):
            others = np.abs(np.delete(shades, number, 0) - shade).max(1)
            assert others.min(initial=255) >= 4
            if number:  # what comes next looks most different
                assert np.abs(shades[number - 1] - shade).max() > 30
    np.testing.assert_array_equal(colors, segment_colors(part, THINGS))
    assert segment_colors(segments([[IGNORE]], []), THINGS).shape == (0, 3)


def test_shades_keep_what_tells_the_class():
    colors = segment_colors(segments([[0]], [1] * 20), THINGS).astype(int)
    assert (colors.argmax(1) == 2).all()  # cars are blue


def test_segments_are_blended_by_a_loop(image):
    ids = np.zeros((12, 17), np.int16)
    ids[:, 6:], ids[:, 11:], ids[3:5, 2:8] = 1, 2, IGNORE
    part = segments(ids, [0, 1, 1])
    picture = np.asarray(panoptic_overlay(image, part, THINGS, alpha=0.25, outline=False)).astype(float)
    colors = segment_colors(part, THINGS)
    for y, x in np.ndindex(*ids.shape):
        wanted = image[y, x] if ids[y, x] == IGNORE else 0.75 * image[y, x] + 0.25 * colors[ids[y, x]]
        np.testing.assert_allclose(picture[y, x], wanted, atol=0.51)


def test_outline_between_two_things_of_a_class(image):
    ids = np.zeros((12, 17), np.int16)
    ids[:, 9:] = 1
    part = segments(ids, [1, 1])
    plain, lined = (np.asarray(panoptic_overlay(image, part, THINGS, outline=outline)) for outline in (False, True))
    assert np.unique((plain != lined).any(2).nonzero()[1]).tolist() == [8]


def test_segments_must_be_of_the_size_of_the_image(image):
    with pytest.raises(ValueError, match="the image is"):
        panoptic_overlay(image[:-1], segments(np.zeros((12, 17)), [0]), THINGS)


def colors_in(picture):
    return {tuple(color) for color in np.asarray(picture).reshape(-1, 3).tolist()}


def test_legend_shows_present_classes_only(labels):
    colors = colors_in(legend(SPACE, [labels], 120))
    assert {(200, 0, 0), (0, 0, 255)} <= colors
    assert (0, 255, 0) not in colors
    assert (0, 255, 0) in colors_in(legend(SPACE, [labels, np.full((1, 1), 2)], 120))


def test_legend_takes_more_columns_where_it_is_low():
    everything = [np.arange(3)]
    high, low = legend(SPACE, everything, 200), legend(SPACE, everything, 40)
    assert (high.height, low.height) == (200, 40)
    assert low.width > high.width
    assert {(200, 0, 0), (0, 0, 255), (0, 255, 0)} <= colors_in(low)


def test_legend_of_nothing():
    assert legend(SPACE, [np.full((2, 2), IGNORE)], 50).height == 50


def test_panel_has_equal_heights_and_titles(image, labels):
    small = Image.new("RGB", (10, 20), (255, 0, 255))
    large = Image.new("RGB", (60, 40), (0, 255, 255))
    pixels = np.asarray(panel([("a title far too long for it", small), ("b", large)]))
    magenta, cyan = ((pixels == color).all(2) for color in ((255, 0, 255), (0, 255, 255)))
    assert (np.count_nonzero(magenta), np.count_nonzero(cyan)) == (20 * 40, 60 * 40)
    assert magenta.any(1).nonzero()[0].tolist() == cyan.any(1).nonzero()[0].tolist()
    above = pixels[: cyan.any(1).argmax()]
    assert (above != 255).any()


def test_legend_stands_right_of_the_picture(image, labels):
    picture, key = overlay(image, labels, SPACE), legend(SPACE, [labels], 60)
    both = np.asarray(with_legend(picture, key))
    assert both.shape == (60, 17 + key.width, 3)
    np.testing.assert_array_equal(both[:12, :17], np.asarray(picture))
    np.testing.assert_array_equal(both[:, 17:], np.asarray(key))
