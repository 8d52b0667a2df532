import pytest
import torch
from torch import nn

from multiseg.errors import MultisegError
from multiseg.optim.param_groups import param_groups


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.backbone_extra = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)


class Method(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = Net()
        self.prompt = nn.Parameter(torch.zeros(2, 3))


def _named(module, groups):
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {group["name"]: [names[id(parameter)] for parameter in group["params"]] for group in groups}


def test_one_group_without_wishes():
    module = Method()
    (group,) = param_groups(module, lr=0.1, weight_decay=0.01)
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.01)
    assert all(a is b for a, b in zip(group["params"], module.parameters(), strict=True))


def test_multipliers_take_whole_names_and_the_longest():
    module = Method()
    groups = param_groups(
        module,
        lr=0.1,
        weight_decay=0.01,
        lr_multipliers={"network.backbone": 0.1, "network.backbone.1": 0.5, "prompt": 2},
    )
    assert _named(module, groups) == {
        "prompt": ["prompt"],
        "network.backbone": ["network.backbone.0.weight", "network.backbone.0.bias"],
        "network.backbone.1": ["network.backbone.1.weight", "network.backbone.1.bias"],
        "default": [f"network.{part}.{kind}" for part in ("backbone_extra", "head") for kind in ("weight", "bias")],
    }
    assert [group["lr"] for group in groups] == pytest.approx([0.2, 0.01, 0.05, 0.1])


def test_no_decay_for_norms_and_biases():
    module = Method()
    groups = param_groups(
        module, lr=1.0, weight_decay=0.01, lr_multipliers={"network.backbone": 0.1}, no_decay_norm_bias=True
    )
    named = _named(module, groups)
    backbone = ["network.backbone.0.bias", "network.backbone.1.weight", "network.backbone.1.bias"]
    assert named["network.backbone, no decay"] == backbone
    assert named["network.backbone"] == ["network.backbone.0.weight"]
    assert {group["name"]: group["weight_decay"] for group in groups} == {
        name: 0.0 if "no decay" in name else 0.01 for name in named
    }


def test_every_trainable_parameter_once():
    module = Method()
    module.network.head.weight = nn.Parameter(torch.zeros(4, 4))
    module.network.backbone_extra.weight = module.network.head.weight  # shared
    module.network.backbone[0].weight.requires_grad_(False)
    groups = param_groups(
        module, lr=1.0, weight_decay=0.0, lr_multipliers={"network.head": 0.1}, no_decay_norm_bias=True
    )
    taken = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(taken) == sorted(id(parameter) for parameter in module.parameters() if parameter.requires_grad)
    torch.optim.SGD(groups)  # would refuse a parameter in two groups


def test_a_part_that_is_wholly_frozen_may_be_named():
    module = Method()
    module.network.backbone.requires_grad_(False)
    groups = param_groups(module, lr=1.0, weight_decay=0.0, lr_multipliers={"network.backbone": 0.1})
    assert [group["name"] for group in groups] == ["default"]


def test_errors_name_the_nearest():
    with pytest.raises(MultisegError, match=r"'network\.backbon'; did you mean 'network\.backbone'"):
        param_groups(Method(), lr=1.0, weight_decay=0.0, lr_multipliers={"network.backbon": 0.1})
    with pytest.raises(MultisegError, match="Method has no trainable parameters"):
        param_groups(Method().requires_grad_(False), lr=1.0, weight_decay=0.0)
