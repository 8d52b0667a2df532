"""CDCL: alternation is the summed loss, one dataset at a time; norms, classifiers and memory of each dataset's own."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from multiseg.batch import Batch
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.by_name import ByName
from multiseg.methods.cdcl import CDCL
from multiseg.methods.label_remap import LabelRemap
from multiseg.methods.multi_head import MultiHead
from multiseg.methods.universal import Universal
from multiseg.networks.dataset_norm import dataset_norms, norm_sets
from tiny_methods import PARK, TOWN, lived_in, make, make_batch, step

MIXED = [TOWN, PARK, TOWN, PARK]


def part(batch: Batch, name: str) -> Batch:
    """The images of one dataset."""
    rows = batch.rows_of()[name]
    chosen = {key: getattr(batch, key)[rows] for key in ("images", "labels", "sizes")}
    return replace(
        batch,
        **chosen,
        spaces=tuple(batch.spaces[r] for r in rows),
        keys=tuple(batch.keys[r] for r in rows),
        segments=(),
    )


def gradients(method: SegmentationMethod) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}


def distance(first: Tensor, second: Tensor) -> float:
    """Relative to the first."""
    return float((first - second).norm() / first.norm())


def alternate(method: SegmentationMethod, batches: list[Batch]) -> None:
    """A cycle as the trainer runs it: gradients averaged over its batches."""
    method.turns = len(batches)
    for number, batch in enumerate(batches):
        (method.training_step(batch, number) / len(batches)).backward()


@pytest.mark.parametrize("owners", [MIXED, [PARK, TOWN, TOWN]])
def test_a_cycle_has_the_gradient_of_the_summed_loss(owners: list[LabelSpace]) -> None:
    method = lived_in(make(CDCL)).train()
    batch = make_batch(owners)
    batches = [part(batch, "town"), part(batch, "park")]
    one_by_one, reference = copy.deepcopy(method), copy.deepcopy(method)
    alternate(one_by_one, batches)
    sum(step(reference, own) for own in batches).backward()  # with turns = 1: each loss as it stands
    assert gradients(one_by_one).keys() == dict(method.named_parameters()).keys()
    for name, gradient in gradients(one_by_one).items():
        assert distance(gradient, gradients(reference)[name]) < 1e-3, name


def test_a_cycle_has_the_gradient_of_a_mixed_batch_of_the_same_images() -> None:
    """With norms of their own, no image depends on another dataset's."""
    method = lived_in(make(CDCL)).train()
    batch = make_batch(MIXED)
    together, one_by_one = copy.deepcopy(method), copy.deepcopy(method)
    step(together, batch).backward()
    alternate(one_by_one, [part(batch, "town"), part(batch, "park")])
    for name, gradient in gradients(together).items():
        assert distance(gradient, gradients(one_by_one)[name]) < 1e-3, name


def test_with_shared_norms_a_cycle_is_something_else_than_a_mixed_batch() -> None:
    method = lived_in(make(MultiHead, sum_datasets=True)).train()
    batch = make_batch(MIXED)
    together, one_by_one = copy.deepcopy(method), copy.deepcopy(method)
    step(together, batch).backward()
    alternate(one_by_one, [part(batch, "town"), part(batch, "park")])
    name = "network.backbone.features.layer1.0.conv1.weight"
    assert distance(gradients(together)[name], gradients(one_by_one)[name]) > 0.1


def test_a_dataset_moves_only_its_own_norms_and_classifier() -> None:
    method = lived_in(make(CDCL)).train()
    before = copy.deepcopy(method.state_dict())
    step(method, part(make_batch(MIXED), "town")).backward()
    for name, gradient in gradients(method).items():
        others = ".of_dataset.park." in name or name.startswith("classifiers.park")
        assert bool(gradient.any()) != others, name
    for name, value in method.state_dict().items():
        if ".of_dataset.park." in name:
            assert torch.equal(value, before[name]), name


def test_activations_of_one_dataset_at_a_time() -> None:
    """What autograd keeps between forward and backward, counted: the same for one dataset and for eight."""
    spaces = [
        LabelSpace(f"set{n}", tuple(LabelClass(c, (i,), (i, i, i)) for i, c in enumerate("abc")), (255,))
        for n in range(8)
    ]
    kept = {}
    for count in (1, 8):
        method = make(CDCL, spaces[:count]).train()
        own = {tensor.data_ptr() for tensor in [*method.parameters(), *method.buffers()]}
        alive, most = 0, 0

        def pack(tensor: Tensor) -> "Kept":
            nonlocal alive, most
            size = 0 if tensor.data_ptr() in own else tensor.nbytes  # noqa: B023  (called within the loop)
            alive += size
            most = max(most, alive)
            return Kept(tensor, size)

        class Kept:
            def __init__(self, tensor: Tensor, size: int) -> None:
                self.tensor, self.size = tensor, size

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.size

        with saved_tensors_hooks(pack, lambda kept: kept.tensor):
            alternate(method, [make_batch([space] * 2) for space in spaces[:count]])
        kept[count] = most
    assert kept[8] < 1.02 * kept[1]


