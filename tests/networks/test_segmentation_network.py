from functools import partial

import jsonargparse
import pytest
import torch
from torch import nn

from multiseg.errors import MultisegError
from multiseg.networks.aspp import ASPP
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork, make_classifier, upsample


def _network(decoder=PyramidPooling, auxiliary=AuxiliaryHead, name="test_resnet", output_stride=8):
    return SegmentationNetwork(
        Backbone(name, output_stride=output_stride),
        partial(decoder, channels=16),
        partial(auxiliary, channels=10) if auxiliary else None,
    )


@pytest.mark.parametrize("decoder", [PyramidPooling, ASPP])
@pytest.mark.parametrize(("name", "stride"), [("test_resnet", 8), ("test_convnext", 8), ("test_vit", 32)])
def test_features(decoder, name, stride):
    network = _network(decoder, name=name, output_stride=stride)
    features = network(torch.randn(2, 3, 64, 96))
    grid = (64 // network.stride, 96 // network.stride)
    assert features.decoded.shape == (2, network.channels, *grid)
    assert features.auxiliary.shape == (2, network.auxiliary_channels, *grid)
    assert len(features.pyramid) == len(network.backbone.channels)
    assert (network.mean, network.std) == (network.backbone.mean, network.backbone.std)


def test_auxiliary_works_in_training_only():
    network = _network()
    assert network.train()(torch.randn(2, 3, 64, 64)).auxiliary is not None
    assert network.eval()(torch.randn(2, 3, 64, 64)).auxiliary is None
    without = _network(auxiliary=None)
    assert without.train()(torch.randn(2, 3, 64, 64)).auxiliary is None
    assert (without.auxiliary_channels, without.auxiliary_stride) == (0, 0)


def test_auxiliary_reads_the_second_coarsest_level():
    head = AuxiliaryHead([4, 5, 6], [4, 8, 16], channels=7)
    assert head.stride == 8
    assert head([torch.randn(2, c, 32 // s, 32 // s) for c, s in ((4, 1), (5, 2), (6, 4))]).shape == (2, 7, 16, 16)


def test_every_parameter_exists_at_once_and_gets_a_gradient():
    network = _network()
    assert not any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in network.parameters())
    features = network(torch.randn(1, 3, 64, 64))  # a single image, too
    (features.decoded.square().sum() + features.auxiliary.square().sum()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the new name is newer than our lower bound
def test_a_recipe_builds_it():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=SegmentationNetwork)
    recipe = {
        "class_path": "multiseg.networks.segmentation_network.SegmentationNetwork",
        "init_args": {
            "backbone": {"class_path": "multiseg.networks.backbone.Backbone", "init_args": {"name": "test_resnet"}},
            "decoder": {"class_path": "multiseg.networks.aspp.ASPP", "init_args": {"channels": 12, "rates": [2, 4]}},
            "auxiliary": {"class_path": "multiseg.networks.segmentation_network.AuxiliaryHead"},
        },
    }
    parsed = parser.parse_object({"network": recipe})
    network = parser.instantiate_classes(parser.parse_string(parser.dump(parsed))).network
    assert isinstance(network.decoder, ASPP)
    assert (network.channels, network.auxiliary_channels, network.stride) == (12, 128, 32)
    recipe["init_args"]["decoder"]["init_args"] = {"chanels": 12}
    with pytest.raises(jsonargparse.ArgumentError, match="chanels"):
        parser.parse_object({"network": recipe})


def test_upsample_puts_pixels_where_they_belong():
    full = torch.nn.functional.interpolate(torch.arange(4.0).view(1, 1, 1, 4), size=(8, 32), mode="bilinear")
    result = upsample(torch.arange(4.0).view(1, 1, 1, 4), 8, (5, 27))
    assert result.shape == (1, 1, 5, 27)
    torch.testing.assert_close(result, full[..., :5, :27])


def test_upsample_takes_no_images():
    scores = torch.zeros(0, 3, 4, 4, requires_grad=True)
    result = upsample(scores, 8, (30, 30))
    assert result.shape == (0, 3, 30, 30)
    result.sum().backward()


def test_classifier_starts_with_even_scores():
    torch.manual_seed(0)
    classifier = make_classifier(64, 19)
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert (classifier.bias == 0).all()


def _run(network):
    """What a run's file holds."""
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {**state, "classifiers.camvid.weight": torch.zeros(11, 16, 1, 1)}


@pytest.mark.parametrize("part", ["backbone", "network"])
def test_parts_of_a_run_load(part):
    source, network = _network(), _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = network.load(_run(source), part, source="runs/a")
    assert report.complete
    assert "classifiers.camvid.weight" in report.unexpected
    for name, value in network.state_dict().items():
        taken = part == "network" or name.startswith("backbone.")
        assert torch.equal(value, (source.state_dict() if taken else before)[name]), name


def test_a_momentum_copy_in_the_file_is_not_taken_for_the_network():
    source, copy, network = _network(), _network(), _network()
    state = {f"ema.{name}": value for name, value in copy.state_dict().items()} | _run(source)
    network.load(state)
    assert torch.equal(network.backbone.features.conv1[0].weight, source.backbone.features.conv1[0].weight)


def test_another_decoder_leaves_the_backbone_loadable():
    source, network = _network(), _network(ASPP, auxiliary=None)
    report = network.load(_run(source))
    assert any(name.startswith("decoder.branches") for name in report.missing)
    assert any(name.startswith("network.auxiliary") for name in report.unexpected)
    assert torch.equal(network.backbone.features.conv1[0].weight, source.backbone.features.conv1[0].weight)


def test_weights_of_nothing_alike_are_refused():
    with pytest.raises(MultisegError, match=r"a\.pth: none of its 1 tensors"):
        _network().load({"encoder.weight": torch.zeros(3)}, source="a.pth")
