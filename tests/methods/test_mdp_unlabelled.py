"""Images without labels in MDP: they learn from the prototypes where these are sure, and never make any."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from multiseg.batch import MixedBatch, ViewBatch
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE, LabelSpace
from multiseg.losses.base import Prototypes
from multiseg.losses.prototype_bank import BankFactory, ClassBank, RegionBank
from multiseg.methods.mdp import MDP
from multiseg.networks.backbone import Backbone
from multiseg.networks.pyramid_pooling import PyramidPooling
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.optim.optimizers import SGD
from multiseg.optim.schedules import Constant
from tiny_methods import PARK, TOWN, make_batch

PHOTOS = LabelSpace("photos", ())


def make(confidence: float, spaces: Sequence[LabelSpace] = (TOWN, PHOTOS, PARK), **arguments: object) -> MDP:
    torch.manual_seed(0)
    method = MDP(
        list(spaces),
        SegmentationNetwork(Backbone("test_resnet"), partial(PyramidPooling, channels=16, bins=[1, 2], dropout=0.0)),
        projection_channels=8,
        optimizer=SGD(lr=0.05),
        schedule=Constant(),
        **arguments,
    )
    method.confidence = confidence
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    return method.train()


def views(spaces: list[LabelSpace], seed: int = 0) -> ViewBatch:
    """Two views; those of `PHOTOS` are labelled nowhere."""

    def view(seed: int) -> object:
        batch = make_batch([space if len(space) else TOWN for space in spaces], seed=seed)
        unlabelled = torch.tensor([not len(space) for space in spaces])
        labels = batch.labels.masked_fill(unlabelled[:, None, None], IGNORE)
        return replace(batch, labels=labels, spaces=tuple(spaces))

    return ViewBatch(view(seed), view(seed + 1))  # type: ignore[arg-type]


def gradient(method: MDP, batch: ViewBatch) -> float:
    """Its largest entry, of a step."""
    method.zero_grad()
    method.training_step(batch, 0).backward()
    return max(float(p.grad.abs().max()) for p in method.parameters() if p.grad is not None)


CASES = pytest.mark.parametrize("contrast", ["prototypes", "pixels"])


@CASES
def test_sure_prototypes_teach_images_without_labels(contrast: str) -> None:
    method = make(0.0, contrast=contrast)
    method.training_step(views([TOWN, PARK, TOWN]), 0)
    assert gradient(method, views([PHOTOS, PHOTOS], 5)) > 0


@CASES
def test_an_unreachable_threshold_teaches_them_nothing(contrast: str) -> None:
    method = make(1.1, contrast=contrast)
    method.training_step(views([TOWN, PARK, TOWN]), 0)
    assert gradient(method, views([PHOTOS, PHOTOS], 5)) == 0


def test_before_there_are_prototypes_they_learn_nothing() -> None:
    method = make(0.0)
    assert gradient(method, views([PHOTOS, PHOTOS])) == 0
    assert not method.known.any()


def test_the_label_is_the_nearest_prototype_where_it_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop over the pixels."""
    method = make(0.3)
    method.training_step(views([TOWN, PARK, TOWN]), 0)
    seen: list[tuple[Tensor, Prototypes]] = []
    original = method._label_confident

    def label(batch: object, keys: Sequence[Tensor], labels: Sequence[Tensor], prototypes: Prototypes) -> None:
        before = [own.clone() for own in labels]
        original(batch, keys, labels, prototypes)  # type: ignore[arg-type]
        for key, own, old in zip(keys, labels, before, strict=True):
            check(key, own, old, prototypes)

    def check(keys: Tensor, labels: Tensor, before: Tensor, prototypes: Prototypes) -> None:
        assert torch.equal(labels[[0, 2]], before[[0, 2]])
        assert (before[1] == IGNORE).all()
        seen.append((labels[1], prototypes))
        for place in range(labels[1].numel()):
            pixel = keys[1].flatten(1)[:, place]
            similar = [float(pixel @ prototypes.classes[k]) for k in range(5) if prototypes.known[k]]
            shares = torch.tensor(similar).div(method.temperature).softmax(0)
            known = torch.arange(5)[prototypes.known]
            wanted = int(known[shares.argmax()]) if shares.max() >= 0.3 else IGNORE
            if abs(shares.max() - 0.3) > 1e-4:
                assert int(labels[1].flatten()[place]) == wanted

    monkeypatch.setattr(method, "_label_confident", label)
    method.training_step(views([TOWN, PHOTOS, PARK], 3), 0)
    assert len(seen) == 2
    assert any((labels != IGNORE).any() for labels, _ in seen)


@pytest.mark.parametrize("bank", [partial(ClassBank, batches=4), partial(RegionBank, images=12)])
def test_they_never_enter_the_bank(bank: BankFactory) -> None:
    method = make(0.0, bank=bank)
    method.training_step(views([TOWN, PARK, TOWN]), 0)
    before = {name: tensor.clone() for name, tensor in method.bank.state_dict().items()}
    method.training_step(views([PHOTOS, PHOTOS], 5), 0)
    after = method.bank.state_dict()
    for name in before.keys() - {"position"}:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)


def test_mixed_images_count_only_where_the_labelled_one_is_seen() -> None:
    method = make(1.1)
    method.training_step(views([TOWN, PARK, TOWN]), 0)
    plain = views([PHOTOS, PHOTOS], 5)
    labels = torch.stack([plain.first.labels, plain.first.labels])
    images, spaces = plain.first.images, plain.first.spaces
    both = MixedBatch(images, labels, torch.ones(2, 2), (spaces, spaces))
    assert gradient(method, replace(plain, mixed=both)) == 0
    with_town = labels.clone()
    with_town[1, :, :, 48:] = 0
    half = MixedBatch(images, with_town, torch.ones(2, 2), (spaces, (TOWN, TOWN)))
    assert gradient(method, replace(plain, mixed=half)) > 0


def test_it_predicts_in_what_is_labelled_only() -> None:
    method = make(0.9).eval()
    assert list(method.taxonomies) == ["town", "park"]
    assert len(method.union) == 5
    with pytest.raises(MultisegError, match="no taxonomy 'photos'"):
        method.predict_labels(make_batch([TOWN]).images, (8, 8), "photos")


def test_without_any_labels_there_is_no_class_to_learn() -> None:
    with pytest.raises(MultisegError, match="no class to learn"):
        make(0.9, [PHOTOS])
