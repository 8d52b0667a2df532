"""A decoder trained at some pixels of each image, under every method that trains by pixels, and under those that do
not.
"""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from multiseg.batch import Batch
from multiseg.label_space import IGNORE
from multiseg.methods.base import SegmentationMethod
from multiseg.methods.by_name import ByName
from multiseg.methods.cdcl import CDCL
from multiseg.methods.label_remap import LabelRemap
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.mdp import MDP
from multiseg.methods.multi_head import MultiHead
from multiseg.methods.supervised import Supervised
from multiseg.methods.universal import Universal
from multiseg.networks.fully_convolutional import FullyConvolutional
from multiseg.networks.hypercolumn import Hypercolumn
from multiseg.networks.segmentation_network import upsample
from tiny_methods import PARK, TOWN, make, make_batch, make_views, step, train

BY_PIXELS = [Supervised, MultiHead, CDCL, ByName, LabelRemap, Universal]


def sparse(kind: type[SegmentationMethod], points: int | None = 40, **options: object) -> SegmentationMethod:
    return make(kind, pixel_decoder=partial(Hypercolumn, channels=16, points=points, **options))


def batch_for(kind: type[SegmentationMethod]) -> Batch:
    return make_batch([TOWN] * 4 if kind is Supervised else [TOWN, PARK, TOWN, PARK])


def watch(method: SegmentationMethod) -> list[tuple[int, ...]]:
    """The shapes of all that its network will decode."""
    shapes: list[tuple[int, ...]] = []
    method.network.register_forward_hook(lambda _, __, features: shapes.append(tuple(features.decoded.shape)))
    return shapes


@pytest.mark.parametrize("kind", BY_PIXELS)
def test_every_method_of_pixels_learns_at_points(kind: type[SegmentationMethod]) -> None:
    method = sparse(kind).train()
    shapes = watch(method)
    losses = train(method, batch_for(kind), 15)
    assert set(shapes) == {(4, 16, 1, 40)}
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])


def test_fc6_and_fc7_learn() -> None:
    decoder = partial(FullyConvolutional, channels=16, kernel=2, dropout=0.0)
    losses = train(make(MultiHead, pixel_decoder=decoder).train(), batch_for(MultiHead), 12)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("kind", BY_PIXELS)
def test_every_parameter_gets_a_gradient_whatever_datasets_are_present(kind: type[SegmentationMethod]) -> None:
    method = sparse(kind).train()
    step(method, make_batch([TOWN, TOWN])).backward()
    assert [name for name, parameter in method.named_parameters() if parameter.grad is None] == []


def test_at_every_pixel_the_loss_is_that_of_the_dense_map(monkeypatch) -> None:
    method = sparse(MultiHead, stride=1)
    method.eval()  # batch norms by the same statistics, whatever is decoded
    batch = make_batch([TOWN, PARK, TOWN], (20, 30))
    grid = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij"), -1)
    shuffled = torch.stack([grid.flatten(0, 1)[torch.randperm(600)] for _ in range(3)])
    monkeypatch.setattr(method.network, "draw_points", lambda images, seeds: shuffled)
    at_points = step(method, batch)
    monkeypatch.setattr(method.network, "draw_points", lambda images, seeds: None)
    torch.testing.assert_close(at_points, step(method, batch))


