"""Dataset-specific batch norm: a conversion that changes no output, statistics that nobody else touches, and the way
back.
"""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch._dynamo.utils import counters

from multiseg.errors import MultisegError
from multiseg.networks.aspp import ASPP
from multiseg.networks.backbone import Backbone
from multiseg.networks.dataset_norm import (
    DatasetNorm,
    compile_network,
    convert_norms,
    dataset_norms,
    extract_norms,
    images_of,
    norm_sets,
    plain_state,
    sets_in,
    untouched,
)
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import AuxiliaryHead, SegmentationNetwork
from multiseg.networks.synchronized_norm import synchronize_norms
from tiny_methods import lived_in

NAMES = ["town", "park-2"]


def pspnet() -> nn.Module:
    return SegmentationNetwork(
        Backbone("test_resnet", output_stride=8),
        partial(PyramidPooling, channels=16, bins=[1, 2], dropout=0.0),
        partial(AuxiliaryHead, channels=16, dropout=0.0),
    )


def deeplab() -> nn.Module:
    return SegmentationNetwork(
        Backbone("test_resnet", output_stride=8), partial(ASPP, channels=16, rates=[2, 4], dropout=0.0)
    )


def one_dimensional() -> nn.Module:
    return nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.ReLU(inplace=True))


def synchronized() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    synchronize_norms(network)
    return network


def torch_synchronized() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.ReLU())


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False, track_running_stats=False))


NETWORKS = {
    "PSPNet": pspnet,
    "DeepLabV3": deeplab,
    "1d": one_dimensional,
    "our synchronised": synchronized,
    "torch's SyncBatchNorm": torch_synchronized,
    "no statistics, no scale": without_statistics,
    "fused activations": partial(timm.create_model, "test_efficientnet", num_classes=3),
    "norm outside": lambda: nn.BatchNorm2d(3),
}


def tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for entry in output or () for tensor in tensors(entry)]  # type: ignore[attr-defined]


