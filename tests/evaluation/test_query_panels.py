"""Which queries are shown, what the pictures look like, and what stands under them."""

import base64
import io
import re
from html import unescape

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.evaluation.query_panels import (
    QueryMask,
    QueryPanel,
    Reading,
    RunQueries,
    mask_overlay,
    queries_section,
    strongest_queries,
)
from multiseg.label_space import IGNORE, LabelClass, LabelSpace

RED, BLUE = (200, 0, 0), (0, 0, 200)
SPACE = LabelSpace("town", (LabelClass("road", (0,), RED), LabelClass("car", (1,), BLUE, thing=True)))
PARK = LabelSpace("park", (LabelClass("tree", (0,), (0, 200, 0)), LabelClass("bench", (1,), (9, 9, 9))))


@pytest.mark.parametrize("seed", range(4))
def test_the_strongest_queries_are_those_of_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(9, 3, generator=generator).softmax(-1)
    masks = torch.rand(9, 4, 5, generator=generator)
    masks[3] = 0.2  # without a pixel
    expected = []
    for query in range(9):
        label = 0 if probabilities[query, 0] >= probabilities[query, 1] else 1
        pixels = [(y, x) for y in range(4) for x in range(5) if masks[query, y, x] >= 0.5]
        if pixels:
            sure = float(probabilities[query, label])
            expected.append((-sure * len(pixels), SPACE.names[label], pytest.approx(sure), pixels))
    expected.sort(key=lambda entry: entry[0])
    for count in (1, 4, 20):
        found = strongest_queries(probabilities, masks, SPACE, count)
        assert [(own.name, own.probability, [tuple(at) for at in np.argwhere(own.mask).tolist()]) for own in found] == [
            entry[1:] for entry in expected[:count]
        ]
        assert all(own.color == (RED if own.name == "road" else BLUE) for own in found)


def test_a_mask_is_tinted_and_outlined_and_the_rest_grey_and_pale():
    image = np.zeros((9, 12, 3), np.uint8)
    image[..., 1] = 90
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9] = True
    picture = np.asarray(mask_overlay(image, mask, RED)).astype(int)
    assert picture[4, 5].tolist() == [100, 45, 0]  # halfway
    rim = [(2, 5), (6, 5), (4, 3), (4, 8)]
    assert all(picture[place].tolist() == [140, 0, 0] for place in rim)
    outside = picture[~mask]
    assert (outside == outside[:, :1]).all() and outside.min() > 120
    whole = np.asarray(mask_overlay(image, np.ones((9, 12), bool), RED))
    assert (whole[0] == [140, 0, 0]).all()  # the border of the image is one of the mask
    with pytest.raises(ValueError, match="the mask"):
        mask_overlay(image, mask[1:], RED)


def segments(ids, classes):
    mask = tv_tensors.Mask(torch.from_numpy(np.asarray(ids, np.int16)))
    return Segments(mask, torch.tensor(classes, dtype=torch.int64), torch.zeros(len(classes), dtype=torch.bool))


def panel(**changes):
    labels = np.zeros((20, 40), np.int64)
    labels[:, 20:] = 1
    query = QueryMask("road", RED, 0.876, labels == 0)
    made = {"key": "val/1", "image": np.zeros((3, 20, 40), np.uint8), "queries": [query]}
    return QueryPanel(**{**made, "truth": Reading(SPACE, labels), "prediction": Reading(SPACE, 0 * labels), **changes})


def pictures(section):
    """By their text: the pictures as arrays."""
    found = re.findall(r'<img src="data:image/jpeg;base64,(.*?)".*?alt="(.*?)"', section)
    return {
        unescape(alt): np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data, alt in found
    }


def captions(section):
    return [
        unescape(re.sub("<.*?>", " ", text)).strip() for text in re.findall("<figcaption>(.*?)</figcaption>", section)
    ]


def keys(section):
    return [
        re.findall(r"<li>.*?([\w ]+)(?:</b>)?</li>", key) for key in re.findall(r'<ul class="key">(.*?)</ul>', section)
    ]


def test_a_panel_has_image_truth_prediction_and_queries():
    section = queries_section([RunQueries("r", [panel()], False)])
    shown = pictures(section)
    assert list(shown) == [
        *("town val/1: image with queries", "town val/1: truth", "town val/1: prediction", "town val/1: road 0.88"),
    ]
    image, truth, prediction, query = shown.values()
    assert image.max() < 10
    assert truth[10, 30, 2] > 100 > 60 > truth[10, 30, 0] and prediction[10, 30, 0] > 100
    assert query[10, 10, 0] > 80 > 40 > query[10, 10, 1] and query[10, 30].min() > 100
    assert captions(section)[:3] == ["image", "truth", "prediction"] and captions(section)[3].split() == [
        "road",
        "0.88",
    ]
    assert keys(section) == [["road", "car"]]
    assert "<h3>" not in section


def test_segments_are_drawn_in_shades_and_what_is_not_drawn_is_not_in_the_key():
    ids = np.zeros((20, 40), np.int16)
    ids[:, 20:] = 1
    two = Reading(SPACE, np.ones((20, 40), np.int64), segments(ids, [1, 1]))
    none = Reading(PARK, np.zeros((20, 40), np.int64), segments(np.full((20, 40), IGNORE), []))
    section = queries_section([RunQueries("r", [panel(truth=two, prediction=two, others=[none])], True)])
    shown = pictures(section)
    truth = shown["town val/1: truth"]
    assert np.abs(truth[10, 10] - truth[10, 30]).max() > 30
    assert truth[10, 10, 2] > 100 and truth[10, 30, 2] > truth[10, 30, 0] + 30  # both are cars
    assert shown["town val/1: by the words of park"].max() < 10
    assert captions(section)[2:4] == ["prediction", "by the words of park: no segment"]
    assert keys(section) == [["car"]]


def test_the_words_of_another_dataset_have_a_picture_and_a_key():
    other = Reading(PARK, np.ones((20, 40), np.int64))
    section = queries_section([RunQueries("r", [panel(others=[other])], True)])
    assert "by the words of park" in captions(section)
    assert keys(section) == [["road", "car"], ["park", "bench"]]


def test_without_queries_the_panel_says_so_and_without_runs_there_is_no_section():
    assert "No query has a mask with a pixel in it." in queries_section([RunQueries("r", [panel(queries=[])], False)])
    assert queries_section([]) == ""


def test_large_images_become_small_and_names_are_escaped():
    evil = '<script>&"'
    space = LabelSpace(evil, (LabelClass(evil, (0,), RED),))
    zeros = np.zeros((600, 900), np.int64)
    reading = Reading(space, zeros)
    own = QueryPanel(
        *(evil, np.zeros((3, 600, 900), np.uint8), reading, reading),
        [QueryMask(evil, RED, 1.0, zeros == 0)],
        [reading],
    )
    section = queries_section([RunQueries(evil, [own], True), RunQueries("b", [own], True)])
    assert "<script" not in section
    assert {picture.shape[1] for picture in pictures(section).values()} == {320, 220}
    assert len(re.findall("<h3>", section)) == 2
