"""AlexNet: the widths of the paper, exact strides, and a place among timm's models."""

import logging

import pytest
import timm
import torch

from multiseg.errors import MultisegError
from multiseg.networks.backbone import Backbone


@pytest.mark.parametrize("size", [(64, 96), (70, 93)])
def test_levels_are_the_last_layers_of_the_stages_and_pool5(size: tuple[int, int]) -> None:
    backbone = Backbone("alexnet_bn").eval()
    assert (backbone.channels, backbone.strides) == ([96, 256, 256, 256], [4, 8, 16, 32])
    with torch.no_grad():
        pyramid = backbone(torch.randn(2, 3, *size))
    height, width = (-(-length // 32) * 32 for length in size)
    expected = [(2, c, height // s, width // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)]
    assert [tuple(level.shape) for level in pyramid] == expected


def test_convolutions_have_the_weights_of_the_paper() -> None:
    convolutions = [layer for layer in timm.create_model("alexnet_bn").modules() if isinstance(layer, torch.nn.Conv2d)]
    # Krizhevsky et al., figure 2: kernels see the maps of their own half in the second, fourth and fifth layer
    kernels = [(96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == kernels


def test_timm_knows_it() -> None:
    assert "alexnet_bn" in timm.list_models()
    backbone = Backbone("alexnet_bn")
    assert backbone.mean == (0.485, 0.456, 0.406) and backbone.std == (0.229, 0.224, 0.225)
    with pytest.raises(MultisegError, match="did you mean 'alexnet_bn'"):
        Backbone("alexnet_nb")
    with pytest.raises(MultisegError, match="weights of timm model 'alexnet_bn' cannot be had"):
        Backbone("alexnet_bn", weights="timm")


def test_weights_of_the_plain_model_fit_whole(tmp_path, caplog) -> None:
    model = timm.create_model("alexnet_bn").eval()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING):
        backbone = Backbone("alexnet_bn", weights=str(tmp_path / "a.pth")).eval()
    assert caplog.text == ""
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1], model(images))


def test_every_parameter_gets_a_gradient() -> None:
    backbone = Backbone("alexnet_bn")
    backbone(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