def test_the_loss_is_the_mean_over_datasets_of_means_over_labelled_points(monkeypatch) -> None:
    """Against a loop over points in double precision, with the auxiliary head's over pixels."""
    method = sparse(MultiHead).train()
    batch = make_batch([TOWN, PARK, PARK])
    batch.labels[1, :, 40:] = IGNORE  # so that datasets have unequal shares of their points labelled
    points = method.network.draw_points(batch.images, batch.seeds)
    monkeypatch.setattr(method.network, "draw_points", lambda images, seeds: points)
    features = copy.deepcopy(method.network)(method.normalize(batch.images), points)
    expected = 0.0
    for name, rows in batch.rows_of().items():
        main, auxiliary = (logits.detach().double() for logits in method.classify(features, name, rows))
        main = main.log_softmax(1)
        full = upsample(auxiliary, method.network.auxiliary_stride, (64, 96)).log_softmax(1)
        of_points, of_pixels = [], []
        for place, row in enumerate(rows):
            for number, (y, x) in enumerate(points[row].tolist()):
                if (label := int(batch.labels[row, y, x])) != IGNORE:
                    of_points.append(-float(main[place, label, 0, number]))
            labels = batch.labels[row]
            for y, x in (labels != IGNORE).nonzero().tolist():
                of_pixels.append(-float(full[place, int(labels[y, x]), y, x]))
        means = [sum(losses) / len(losses) for losses in (of_points, of_pixels)]
        expected += len(rows) / 3 * (means[0] + method.auxiliary_weight * means[1])
    assert float(step(method, batch).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_mean_over_points_estimates_that_over_pixels() -> None:
    method = sparse(MultiHead, points=None, stride=1).eval()
    for parameter in method.classifiers.parameters():
        torch.nn.init.normal_(parameter)
    batch = make_batch([TOWN, PARK])
    exact = step(method, batch)
    method.network.decoder.points = 2000
    torch.manual_seed(0)
    torch.testing.assert_close(step(method, batch), exact, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("labels", ["none", "far from the points"])
def test_points_without_labels_give_a_finite_loss(labels: str, monkeypatch) -> None:
    method = sparse(MultiHead).train()
    method.auxiliary_weight = 0.0
    batch = make_batch([TOWN, PARK])
    if labels == "none":
        batch.labels.fill_(IGNORE)
    else:
        points = torch.zeros(2, 40, 2, dtype=torch.long)  # in the margin
        monkeypatch.setattr(method.network, "draw_points", lambda images, seeds: points)
    loss = step(method, batch)
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_images_of_odd_sizes_train() -> None:
    method = sparse(MultiHead).train()
    shapes = watch(method)
    step(method, make_batch([TOWN, PARK], (37, 51))).backward()
    assert shapes == [(2, 16, 1, 40)]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_predictions_are_dense_in_any_mode(mode: str) -> None:
    method = sparse(MultiHead)
    getattr(method, mode)()
    shapes = watch(method)
    images = make_batch([TOWN]).images
    assert method.logits(images, "town").shape == (1, 3, 16, 24)
    assert method.predict_labels(images, (50, 77), "town").shape == (1, 50, 77)
    assert set(shapes) == {(1, 16, 16, 24)}


def test_validation_is_dense() -> None:
    method = sparse(MultiHead).eval()
    shapes = watch(method)
    method.on_validation_epoch_start()
    method.validation_step([make_batch([TOWN]), make_batch([PARK])], 0)
    assert shapes == [(1, 16, 16, 24)] * 2
    assert not math.isnan(method.results()["park"].miou)


def test_mdp_trains_the_dense_map() -> None:
    """Its loss is over embeddings of all cells, so it draws no points."""
    method = sparse(MDP).train()
    shapes = watch(method)
    loss: Tensor = step(method, make_views([TOWN, PARK]))
    loss.backward()
    assert torch.isfinite(loss) and {shape[1] for shape in shapes} == {16} and {shape[2] for shape in shapes} != {1}


def test_masks_are_learnt_on_the_dense_map() -> None:
    method = make(LMSeg).train()
    network = method.network
    network.decoder = Hypercolumn(network.backbone.channels, network.backbone.strides, channels=16, points=40)
    network.stride = network.decoder.stride
    loss = step(method, make_batch([TOWN, PARK]))
    loss.backward()
    assert torch.isfinite(loss)


def test_points_are_drawn_by_the_seeds_of_the_images_alone() -> None:
    """So a resumed run draws what one without interruption does, and many processes what one does."""
    method, batch = sparse(MultiHead).train(), make_batch([TOWN, PARK])
    losses = []
    for seeds in ((1, 2), (3, 4), (1, 2)):
        losses.append(float(step(copy.deepcopy(method), replace(batch, seeds=seeds)).detach()))
    assert losses[0] == losses[2] != losses[1]


def test_half_precision_trains() -> None:
    method = sparse(MultiHead).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = step(method, make_batch([TOWN, PARK]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())
