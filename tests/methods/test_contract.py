"""Every method: learns on two datasets, predicts in its taxonomies, and is the same after a round trip through its
state.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import Batch, Sample, collate
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE
from multiseg.methods.base import Inference, SegmentationMethod
from multiseg.methods.by_name import ByName
from multiseg.methods.cdcl import CDCL
from multiseg.methods.colorization import Colorization
from multiseg.methods.jigsaw import Jigsaw
from multiseg.methods.label_remap import LabelRemap
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.maskformer import MaskFormer
from multiseg.methods.maskformer_by_name import MaskFormerByName
from multiseg.methods.mdp import MDP
from multiseg.methods.mix_and_match import MixAndMatch
from multiseg.methods.moco import MoCo
from multiseg.methods.multi_head import MultiHead
from multiseg.methods.supervised import Supervised
from multiseg.methods.universal import Universal
from tiny_methods import PARK, TOWN, make, make_batch, make_patches, make_tiles, make_views, step, train

METHODS = [Supervised, MultiHead, CDCL, ByName, LabelRemap, Universal, MaskFormer, MaskFormerByName, LMSeg]


@pytest.mark.parametrize("kind", METHODS)
def test_learns_what_it_is_shown(kind: type[SegmentationMethod]) -> None:
    method = make(kind).train()
    batch = make_batch([TOWN] * 4 if kind is Supervised else [TOWN, PARK, TOWN, PARK])
    losses = train(method, batch, 12)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("kind", METHODS)
def test_every_parameter_gets_a_gradient_whatever_datasets_are_present(kind: type[SegmentationMethod]) -> None:
    method = make(kind).train()
    step(method, make_batch([TOWN, TOWN])).backward()
    without = [name for name, parameter in method.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize("kind", [*METHODS, MDP])
def test_state_round_trip_predicts_the_same(kind: type[SegmentationMethod]) -> None:
    method = make(kind).eval()
    other = make(kind).eval()
    for parameter in other.parameters():
        parameter.data.add_(1.0)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    images = make_batch([TOWN]).images
    for name in method.taxonomies:
        assert torch.equal(method.logits(images, name), other.logits(images, name))


@pytest.mark.parametrize("kind", [*METHODS, MDP])
def test_predicts_in_each_taxonomy_at_the_asked_size(kind: type[SegmentationMethod]) -> None:
    method = make(kind).eval()
    for name, space in method.taxonomies.items():
        labels = method.predict_labels(make_batch([TOWN]).images, (50, 77), name)
        assert labels.shape == (1, 50, 77) and labels.min() >= 0 and labels.max() < len(space)
        probabilities = method.probabilities(make_batch([TOWN]).images, (50, 77), name)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 50, 77))
        assert torch.equal(probabilities.argmax(1), labels)


def test_unknown_taxonomy_names_the_nearest() -> None:
    with pytest.raises(MultisegError, match="did you mean 'town'"):
        make(MultiHead).predict_labels(make_batch([TOWN]).images, (8, 8), "twon")


def test_supervised_refuses_two_datasets() -> None:
    with pytest.raises(MultisegError, match="one dataset, not on town, park"):
        make(Supervised, [TOWN, PARK])


def test_ignored_pixels_change_nothing() -> None:
    method = make(MultiHead).train()
    batch = make_batch([TOWN, PARK])
    loss = step(copy.deepcopy(method), batch)
    method.network.eval()  # with batch statistics the images' own ignored pixels would count
    expected = step(method, batch)
    changed = copy.deepcopy(batch.labels)
    changed[:, :4] = 0
    assert not torch.equal(step(method, _with_labels(batch, changed)), expected)
    assert torch.isfinite(loss)


def test_loss_is_the_mean_over_datasets_of_pixel_means() -> None:
    """Against a loop over pixels in double precision."""
    method = make(MultiHead).train()
    method.auxiliary_weight = 0.0
    batch = make_batch([TOWN, PARK, PARK])
    expected = 0.0
    features = method.network(method.normalize(batch.images))
    for name, rows in batch.rows_of().items():
        logits = method.classify(features, name, rows)[0]
        full = torch.nn.functional.interpolate(logits, scale_factor=method.network.stride, mode="bilinear").double()
        total, count = 0.0, 0
        for place, row in enumerate(rows):
            for y in range(batch.labels.shape[1]):
                for x in range(0, batch.labels.shape[2]):
                    label = int(batch.labels[row, y, x])
                    if label != IGNORE:
                        total -= float(full.detach()[place, :, y, x].log_softmax(0)[label])
                        count += 1
        expected += len(rows) / 3 * total / count
    assert float(step(method, batch)) == pytest.approx(expected, rel=1e-4)


def test_summed_loss_is_the_mean_times_the_datasets() -> None:
    batch = make_batch([TOWN, PARK])
    mean = float(step(make(MultiHead).train(), batch))
    total = float(step(make(MultiHead, sum_datasets=True).train(), batch))
    assert total == pytest.approx(2 * mean, rel=1e-5)


def test_an_image_without_labels_gives_a_finite_loss() -> None:
    batch = make_batch([TOWN, PARK])
    loss = step(make(MultiHead).train(), _with_labels(batch, torch.full_like(batch.labels, IGNORE)))
    assert float(loss) == 0.0


def test_by_name_shares_the_class_of_equal_name() -> None:
    method = make(ByName)
    assert method.taxonomies["by_name"].names == ("road", "car", "sky", "tree")
    assert method.targets(torch.tensor([0, 1, IGNORE]), "park").tolist() == [3, 2, IGNORE]
    method.eval()
    features = method.network(method.normalize(make_batch([TOWN]).images))
    union = method.classify(features, "by_name", [0])[0]
    assert torch.equal(method.classify(features, "park", [0])[0], union[:, [3, 2]])


def test_label_remap_learns_the_target_from_all() -> None:
    method = make(LabelRemap, target="park")
    assert list(method.taxonomies) == ["park"]
    assert method.targets(torch.tensor([0, 1, 2, IGNORE]), "town").tolist() == [IGNORE, IGNORE, 1, IGNORE]


def test_padding_changes_no_loss() -> None:
    """Images of two sizes in one batch against the same images padded by hand: padded pixels are ignored."""
    method = make(MultiHead).train()
    small, large = make_batch([TOWN], (48, 64), 1), make_batch([PARK], (64, 96), 2)
    samples = [
        Sample(tv_tensors.Image(b.images[0]), tv_tensors.Mask(b.labels[0].to(torch.int16)), b.spaces[0], "x")
        for b in (small, large)
    ]
    batch = collate(samples).to("cpu")
    assert batch.padded
    inputs = method.normalize(batch.images, batch.padding)
    assert (inputs[0, :, 48:] == 0).all() and (inputs[0, :, :, 64:] == 0).all()
    assert torch.isfinite(step(method, batch))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", METHODS)
def test_a_padded_batch_trains_and_predicts_on_an_accelerator(kind: type[SegmentationMethod]) -> None:
    method = make(kind).train().cuda()
    spaces = [TOWN, TOWN] if kind is Supervised else [TOWN, PARK]
    samples = [
        Sample(tv_tensors.Image(b.images[0]), tv_tensors.Mask(b.labels[0].to(torch.int16)), b.spaces[0], "x")
        for b in (make_batch([spaces[0]], (48, 64)), make_batch([spaces[1]], (64, 96)))
    ]
    batch = collate(samples).pin_memory().to("cuda", non_blocking=True)
    with torch.autocast("cuda", torch.bfloat16):
        step(method, batch).backward()
        method.eval().predict_labels(batch.images, (50, 77), next(iter(method.taxonomies)))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [MDP, MoCo])
def test_views_train_on_an_accelerator(kind: type[SegmentationMethod]) -> None:
    method = make(kind).train().cuda()
    batch = make_views([TOWN, PARK]).pin_memory().to("cuda", non_blocking=True)
    with torch.autocast("cuda", torch.bfloat16):
        step(method, batch).backward()
    assert all(torch.isfinite(parameter).all() for parameter in method.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "make_cuts"), [(MixAndMatch, make_patches), (Jigsaw, make_tiles), (Colorization, make_batch)]
)
def test_cuts_train_on_an_accelerator(kind: type[SegmentationMethod], make_cuts: Any) -> None:
    method = make(kind).train().cuda()
    batch = make_cuts([TOWN, PARK]).pin_memory().to("cuda", non_blocking=True)
    with torch.autocast("cuda", torch.bfloat16):
        step(method, batch).backward()
    assert all(torch.isfinite(parameter).all() for parameter in method.parameters())


def test_inference_options_reach_the_prediction() -> None:
    method = make(MultiHead).eval()
    torch.nn.init.normal_(method.get_parameter("classifiers.town.main.weight"))
    images = make_batch([TOWN]).images
    plain = method.predict_labels(images, (64, 96), "town")
    method.inference = Inference(scales=(0.5, 1.5), flip=True, window=(32, 48))
    assert not torch.equal(plain, method.predict_labels(images, (64, 96), "town"))


def _with_labels(batch: Batch, labels: Tensor) -> Batch:
    return Batch(batch.images, labels, batch.sizes, batch.spaces, batch.keys)
