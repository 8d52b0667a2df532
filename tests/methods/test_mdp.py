"""MDP's step: what is contrasted with what, symmetry, the bank, the key encoder."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from multiseg.batch import ViewBatch
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.losses.base import Prototypes, class_means, merge_means
from multiseg.losses.pixel_contrast import pixel_contrast
from multiseg.losses.prototype_bank import ClassBank, RegionBank
from multiseg.losses.prototype_contrast import SparseCoding, prototype_contrast
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.mdp import MDP
from multiseg.methods.moco import MoCo
from multiseg.networks.segmentation_network import SegmentationNetwork
from tiny_methods import PARK, TOWN, make, make_batch, make_views, step


def region_bank(classes: int, channels: int) -> RegionBank:
    return RegionBank(classes, channels, images=12)


def class_bank(classes: int, channels: int) -> ClassBank:
    return ClassBank(classes, channels, batches=3)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"bank": class_bank},
    "sparse": {"bank": class_bank, "coding": SparseCoding(count=2)},
    "regions": {"bank": region_bank, "coding": SparseCoding(count=2, neighbours="class")},
    "pixels": {"bank": class_bank, "contrast": "pixels"},
    "by name": {"bank": class_bank, "union": "by_name"},
    "norms": {"bank": class_bank, "dataset_norms": True},
}


def make_mdp(**arguments: Any) -> MDP:
    method = make(MDP, projection_channels=16, **{"bank": class_bank, **arguments})
    assert isinstance(method, MDP)
    return method.train()


def update(method: SegmentationMethod, batch: ViewBatch, optimizer: torch.optim.Optimizer) -> float:
    loss = step(method, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_learns_what_it_is_shown(arguments: dict[str, Any]) -> None:
    """Not to zero: a sparse code, and a class of many pixels, have an entropy of their own."""
    method = make_mdp(**arguments)
    optimizer = method.optimizer_spec.build(method)
    batch = make_views([TOWN, PARK, TOWN, PARK])
    losses = [update(method, batch, optimizer) for _ in range(25)]
    assert min(losses[-3:]) < losses[0] - 0.05


@pytest.mark.parametrize("kind", [MDP, MoCo])
def test_every_trained_parameter_gets_a_gradient_whatever_datasets_are_present(kind: type[SegmentationMethod]) -> None:
    method = make(kind, **({"bank": class_bank} if kind is MDP else {"queue": 16})).train()
    step(method, make_views([TOWN, TOWN])).backward()
    trained = [(name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad]
    assert not [name for name, parameter in trained if parameter.grad is None]
    assert not [name for name, _ in trained if name.startswith("key.")]
    assert any(name.startswith("key.") for name, _ in method.named_parameters())


def losses_by_hand(method: MDP, batch: ViewBatch, coding: SparseCoding | None) -> tuple[Tensor, Tensor]:
    """The step as the docstring has it, with the pure functions: the views' part and the mixed one's."""
    method = copy.deepcopy(method)
    views = (batch.first, batch.second)
    queries = [method.embed(view.images, view.spaces) for view in views]
    keys = [method.embed_keys(view.images, view.spaces) for view in views]
    offsets = {"town": 0, "park": len(TOWN)}

    def at_centres(labels: Tensor, spaces: tuple[LabelSpace, ...]) -> Tensor:
        cells = labels[:, 16::32, 16::32].clone()
        for row, space in enumerate(spaces):
            cells[row] = torch.where(cells[row] == IGNORE, IGNORE, cells[row] + offsets[space.name])
        return cells

    labels = [at_centres(view.labels, view.spaces) for view in views]
    means = [class_means(key, own, IGNORE) for key, own in zip(keys, labels, strict=True)]
    made: list[Prototypes] = method.bank.with_batch(
        *[method.bank.pack(own, len(batch)) for own in (means[1], means[0], merge_means(*means))]
    )
    parts = [
        prototype_contrast(queries[i], labels[i], made[i], method.temperature, IGNORE, coding).mean for i in (0, 1)
    ]
    assert batch.mixed is not None
    mixed = method.embed(batch.mixed.images, batch.mixed.spaces[0])
    sums = [
        prototype_contrast(mixed, at_centres(own, spaces), made[2], method.temperature, IGNORE, coding, shares)
        for own, spaces, shares in batch.mixed.parts
    ]
    total = sum((entry.total for entry in sums), start=torch.zeros(()))
    weight = sum((entry.weight for entry in sums), start=torch.zeros(()))
    return (parts[0] + parts[1]) / 2, total / weight


@pytest.mark.parametrize("coding", [None, SparseCoding(count=2)])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_loss_is_that_of_the_docstring(coding: SparseCoding | None, weight: float) -> None:
    method = make_mdp(coding=coding, mixed_weight=weight)
    for seed in range(3):  # with something in the bank
        step(method, make_views([TOWN, PARK, PARK], seed=seed))
    batch = make_views([TOWN, PARK, TOWN, PARK], seed=9)
    views, mixed = losses_by_hand(method, batch, coding)
    torch.testing.assert_close(step(method, batch), views + weight * mixed)


def test_the_baseline_contrasts_pixels_of_the_two_views_and_mixes_nothing() -> None:
    method = make_mdp(contrast="pixels")
    batch = make_views([TOWN, PARK], mixed=True)
    reference = copy.deepcopy(method)
    views = (batch.first, batch.second)
    queries = [reference.embed(view.images, view.spaces) for view in views]
    keys = [reference.embed_keys(view.images, view.spaces) for view in views]
    labels = [reference.union_labels(view.labels, view.spaces, queries[0]) for view in views]
    parts = [
        pixel_contrast(queries[i], labels[i], keys[1 - i], labels[1 - i], method.temperature, IGNORE).mean
        for i in (0, 1)
    ]
    torch.testing.assert_close(step(method, batch), (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_the_views_can_change_places(arguments: dict[str, Any]) -> None:
    first, second = make_mdp(**arguments), make_mdp(**arguments)
    for seed in range(4):
        batch = make_views([TOWN, PARK, TOWN, PARK], seed=seed)
        swapped = replace(batch, first=batch.second, second=batch.first)
        torch.testing.assert_close(step(first, batch), step(second, swapped), rtol=1e-5, atol=1e-5)
        for name in ("prototypes", "known"):
            torch.testing.assert_close(getattr(first, name), getattr(second, name))
    for (name, value), other in zip(first.bank.state_dict().items(), second.bank.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, msg=lambda m, n=name: f"{n}: {m}")


def test_wrong_labels_never_reach_a_prototype() -> None:
    """What lies under ignored pixels, and under another class, changes no prototype of a class."""
    method, other = make_mdp(), make_mdp()
    batch = make_views([TOWN, PARK], mixed=False)
    step(method, batch)
    labels = batch.first.labels.clone()
    labels[:, :, 48:] = IGNORE  # half of each image, one class
    step(other, replace(batch, first=replace(batch.first, labels=labels)))
    assert method.known.tolist() == other.known.tolist()
    torch.testing.assert_close(method.prototypes[3], other.prototypes[3])  # the left half of the park
    assert not torch.allclose(method.prototypes[4], other.prototypes[4])


def test_embeddings_of_a_class_never_shown_are_no_prototype() -> None:
    method = make_mdp()
    step(method, make_views([TOWN, TOWN], mixed=False))
    assert method.known.tolist() == [True, True, False, False, False]  # road, car; not sky, nor anything of the park
    logits = method.eval().logits(make_batch([TOWN]).images, "town")
    assert (logits[:, 2] == -1e4).all() and (logits[:, :2].abs() <= 1 / 0.07 + 1e-3).all()
    assert torch.equal(
        method.predict_labels(make_batch([TOWN]).images, (20, 30), "park"), torch.zeros(1, 20, 30, dtype=torch.int64)
    )


def test_identical_names_share_a_prototype_if_asked() -> None:
    method = make_mdp(union="by_name")
    assert method.union.names == ("road", "car", "sky", "tree")
    assert method.tables.tolist() == [[0, 1, 2, -1], [3, 2, -1, -1]]
    assert make_mdp().union.names == ("town/road", "town/car", "town/sky", "park/tree", "park/Sky")


def test_the_mixed_part_needs_the_labels_of_both_images() -> None:
    method = make_mdp()
    batch = make_views([TOWN, PARK, TOWN, PARK])
    assert batch.mixed is not None
    for part in (0, 1):
        labels = batch.mixed.labels.clone()
        labels[part] = IGNORE
        changed = replace(batch, mixed=replace(batch.mixed, labels=labels))
        assert not torch.allclose(step(copy.deepcopy(method), changed), step(copy.deepcopy(method), batch))


def test_a_batch_without_a_label_is_zero_on_the_graph() -> None:
    method = make_mdp(coding=SparseCoding())
    batch = make_views([TOWN, PARK], mixed=False)
    nothing = torch.full_like(batch.first.labels, IGNORE)
    loss = step(method, ViewBatch(replace(batch.first, labels=nothing), replace(batch.second, labels=nothing)))
    loss.backward()
    assert loss == 0 and not method.known.any()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_bfloat16_changes_little() -> None:
    method = make_mdp(coding=SparseCoding(count=2))
    batch = make_views([TOWN, PARK])
    plain = step(copy.deepcopy(method), batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = step(method, batch)
    loss.backward()
    assert loss.dtype == torch.float32 and method.prototypes.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=0.05, atol=0.05)


def test_a_trained_model_needs_neither_keys_nor_bank() -> None:
    method = make_mdp()
    step(method, make_views([TOWN, PARK]))
    state = method.trained_state()
    assert not [name for name in state if name.startswith(("key.", "bank."))]
    assert {"prototypes", "known"} <= state.keys()
    other = make_mdp()
    other.load_trained(state)
    images = make_batch([TOWN]).images
    assert torch.equal(method.eval().logits(images, "town"), other.eval().logits(images, "town"))


def test_an_auxiliary_head_and_impossible_numbers_are_refused() -> None:
    from functools import partial

    from multiseg.networks.backbone import Backbone
    from multiseg.networks.pyramid_pooling import PyramidPooling
    from multiseg.networks.segmentation_network import AuxiliaryHead
    from multiseg.optim.optimizers import SGD
    from multiseg.optim.schedules import Constant

    network = SegmentationNetwork(
        Backbone("test_resnet"), partial(PyramidPooling, channels=16, bins=[1]), AuxiliaryHead
    )
    with pytest.raises(MultisegError, match=r"method\.network\.auxiliary to null"):
        MDP([TOWN], network, optimizer=SGD(lr=0.1), schedule=Constant())
    for wrong, message in [
        ({"temperature": 0.0}, "temperature"),
        ({"momentum": 2.0}, "momentum"),
        ({"bank": lambda k, d: ClassBank(k, d, batches=0)}, "batches"),
    ]:
        with pytest.raises(MultisegError, match=message):
            make_mdp(**wrong)
