"""Panels of models that colour: which images, at which size, as one of whose dataset."""

import numpy as np
import torch
from torchvision import tv_tensors

from multiseg.batch import Sample
from multiseg.color_views import IMAGES, view_colors
from multiseg.loading.transforms import ResizeImage
from multiseg.methods.colorization import Colorization
from multiseg.methods.multi_head import MultiHead
from multiseg.predictor import Predictor
from multiseg.run_folder import InputSize, Model
from tiny_methods import PARK, TOWN, lived_in, make

SIZE = (40, 56)


def predictor(method):
    lived_in(method.network)
    inputs = {name: InputSize(side, (32, 48)) for name, side in zip(method.spaces, (64, 28), strict=False)}
    return Predictor(Model(method.eval().requires_grad_(False), inputs, "32-true"), device="cpu")


def samples(space, count=IMAGES + 1):
    generator = torch.Generator().manual_seed(len(space))
    images = torch.randint(0, 256, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)
    mask = tv_tensors.Mask(torch.zeros(SIZE, dtype=torch.int16))
    return [Sample(tv_tensors.Image(image), mask, space, f"{space.name}/{n}") for n, image in enumerate(images)]


def test_colours_are_those_of_the_method_at_the_size_of_evaluation():
    own = predictor(make(Colorization, dataset_norms=True))
    given = {space.name: samples(space) for space in (TOWN, PARK)}
    found = view_colors(own, "r", given)
    assert found.run == "r"
    assert [(panel.dataset, panel.key) for panel in found.panels] == [
        (space.name, f"{space.name}/{number}") for space in (TOWN, PARK) for number in range(IMAGES)
    ]
    for panel, side in ((found.panels[1], 64), (found.panels[IMAGES], 28)):
        sample = given[panel.dataset][int(panel.key[-1])]
        expected = own.method.colorize(ResizeImage(side)(sample.image)[None], panel.dataset)[0]
        assert panel.colored.shape[2] == side and np.array_equal(panel.colored, expected)
        assert np.array_equal(panel.image, sample.image)


def test_images_of_other_datasets_are_only_seen_where_there_are_no_others():
    own = predictor(make(Colorization, [TOWN]))
    both = {space.name: samples(space, 1) for space in (TOWN, PARK)}
    assert [panel.dataset for panel in view_colors(own, "r", both).panels] == ["town"]
    (panel,) = view_colors(own, "r", {"park": both["park"]}).panels
    assert panel.dataset == "park" and panel.colored.shape[2] == 64
    assert view_colors(own, "r", {}) is None


def test_other_models_have_none():
    assert view_colors(predictor(make(MultiHead)), "r", {"town": samples(TOWN)}) is None