def images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def assert_same(first: object, second: object, **tolerance: float) -> None:
    for one, other in zip(tensors(first), tensors(second), strict=True):
        torch.testing.assert_close(one, other, **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_conversion_leaves_outputs_as_they_were_and_extraction_gives_them_back(kind: str, training: bool) -> None:
    if kind.startswith("torch's") and training:
        pytest.skip("torch's SyncBatchNorm trains on accelerators only")
    original = lived_in(NETWORKS[kind]()).train(training)
    converted = convert_norms(copy.deepcopy(original), NAMES)
    assert norm_sets(converted) == tuple(NAMES)
    for name in NAMES:
        expected = copy.deepcopy(original)(images())
        with images_of(converted, name):
            assert_same(expected, converted(images()))
        plain = extract_norms(converted, name)
        assert not dataset_norms(plain)
        assert plain.state_dict().keys() == original.state_dict().keys()
        fresh = extract_norms(convert_norms(copy.deepcopy(original), NAMES), name)
        assert_same(copy.deepcopy(original)(images()), fresh(images()))


def test_after_training_extraction_has_the_outputs_of_its_dataset() -> None:
    network = convert_norms(lived_in(pspnet()), NAMES).train()
    for name, seed in zip(NAMES, (1, 2), strict=True):
        with images_of(network, name):
            network(images(4, seed) * seed)
    network.eval()
    outputs = []
    for name in NAMES:
        with images_of(network, name):
            outputs.append(network(images()))
        assert_same(outputs[-1], extract_norms(network, name)(images()))
    assert not torch.allclose(outputs[0].decoded, outputs[1].decoded)


def test_a_mixed_batch_passes_each_images_own_norms() -> None:
    """Whatever the order of the images, in training and in evaluation."""
    for owners in (["town", "town", "park-2"], ["park-2", "town", "park-2", "town"], ["park-2", "park-2"]):
        for training in (True, False):
            network = convert_norms(lived_in(pspnet()), NAMES).train(training)
            for name, seed in zip(NAMES, (1, 2), strict=True):
                with images_of(network, name):
                    network(images(4, seed) * seed)
            apart, batch = copy.deepcopy(network), images(len(owners))
            with images_of(network, owners):
                mixed = tensors(network(batch))
            for name in set(owners):
                rows = [row for row, owner in enumerate(owners) if owner == name]
                with images_of(apart, name):
                    own = tensors(apart(batch[rows]))
                assert_same([output[rows] for output in mixed], own, rtol=1e-4, atol=1e-5)
            for (key, one), other in zip(network.state_dict().items(), apart.state_dict().values(), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=key)


def test_statistics_are_touched_by_their_own_dataset_only() -> None:
    network = convert_norms(pspnet(), NAMES).train()
    before = copy.deepcopy(network.state_dict())
    with images_of(network, "town"):
        network(images())
    for name, value in network.state_dict().items():
        if ".of_dataset.park-2." in name:
            assert torch.equal(value, before[name]), name
        elif name.endswith("running_mean"):
            assert not torch.equal(value, before[name]), name


def test_nobody_said_whose_images() -> None:
    network = convert_norms(pspnet(), NAMES)
    with pytest.raises(RuntimeError, match="batch norms of town, park-2: say whose images"):
        network(images())
    with images_of(network, "town"):
        network(images())
    with pytest.raises(RuntimeError, match="say whose"):  # and it is forgotten afterwards
        network(images())
    with pytest.raises(ZeroDivisionError), images_of(network, "town"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="say whose"):
        network(images())
    with images_of(network, "town"), images_of(network, "park-2"):
        pass


def test_two_networks_do_not_share_whose_images_they_see() -> None:
    first, second = convert_norms(pspnet(), NAMES), convert_norms(pspnet(), NAMES)
    with images_of(first, "town"), pytest.raises(RuntimeError, match="say whose"):
        second(images())
    copied = copy.deepcopy(first)
    with images_of(first, "town"), pytest.raises(RuntimeError, match="say whose"):
        copied(images())


def test_wrong_numbers_of_images_are_refused() -> None:
    network = convert_norms(pspnet(), NAMES)
    for owners in (["town", "park-2"], ["town", "town"]):
        with images_of(network, owners), pytest.raises(RuntimeError, match="split"):
            network(images(3))


def test_a_copy_made_while_in_use_sees_nobodys_images() -> None:
    network = convert_norms(pspnet(), NAMES)
    with images_of(network, "town"):
        copied = copy.deepcopy(network)
    with pytest.raises(RuntimeError, match="say whose"):
        copied(images())
    with images_of(copied, "park-2"):
        copied(images())


def test_threads_wait_for_each_other() -> None:
    """As in a web server: each answer is that of its own dataset, and afterwards nothing is left chosen."""
    network = convert_norms(lived_in(pspnet()), NAMES).train()
    for name, seed in zip(NAMES, (1, 2), strict=True):
        with images_of(network, name):
            network(images(4, seed) * seed)
    network.eval()

    def answer(name: str) -> Tensor:
        with torch.no_grad(), images_of(network, name):
            return network(images(1)).decoded

    expected = {name: answer(name) for name in NAMES}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, NAMES * 20))
    for name, given in zip(NAMES * 20, answers, strict=True):
        torch.testing.assert_close(given, expected[name])
    with pytest.raises(RuntimeError, match="say whose"):
        network(images())


