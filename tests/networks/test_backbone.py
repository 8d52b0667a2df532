import logging

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from multiseg.errors import MultisegError
from multiseg.networks.backbone import Backbone


@pytest.mark.parametrize(
    ("name", "output_stride", "strides"),
    [
        ("test_resnet", 32, [2, 4, 8, 16, 32]),
        ("test_resnet", 8, [2, 4, 8, 8, 8]),
        ("test_convnext", 32, [4, 8, 16, 32]),
        ("test_convnext", 16, [4, 8, 16, 16]),
        ("test_vit", 32, [16, 16, 16]),
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (70, 93)])
def test_levels_have_the_promised_channels_and_strides_at_any_size(name, output_stride, strides, size):
    backbone = Backbone(name, output_stride=output_stride).eval()
    assert backbone.strides == strides
    coarsest = max(strides)
    height, width = (-(-length // coarsest) * coarsest for length in size)
    with torch.no_grad():
        pyramid = backbone(torch.randn(2, 3, *size))
    expected = [(2, c, height // s, width // s) for c, s in zip(backbone.channels, strides, strict=True)]
    assert [tuple(level.shape) for level in pyramid] == expected


def test_padding_is_zero_at_right_and_bottom():
    backbone = Backbone("test_resnet").eval()
    images = torch.randn(1, 3, 40, 50)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :40, :50] = images
    with torch.no_grad():
        for level, expected in zip(backbone(images), backbone(padded), strict=True):
            torch.testing.assert_close(level, expected)


def test_channels_last_transformers_yield_channels_first():
    backbone = Backbone("swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        pyramid = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in pyramid] == [(96, 16, 24), (192, 8, 12), (384, 4, 6), (768, 2, 3)]


def test_normalisation_is_the_models():
    assert Backbone("resnet18").mean == (0.485, 0.456, 0.406)
    assert Backbone("test_vit").std == (0.5, 0.5, 0.5)


def test_every_parameter_gets_a_gradient():
    for name in ("test_resnet", "test_convnext", "test_vit"):  # else DDP waits for those that get none
        backbone = Backbone(name)
        backbone(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
        assert [key for key, value in backbone.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_a_plain_timm_checkpoint_fits_whole(name, tmp_path, caplog):
    model = timm.create_model(name).eval()
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.pth"
    )
    with caplog.at_level(logging.WARNING):
        backbone = Backbone(name, weights=str(tmp_path / "a.pth")).eval()
    assert caplog.text == ""  # complete; the classifier left over is no reason to warn
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        features = model.forward_intermediates(images, intermediates_only=True, norm=False)
        torch.testing.assert_close(backbone(images)[-1], features[-1])


@pytest.mark.parametrize("order", ["as MoCo writes it", "sorted", "backwards"])
def test_of_a_checkpoint_of_moco_the_query_encoder_is_taken(order, tmp_path, caplog):
    """The key encoder beside it fits as well, but only follows it."""
    query, key = (timm.create_model("resnet18", num_classes=0).state_dict() for _ in range(2))
    state = {"module.queue": torch.randn(128, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    for name, encoder in (("encoder_q", query), ("encoder_k", key)):
        state |= {f"module.{name}.{entry}": value for entry, value in encoder.items()}
        state |= {f"module.{name}.fc.{layer}.weight": torch.randn(512, 512) for layer in (0, 2)}
    if order != "as MoCo writes it":
        state = {name: state[name] for name in sorted(state, reverse=order == "backwards")}
    torch.save({"epoch": 800, "arch": "resnet18", "state_dict": state}, tmp_path / "moco.pth.tar")
    with caplog.at_level(logging.WARNING):
        backbone = Backbone("resnet18", weights=str(tmp_path / "moco.pth.tar"))
    assert caplog.text == ""  # complete
    loaded = backbone.features.state_dict()
    assert loaded.keys() == query.keys()
    for name, value in loaded.items():
        assert torch.equal(value, query[name]), name
    weights = [name for name in loaded if name.endswith("conv1.weight")]
    assert len(weights) == 9 and not any(torch.equal(loaded[name], key[name]) for name in weights)


def test_the_backbone_of_a_run_fits(tmp_path):
    source = Backbone("test_resnet")
    (tmp_path / "model").mkdir()
    state = {f"network.backbone.{key}": value for key, value in source.state_dict().items()}
    save_file({**state, "classifiers.a.weight": torch.zeros(3, 3)}, tmp_path / "model" / "model.safetensors")
    backbone = Backbone("test_resnet", weights=str(tmp_path))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_an_incomplete_file_is_warned_of(tmp_path, caplog):
    state = timm.create_model("test_resnet").state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("layer4")}, tmp_path / "part.pth")
    with caplog.at_level(logging.WARNING):
        Backbone("test_resnet", weights=str(tmp_path / "part.pth"))
    assert "not in the file" in caplog.text
    assert "layer4.0" in caplog.text


def test_drop_path_reaches_the_model():
    backbone = Backbone("test_convnext", drop_path=0.5)
    rates = [part.drop_prob for part in backbone.modules() if hasattr(part, "drop_prob")]
    assert max(rates) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "did you mean 'resnet18'"),
        ({"name": "test_vit", "output_stride": 8}, "test_vit.*output_stride 8"),
        ({"name": "hrnet_w18_small", "output_stride": 8}, "hrnet_w18_small.*output_stride 8"),
        ({"name": "resnet18.nonesuch"}, "nonesuch"),
        ({"name": "test_resnet", "weights": "imagenet"}, "'imagenet'.*'timm'"),
    ],
)
def test_what_cannot_be_had_is_one_line(arguments, message):
    with pytest.raises(MultisegError, match=message) as caught:
        Backbone(**arguments)
    assert "\n" not in str(caught.value)


def test_a_failing_download_is_one_line(monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no connection\nand a long story")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(MultisegError, match=r"'test_resnet' cannot be had \(no connection\).*local file") as caught:
        Backbone("test_resnet", weights="timm")
    assert "\n" not in str(caught.value)


def test_a_model_of_one_size_says_so():
    backbone = Backbone("mixer_s32_224")
    with pytest.raises(MultisegError, match=r"mixer_s32_224.*96×64"):
        backbone(torch.zeros(1, 3, 64, 96))


def test_a_model_that_loses_pixels_is_refused():
    with pytest.raises(MultisegError, match=r"inception_v3.*strides"), torch.no_grad():
        Backbone("inception_v3").eval()(torch.zeros(1, 3, 96, 96))


def test_frozen_norms_neither_learn_nor_follow_the_images():
    backbone = Backbone("test_resnet", frozen_norms=True).train()
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    level = backbone(torch.randn(2, 3, 64, 64))[-1]
    level.sum().backward()
    assert norms and all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert all(norm.weight.grad is None and not norm.weight.requires_grad for norm in norms)
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert trained and all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        # Simonyan and Zisserman, table 1, configuration D
        (
            "vgg16_bn",
            [64, 64, 128, 128, 256, 256, 256, *[512] * 7],
            [1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32],
        ),
        ("vgg11", [64, 128, 256, 256, 512, 512, 512, 512, 512], [1, 2, 4, 4, 8, 8, 16, 16, 32]),
        ("alexnet_bn", [96, 256, 384, 384, 256, 256], [4, 8, 16, 16, 16, 32]),
    ],
)
def test_every_layer_is_a_level(name, channels, strides):
    with torch.device("meta"):  # shapes alone: timm makes VGG with 100 million weights that no level needs
        backbone = Backbone(name, every_layer=True)
        pyramid = backbone(torch.empty(1, 3, 64, 96))
    assert (backbone.channels, backbone.strides) == (channels, strides)
    assert [tuple(level.shape[1:]) for level in pyramid] == [
        (c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)
    ]


def test_vgg_ends_in_pool5_and_stages_in_their_last_activation():
    with torch.device("meta"):
        backbone = Backbone("vgg16_bn")
    assert (backbone.channels, backbone.strides) == ([64, 128, 256, 512, 512, 512], [1, 2, 4, 8, 16, 32])
    last = backbone.features.feature_info.module_name()
    kinds = [type(backbone.features[name.replace(".", "_")]) for name in last]
    assert kinds == [torch.nn.ReLU] * 5 + [torch.nn.MaxPool2d]


def test_levels_of_every_layer_are_what_the_plain_model_computes():
    backbone = Backbone("alexnet_bn", every_layer=True).eval()
    few = Backbone("alexnet_bn").eval()
    few.load_state_dict(backbone.state_dict())  # the same names, so weights go both ways
    backbone.load_state_dict(few.state_dict())
    images = torch.randn(1, 3, 64, 64)
    expected, current = [], images
    with torch.no_grad():
        for layer in timm.create_model("alexnet_bn").eval().features:
            copied = list(backbone.features.children())[len(expected)]
            assert type(copied) is type(layer)
            current = copied(current)
            expected.append(current.clone())
        pyramid = backbone(images)
        for level, place in zip(pyramid, (2, 6, 10, 13, 16, 17), strict=True):
            torch.testing.assert_close(level, expected[place].relu())
        for level, place in zip(few(images), (0, 1, 4, 5), strict=True):
            torch.testing.assert_close(level, pyramid[place])


def test_torchvisions_vgg_fits_whole():
    with torch.device("meta"):
        backbone = Backbone("vgg16_bn", every_layer=True)
        report = backbone.load(torchvision.models.vgg16_bn().state_dict())
    assert report.complete
    assert all(name.startswith("classifier.") for name in report.unexpected)


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_convnext"])
def test_every_layer_of_what_is_no_sequence_is_refused(name):
    with pytest.raises(MultisegError, match=f"'{name}' is no plain sequence") as caught:
        Backbone(name, every_layer=True)
    assert "\n" not in str(caught.value)
