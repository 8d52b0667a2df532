"""Panels of models with a few thousand weights: the predictions are the model's, the queries its own."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from multiseg.batch import Sample, Segments
from multiseg.evaluation.panoptic_inference import PanopticThresholds
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.maskformer import MaskFormer
from multiseg.methods.multi_head import MultiHead
from multiseg.predictor import Predictor
from multiseg.query_views import IMAGES, view_queries
from multiseg.run_folder import InputSize, Model
from tiny_methods import PARK, TOWN, make, make_masks

SIZE = (40, 56)  # no multiple of the stride, so that the network pads


def predictor(method):
    inputs = {name: InputSize(None, (32, 48)) for name in method.spaces}
    return Predictor(Model(method.eval().requires_grad_(False), inputs, "32-true"), device="cpu")


def sample(space, seed=0, segments=False):
    generator = torch.Generator().manual_seed(seed)
    image = tv_tensors.Image(torch.randint(0, 256, (3, *SIZE), generator=generator, dtype=torch.uint8))
    ids = torch.zeros(SIZE, dtype=torch.int16)
    ids[:, 20:] = 1
    truth = Segments(tv_tensors.Mask(ids), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.bool))
    return Sample(image, tv_tensors.Mask(ids), space, f"{space.name}/{seed}", truth if segments else None)


def masks_with_pixels(method):
    """Random masks are all below one half; larger features make some larger."""
    with torch.no_grad():
        for parameter in method.mask_decoder.parameters():
            parameter.mul_(2)
    return method


@pytest.mark.parametrize("kind", [LMSeg, MaskFormer])
def test_predictions_are_those_of_the_predictor(kind):
    own = predictor(masks_with_pixels(make_masks(kind)))
    samples = {space.name: [sample(space, seed) for seed in range(3)] for space in (TOWN, PARK)}
    found = view_queries(own, "r", samples)
    assert found.run == "r" and found.with_words == (kind is LMSeg)
    assert [panel.key for panel in found.panels] == ["town/0", "town/1", "park/0", "park/1"] and IMAGES == 2
    panel = found.panels[2]
    given = samples["park"][0]
    assert np.array_equal(panel.image, given.image) and np.array_equal(panel.truth.labels, given.labels)
    assert panel.truth.segments is None and panel.prediction.segments is None
    assert np.array_equal(panel.prediction.labels, own.predict(given.image, "park"))
    assert [other.space.name for other in panel.others] == (["town"] if kind is LMSeg else [])
    for other in panel.others:
        assert np.array_equal(other.labels, own.predict(given.image, "town"))


def test_queries_are_at_the_size_of_the_file_without_the_padding():
    method = masks_with_pixels(make_masks(MaskFormer))
    given = sample(TOWN)
    (panel,) = view_queries(predictor(method), "r", {"town": [given]}).panels
    features = method.features(method.normalize(given.image[None]), "town")
    probabilities, logits = method.segment_queries(features, "town", range(1))
    assert logits.shape[-2] * method.network.stride > SIZE[0]
    large = torch.nn.functional.interpolate(logits, scale_factor=method.network.stride, mode="bilinear")[0]
    inside = (large[:, : SIZE[0], : SIZE[1]].sigmoid() >= 0.5).numpy()
    assert panel.queries
    for query in panel.queries:
        assert query.mask.shape == SIZE
        (place,) = [at for at in range(len(inside)) if np.array_equal(inside[at], query.mask)]
        assert query.probability == pytest.approx(float(probabilities[0, place, :-1].max()))
        assert query.name == TOWN.names[int(probabilities[0, place, :-1].argmax())]


def test_a_panoptic_model_shows_segments_and_truth_has_them_where_its_dataset_does():
    method = masks_with_pixels(make_masks(LMSeg, panoptic=True, thresholds=PanopticThresholds(0.0, 0.0)))
    own = predictor(method)
    samples = {"town": [sample(TOWN, segments=True)], "park": [sample(PARK)]}
    town, park = view_queries(own, "r", samples).panels
    assert town.truth.segments is samples["town"][0].segments and park.truth.segments is None
    _, expected = own.predict_segments(samples["town"][0].image, "town")
    assert torch.equal(town.prediction.segments.ids, expected.ids) and len(expected)
    assert town.others[0].segments is not None
    semantic = predictor(masks_with_pixels(make_masks(LMSeg)))
    (panel,) = view_queries(semantic, "r", {"town": samples["town"]}).panels
    assert panel.truth.segments is None  # as the model was taught


def test_with_norms_of_each_dataset_the_image_passes_its_own():
    method = masks_with_pixels(make_masks(LMSeg, dataset_norms=True))
    torch.manual_seed(0)
    for name, tensor in method.network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.uniform_(-5, 5)
    own = predictor(method)
    given = sample(TOWN)
    (panel,) = view_queries(own, "r", {"town": [given]}).panels
    expected = own.predict_in_all(given.image[None], "town", ["town", "park"])
    assert np.array_equal(panel.prediction.labels, expected["town"][0])
    assert np.array_equal(panel.others[0].labels, expected["park"][0])
    assert not np.array_equal(own.predict(given.image, "park"), expected["park"][0])  # which has park's norms


def test_models_that_classify_pixels_or_know_none_of_the_classes_have_no_panels():
    samples = {"town": [sample(TOWN)]}
    assert view_queries(predictor(make(MultiHead)), "r", samples) is None
    method = make_masks(MaskFormer, [PARK])
    assert view_queries(predictor(method), "r", samples) is None
    assert view_queries(predictor(method), "r", {"park": [sample(TOWN)]}) is None  # the name is another dataset's


def test_a_model_of_one_dataset_has_no_other_words():
    (panel,) = view_queries(predictor(make_masks(LMSeg, [TOWN])), "r", {"town": [sample(TOWN)]}).panels
    assert panel.others == []