def test_a_process_without_images_joins_in_float32() -> None:
    """The statistics of others are float32, whatever their images are; all must send the same."""

    class Recorded(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((len(x), x.dtype))
            return x

    seen: list[tuple[int, torch.dtype]] = []
    network = convert_norms(nn.Sequential(Recorded(3)), NAMES)
    with images_of(network, ["town", "town"], elsewhere=["park-2"]):
        output = network(images(2).bfloat16())
    assert output.dtype == torch.bfloat16 and output.shape == (2, 3, 64, 64)
    assert seen == [(2, torch.bfloat16), (0, torch.float32)]


def test_parameters_of_a_fused_activation_and_a_bare_norm_are_found_in_a_state() -> None:
    fused = convert_norms(nn.Sequential(BatchNormAct2d(3, act_layer=nn.PReLU)), NAMES)
    fused[0].of_dataset["park-2"].act.weight.data.fill_(7)
    state = plain_state(fused.state_dict(), "park-2")
    assert state.keys() == BatchNormAct2d(3, act_layer=nn.PReLU).state_dict(prefix="0.").keys()
    assert state["0.act.weight"].item() == 7
    bare = convert_norms(nn.BatchNorm2d(3), NAMES).state_dict()
    assert sets_in(bare) == ("park-2", "town")
    assert plain_state(bare, "town").keys() == nn.BatchNorm2d(3).state_dict().keys()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda network: images_of(network, "twon").__enter__(), "no batch norms of 'twon'; did you mean 'town'"),
        (lambda network: extract_norms(network, "twon"), "did you mean 'town'"),
        (lambda network: convert_norms(network, NAMES), "has batch norms of town, park-2 already"),
        (lambda network: convert_norms(nn.Conv2d(3, 4, 1), NAMES), "Conv2d has no batch norm"),
        (lambda network: convert_norms(pspnet(), ["a", "a"]), "stands there twice"),
        (lambda network: convert_norms(pspnet(), ["a.b"]), "'a.b' cannot name"),
        (lambda network: convert_norms(pspnet(), ["items"]), "'items' cannot name"),
        (lambda network: convert_norms(nn.Sequential(nn.LazyBatchNorm2d()), NAMES), "lazy"),
        (
            lambda network: extract_norms(pspnet(), "town"),
            "the network has no batch norms of 'town': all its datasets share the same",
        ),
        (lambda network: plain_state(network.state_dict(), "twon", "a.pth"), "a.pth has no batch norms of 'twon'"),
        (lambda network: plain_state(pspnet().state_dict(), "town", "a.pth"), "all its datasets share the same"),
    ],
)
def test_wrong_use_is_named(act: object, message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        act(convert_norms(pspnet(), NAMES))  # type: ignore[operator]


def test_a_norm_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm2d(4)
    network = convert_norms(nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Sequential(nn.Conv2d(4, 4, 1), norm)), NAMES)
    assert network[1] is network[2][1] and isinstance(network[1], DatasetNorm)
    plain = extract_norms(network, "town")
    assert plain[1] is plain[2][1] and isinstance(plain[1], nn.BatchNorm2d)


def test_a_process_group_is_shared_not_copied() -> None:
    class Group:
        def __deepcopy__(self, memo: object) -> "Group":
            raise TypeError("process groups cannot be copied")

    norm = nn.SyncBatchNorm(4)
    norm.process_group = Group()
    converted = convert_norms(nn.Sequential(norm), NAMES)
    assert converted[0].of_dataset["town"].process_group is norm.process_group