def test_a_cycle_in_which_a_dataset_comes_twice_and_another_not_at_all() -> None:
    """As with unequal shares: the sum of what is there, and a gradient of zero for the rest."""
    method = lived_in(make(CDCL)).train()
    batch = part(make_batch(MIXED), "town")
    reference = copy.deepcopy(method)
    alternate(method, [batch, batch])
    (2 * step(reference, batch)).backward()
    for name, gradient in gradients(method).items():
        others = ".of_dataset.park." in name or name.startswith("classifiers.park")
        assert not gradient.any() if others else distance(gradient, gradients(reference)[name]) < 1e-3, name
    assert gradients(method).keys() == dict(method.named_parameters()).keys()


@pytest.mark.parametrize("kind", [MultiHead, ByName, LabelRemap, Universal])
def test_any_method_can_have_dataset_norms(kind: type[SegmentationMethod]) -> None:
    method = make(kind, dataset_norms=True).train()
    step(method, make_batch(MIXED)).backward()
    assert gradients(method).keys() == dict(method.named_parameters()).keys()
    images = make_batch([TOWN]).images
    method.eval()
    for taxonomy in method.taxonomies:
        assert method.predict_labels(images, (32, 48), taxonomy, seen_as="park").shape == (1, 32, 48)
    for union in set(method.taxonomies) - set(method.spaces):
        with pytest.raises(MultisegError, match=f"no batch norms of '{union}'"):
            method.logits(images, union)


def test_dataset_norms_can_be_left_out() -> None:
    assert norm_sets(make(MultiHead, dataset_norms=True).network) == ("town", "park")
    plain = make(CDCL, dataset_norms=False)
    assert not dataset_norms(plain.network) and plain.norm_sets == ()


def test_predictions_pass_the_norms_that_are_named() -> None:
    method = make(CDCL).train()
    for name, brightness in (("town", 0.2), ("park", 1.0)):
        batch = part(make_batch(MIXED), name)
        step(method, replace(batch, images=(batch.images * brightness).to(torch.uint8)))
    method.eval()
    for classifier in method.classifiers.values():
        torch.nn.init.normal_(classifier.main.weight)
    images = make_batch([TOWN, PARK]).images
    own = method.logits(images, "town")
    assert torch.equal(own, method.logits(images, "town", seen_as="town"))
    other = method.logits(images, "town", seen_as="park")
    assert not torch.allclose(own, other)
    mixed = method.logits(images, "town", seen_as=["town", "park"])
    torch.testing.assert_close(mixed, torch.stack([own[0], other[1]]), rtol=1e-4, atol=1e-4)
    maps = method.predict_in_all(images, (64, 96), ["town", "park"], "park")
    assert torch.equal(maps["town"], method.predict_labels(images, (64, 96), "town", "park"))
    with pytest.raises(MultisegError, match="no batch norms of 'twon'; did you mean 'town'"):
        method.logits(images, "town", seen_as="twon")


PEAK = """
import resource, sys
from functools import partial
import torch
from tiny_methods import make_batch
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.methods.cdcl import CDCL
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant

count, turns = int(sys.argv[1]), int(sys.argv[2])
classes = tuple(LabelClass(str(i), (i,), (i, i, i)) for i in range(11))
spaces = [LabelSpace(f"set{n}", classes, (255,)) for n in range(count)]
network = SegmentationNetwork(Backbone("resnet18", output_stride=8), partial(PyramidPooling, channels=256))
method = CDCL(spaces, network, optimizer=SGD(lr=0.01), schedule=Constant()).train()
method.to(memory_format=torch.channels_last)
method.log = method.log_dict = lambda *args, **kwargs: None
method.turns = turns
optimizer = method.optimizer_spec.build(method)
batches = [make_batch([s] * 8, (128, 160)) for s in spaces] if turns > 1 else [make_batch(spaces * 8, (128, 160))]
for _ in range(3):
    for number, batch in enumerate(batches):
        (method.training_step(batch, number) / len(batches)).backward()
    optimizer.step()
    optimizer.zero_grad()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_of_eight_datasets_is_that_of_one() -> None:
    """Of the whole process, in float32: within 15 %. A mixed batch of as many images takes several times as much."""

    def peak(count: int, turns: int) -> int:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", PEAK, str(count), str(turns)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

    one, eight, mixed = peak(1, 1), peak(8, 8), peak(8, 1)
    print(f"peak memory in MiB: one dataset {one >> 10}, eight in turn {eight >> 10}, eight in one batch {mixed >> 10}")
    assert eight < 1.15 * one
    assert mixed > 2 * one
