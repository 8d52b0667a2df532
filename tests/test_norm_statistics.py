"""Statistics read from files against the modules they were saved from; layers by names typed by hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from multiseg.errors import MultisegError
from multiseg.networks.backbone import Backbone
from multiseg.networks.dataset_norm import DatasetNorm, convert_norms
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork
from multiseg.norm_statistics import (
    choose_layers,
    convolution_of,
    filter_norms,
    group_by_stage,
    norm_layers,
    read_norms,
    split_into_stages,
)


class Holder(nn.Module):
    """Has a network, as every method has."""

    def __init__(self):
        super().__init__()
        self.network = SegmentationNetwork(
            Backbone("test_resnet"),
            lambda channels, strides: PyramidPooling(channels, strides, 8, (1, 2)),
            lambda channels, strides: AuxiliaryHead(channels, strides, 4),
        )


@pytest.fixture
def holder():
    torch.manual_seed(0)
    return Holder()


def disturb(module):
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.1)


def saved(module, tmp_path):
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_an_ordinary_network_has_one_set_that_has_seen_all_datasets(holder, tmp_path):
    disturb(holder)
    norms = read_norms(saved(holder, tmp_path), "r", ["town", "park"])
    (one,) = norms.sets
    assert (norms.run, norms.trained_on, one.datasets) == ("r", ("town", "park"), ("town", "park"))
    modules = {name: module for name, module in holder.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert set(one.mean) == set(one.variance) == set(modules)
    for name, module in modules.items():
        assert one.mean[name] == pytest.approx(module.running_mean.numpy())
        assert one.variance[name] == pytest.approx(module.running_var.numpy())


def test_a_converted_network_has_a_set_of_each_dataset_under_the_same_names(holder, tmp_path):
    plain = {name for name, module in holder.named_modules() if isinstance(module, nn.BatchNorm2d)}
    convert_norms(holder, ["town", "park"])
    disturb(holder)
    norms = read_norms(saved(holder, tmp_path), "r", ["town", "park"])
    by_dataset = {one.datasets: one for one in norms.sets}
    assert [*by_dataset] == [("town",), ("park",)]
    modules = {name: module for name, module in holder.named_modules() if isinstance(module, DatasetNorm)}
    assert set(modules) == plain
    for (dataset,), one in by_dataset.items():
        assert set(one.mean) == plain
        for name, module in modules.items():
            assert one.mean[name] == pytest.approx(module.of_dataset[dataset].running_mean.numpy())
            assert one.variance[name] == pytest.approx(module.of_dataset[dataset].running_var.numpy())
    assert {layer for members in norms.stages.values() for layer in members} == plain


def test_layers_stages_and_filters_of_a_real_network(holder, tmp_path):
    norms = read_norms(saved(holder, tmp_path), "r", ["town"])
    stem, *ends, last = norms.shown
    assert (stem, last) == ("network.backbone.features.bn1", "network.decoder.fuse.1")
    inside = "network.backbone.features."
    wanted = ["conv1.4", "layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn3", "layer4.0.bn2"]
    assert ends == [f"{inside}{end}" for end in wanted]
    stages = ["bn1", "conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert [*norms.stages] == [
        *(f"{inside}{stage}" for stage in stages),
        *("network.decoder.fuse.1", "network.auxiliary.layers.1"),
    ]
    assert {layer: name for layer, (name, _) in norms.filters.items()} == {
        stem: f"{inside}conv1.6",
        last: "network.decoder.fuse.0",
        f"{inside}conv1.4": f"{inside}conv1.3",
        **{end: end.replace("bn", "conv") for end in ends[1:]},
    }
    for name, values in norms.filters.values():
        weight = holder.get_submodule(name).weight
        assert values == pytest.approx([filter.norm().item() for filter in weight], rel=1e-5)


def test_norms_that_are_shared_beside_dataset_specific_ones_have_no_distance(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    network = convert_norms(network, ["town", "park"])
    network.add_module("shared", nn.BatchNorm2d(4))
    norms = read_norms(saved(network, tmp_path), "r", ["town", "park"])
    assert set(norms.sets[0].mean) == {"1", "shared"}
    assert [*norms.stages.values()] == [("1",)]


@pytest.mark.parametrize("network", [nn.Linear(3, 2), nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4))])
def test_a_network_without_batch_norms_has_nothing(network, tmp_path):
    norms = read_norms(saved(network, tmp_path), "r", ["town"])
    assert (norms.sets, norms.shown, norms.stages, norms.filters) == ((), (), {}, {})


def test_half_precision_is_read(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).bfloat16()
    norms = read_norms(saved(network, tmp_path), "r", ["town"])
    assert norms.sets[0].variance["1"].tolist() == [1.0] * 4
    assert norms.filters["1"][0] == "0"


def test_broken_files_and_statistics_are_refused(tmp_path):
    with pytest.raises(MultisegError, match=r"none\.safetensors cannot be read"):
        read_norms(tmp_path / "none.safetensors", "r", ["town"])
    (tmp_path / "broken.safetensors").write_bytes(b"no model at all")
    with pytest.raises(MultisegError, match=r"broken\.safetensors cannot be read"):
        read_norms(tmp_path / "broken.safetensors", "r", ["town"])
    for name, value in [("running_mean", np.nan), ("running_var", np.inf), ("running_var", -1.0)]:
        norm = nn.BatchNorm2d(3)
        norm.get_buffer(name)[1] = value
        with pytest.raises(MultisegError, match="not finite, or negative"):
            read_norms(saved(nn.Sequential(norm), tmp_path), "r", ["town"])
    diverged = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3))
    diverged[0].weight.data[0] = np.nan
    with pytest.raises(MultisegError, match="not finite"):
        read_norms(saved(diverged, tmp_path), "r", ["town"])


def shapes(*layers, channels=4):
    return {f"{layer}.running_{what}": (channels,) for layer in layers for what in ("mean", "var")}


def test_layers_are_in_the_order_of_numbers_and_a_stem_comes_first():
    names = ["b.blocks.10.bn1", "b.blocks.2.bn1", "b.blocks.2.bn10", "b.blocks.2.bn2", "b.blocks.2.down.1", "b.bn1"]
    wanted = [names[index] for index in (5, 1, 3, 2, 4, 0)]
    assert [*norm_layers(shapes(*names))] == wanted
    assert norm_layers({"a.running_mean": (4,), "b.weight": (4,)}) == {}


RESNET = [
    "bn1",
    *("layer1.0.bn1", "layer1.0.bn2"),
    *("layer2.0.bn1", "layer2.0.bn2", "layer2.0.downsample.1", "layer2.1.bn1", "layer2.1.bn2"),
    *("layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1"),
]
MOBILENET = ["bn1", *(f"blocks.{stage}.{block}.bn3" for stage in range(7) for block in range(2))]
REGNET = [*(f"s{stage}.b1.conv1.bn" for stage in (1, 2, 3, 4)), "stem.bn"]
VGG = [f"features_{index}" for index in (1, 4, 8, 11)]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (RESNET, [["bn1"], RESNET[1:3], RESNET[3:8], RESNET[8:]]),
        (MOBILENET, [["bn1"], *([f"blocks.{s}.0.bn3", f"blocks.{s}.1.bn3"] for s in range(7))]),
        (REGNET, [["stem.bn"], *([name] for name in REGNET[:4])]),
        (VGG, [[name] for name in VGG]),
        (["only.one"], [["only.one"]]),
        (["a.b", "a.c"], [["a.b"], ["a.c"]]),
        ([], []),
    ],
)
def test_stages_are_found_whatever_the_backbone_calls_them(names, groups):
    assert split_into_stages(names) == groups
    prefixed = [f"network.backbone.x.{name}" for name in names]
    assert split_into_stages(prefixed) == [[f"network.backbone.x.{name}" for name in group] for group in groups]


def test_of_successive_stages_of_one_width_the_last_stands_for_all():
    assert choose_layers(dict(zip(VGG, (64, 64, 128, 128), strict=True))) == ("features_1", "features_4", "features_11")


def test_of_many_stages_five_are_shown():
    layers = dict(zip(MOBILENET, [16, *(8 * stage for stage in range(3, 10) for _ in range(2))], strict=True))
    shown = choose_layers({f"network.backbone.{name}": channels for name, channels in layers.items()})
    assert [name.removeprefix("network.backbone.") for name in shown] == [
        "bn1",
        *(f"blocks.{stage}.1.bn3" for stage in (0, 1, 3, 4, 6)),
    ]


def test_a_decoder_alone_is_shown():
    layers = {"network.decoder.fuse.1": 4, "network.decoder.fuse.4": 4, "network.auxiliary.layers.1": 4}
    assert choose_layers(layers) == ("network.decoder.fuse.4",)
    assert group_by_stage(layers) == {
        "network.decoder.fuse": ["network.decoder.fuse.1", "network.decoder.fuse.4"],
        "network.auxiliary.layers.1": ["network.auxiliary.layers.1"],
    }


@pytest.mark.parametrize(
    ("layer", "convolutions", "found"),
    [
        ("layer1.0.bn1", ["layer1.0.conv1", "layer1.0.conv2"], "layer1.0.conv1"),
        ("layer1.0.bn2", ["layer1.0.conv1", "layer1.0.conv2"], "layer1.0.conv2"),
        ("bn1", ["conv1", "layer1.0.conv1"], "conv1"),
        ("bn1", ["conv1.6", "layer1.0.conv1"], "conv1.6"),
        ("conv1.4", ["conv1.0", "conv1.3", "conv1.6"], "conv1.3"),
        ("down.1", ["down.0", "conv1"], "down.0"),
        ("blocks.0.bn", ["blocks.1.conv"], None),
        ("bn", [], None),
    ],
)
def test_the_convolution_of_a_norm(layer, convolutions, found):
    tensors = shapes(layer) | {f"{name}.weight": (4, 2, 3, 3) for name in convolutions}
    assert convolution_of(layer, tensors) == found


def test_convolutions_with_a_bias_or_other_widths_are_not_of_the_norm():
    tensors = shapes("block.bn3") | {
        "block.se.weight": (4, 2, 1, 1),
        "block.se.bias": (4,),
        "block.wide.weight": (8, 4, 1, 1),
        "block.conv.weight": (4, 8, 1, 1),
        "block.linear.weight": (4, 8),
    }
    assert convolution_of("block.bn3", tensors) == "block.conv"


def test_filter_norms_against_a_loop():
    weight = torch.randn(3, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    wanted = [sum(float(value) ** 2 for value in one.flatten()) ** 0.5 for one in weight]
    assert filter_norms(weight) == pytest.approx(wanted, rel=1e-5)