def test_extraction_can_share_tensors() -> None:
    network = convert_norms(pspnet(), NAMES)
    plain = extract_norms(network, "town", share=True)
    with torch.no_grad():
        for tensor in [*plain.parameters(), *plain.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(1)
    state = plain_state(network.state_dict(), "town")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_untouched_gives_absent_norms_a_gradient_of_zero() -> None:
    network = convert_norms(pspnet(), NAMES).train()
    with images_of(network, "town"):
        loss = network(images()).decoded.square().sum()
    zero = untouched(network, ["town"])
    assert zero is not None and zero.item() == 0
    (loss + zero).backward()
    for name, parameter in network.named_parameters():
        if ".of_dataset.park-2." in name:
            assert parameter.grad is not None and not parameter.grad.any(), name
    assert untouched(network, NAMES) is None
    assert untouched(pspnet(), ["town"]) is None


def test_weights_of_one_set_load_into_all_and_one_set_of_many_into_an_ordinary_network() -> None:
    plain, converted = lived_in(pspnet()), convert_norms(pspnet(), NAMES)
    report = converted.load({f"network.{name}": value for name, value in plain.state_dict().items()})
    assert report.complete
    for name in NAMES:
        for key, value in extract_norms(converted, name).state_dict().items():
            assert torch.equal(value, plain.state_dict()[key]), key
    with images_of(converted.train(), "park-2"):
        converted(images())
    state = {f"network.{name}": value for name, value in converted.state_dict().items()}
    assert sets_in(state) == ("park-2", "town")
    for part in ("network", "backbone"):
        with pytest.raises(MultisegError, match=r"run has batch norms of park-2, town.*init\.norms"):
            pspnet().load(state, part, "run")
    other = pspnet()
    assert other.load(plain_state(state, "park-2")).complete
    expected = extract_norms(converted, "park-2").eval()
    assert_same(expected(images()), other.eval()(images()))


@pytest.mark.parametrize("part", ["network", "backbone"])
def test_sets_load_into_those_of_the_same_name_and_a_new_one_is_told_from_whose(part: str) -> None:
    source, target = convert_norms(lived_in(pspnet()), NAMES), convert_norms(pspnet(), ["town", "harbour"])
    with images_of(source.train(), "town"):
        source(images())
    state = {f"network.{name}": value for name, value in source.state_dict().items()}
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(MultisegError, match=r"none of 'harbour': choose whose it starts from with --init\.norms"):
        target.load(state, part, "run")
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    with pytest.raises(MultisegError, match="did you mean 'town'"):
        target.load(state, part, "run", norms="twon")
    assert target.load(state, part, "run", norms="park-2").complete
    for name, of in (("town", "town"), ("harbour", "park-2")):
        got, wanted = extract_norms(target, name).state_dict(), extract_norms(source, of).state_dict()
        for key, value in got.items():
            assert torch.equal(value, wanted[key]) or (part == "backbone" and not key.startswith("backbone")), key


def test_bfloat16_autocast() -> None:
    network = convert_norms(pspnet(), NAMES).train()
    with torch.autocast("cpu", torch.bfloat16), images_of(network, ["town", "park-2", "town"]):
        output = network(images())
    output.decoded.float().square().sum().backward()
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if "auxiliary" not in name)
    assert all(norm.of_dataset["town"].running_mean.dtype == torch.float32 for norm in dataset_norms(network))


def test_export() -> None:
    """Of the extracted network, and of the converted one for a dataset."""
    converted = convert_norms(lived_in(pspnet()), NAMES).eval()
    plain = extract_norms(converted, "town")
    with images_of(converted, "town"):
        for network in (plain, converted):
            exported = torch.export.export(network, (images(1),)).module()
            assert_same(plain(images(1)).decoded, exported(images(1))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_for_more_datasets_than_torch_recompiles_by_default() -> None:
    """One graph a dataset: none falls back to eager, and outputs are the same."""
    names = [f"set{number}" for number in range(12)]
    network = convert_norms(lived_in(pspnet()), names).eval()
    compiled = copy.deepcopy(network)
    compile_network(compiled)
    counters.clear()
    with torch.no_grad():
        for name in [*names, *names]:
            with images_of(network, name), images_of(compiled, name):
                assert_same(network(images(1)), compiled(images(1)), rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == len(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50d", "resnest14d", "efficientnet_b0", "mobilenetv3_small_050", "regnety_002", "densenet121",
     "hrnet_w18_small", "dla34", "cspresnet50", "inception_v3", "repvgg_a0", "xception41", "vgg11_bn", "ghostnet_050"],
)  # fmt: skip
def test_every_family_of_timm_converts(name: str) -> None:
    torch.manual_seed(0)
    size = 128
    original = lived_in(timm.create_model(name, num_classes=5)).eval()
    converted = convert_norms(copy.deepcopy(original), NAMES)
    assert not [
        path for path, module in converted.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and ".of_dataset." not in path
    ]  # fmt: skip
    batch = torch.randn(2, 3, size, size)
    with torch.no_grad(), images_of(converted, ["town", "park-2"]):
        torch.testing.assert_close(converted(batch), original(batch), rtol=1e-4, atol=1e-4)
