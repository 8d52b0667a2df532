"""Mask classification over datasets: losses against transformers, targets, predictions, and what may not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from transformers.models.maskformer import modeling_maskformer as transformers_maskformer

from multiseg.batch import Batch, Sample, Segments, collate
from multiseg.errors import MultisegError
from multiseg.evaluation.panoptic_inference import PanopticThresholds
from multiseg.label_space import IGNORE, LabelClass, LabelSpace
from multiseg.methods.base import Inference
from multiseg.methods.maskformer import MaskFormer
from multiseg.methods.maskformer_by_name import MaskFormerByName
from tiny_methods import PARK, TOWN, make_batch, make_masks, step

SQUARE = LabelSpace(
    "square", tuple(LabelClass(n, (i,), (i, i, i), n != "road") for i, n in enumerate(["road", "car", "man"])), (255,)
)


def panoptic_batch() -> Batch:
    """A car, a crowd of men, a man, and road on both sides; beside an image of a dataset without segments."""
    ids = torch.full((64, 96), IGNORE, dtype=torch.int16)
    ids[:, :16], ids[:, 80:] = 0, 0
    ids[:32, 16:48], ids[:32, 48:80], ids[32:, 16:80] = 1, 2, 3
    segments = Segments(tv_tensors.Mask(ids), torch.tensor([0, 1, 2, 2]), torch.tensor([False, False, True, False]))
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    square = Sample(tv_tensors.Image(image), segments.labels, SQUARE, "s", segments)
    labels = torch.zeros(48, 64, dtype=torch.int16)
    labels[:, 32:] = 1
    park = Sample(tv_tensors.Image(image[:, :48, :64]), tv_tensors.Mask(labels), PARK, "p")
    return collate([square, park]).to("cpu")


def test_the_loss_of_one_dataset_is_that_of_transformers() -> None:
    """With deep supervision, on the same predictions; the truth is given at the stride of the masks."""
    method = make_masks(MaskFormer, [TOWN]).eval()
    batch = make_batch([TOWN, TOWN])
    labels = batch.labels.clone()
    labels[labels == IGNORE] = 0  # transformers does not ignore pixels
    batch = replace(batch, labels=labels)
    targets = method.mask_targets(batch)
    features = method.network(method.normalize(batch.images))
    queries = method.mask_decoder(features, every_layer=True)
    classes = method.class_logits(queries.classes, ["town", "town"], None)
    of_classes, of_masks = method.image_losses(features, queries, classes, targets)
    weight = 0.1 * (2 * method.queries - targets.present.sum()) + targets.present.sum()
    ours = of_classes.sum() / weight + of_masks.sum() / targets.present.sum()
    matcher = transformers_maskformer.MaskFormerHungarianMatcher(1.0, 20.0, 1.0)
    loss = transformers_maskformer.MaskFormerLoss(
        3, matcher, {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}, 0.1
    )
    truth = targets.masks().view(*targets.classes.shape, *targets.ids.shape[1:]).float()
    given = [
        (row[: int(n)], c[: int(n)]) for row, c, n in zip(truth, targets.classes, targets.present.sum(1), strict=True)
    ]
    theirs = 0.0
    for layer in range(2):
        logits = queries.mask_logits(layer, features)
        terms = loss(logits, classes[layer], [mask for mask, _ in given], [label for _, label in given])
        theirs += terms["loss_cross_entropy"] + 20 * terms["loss_mask"] + terms["loss_dice"]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_batch_of_datasets_is_the_share_weighted_mean_of_each() -> None:
    method = make_masks(MaskFormer).eval()
    whole = make_batch([TOWN, PARK, PARK])
    parts = {name: _rows(whole, rows) for name, rows in whole.rows_of().items()}
    expected = step(method, parts["town"]) / 3 + step(method, parts["park"]) * 2 / 3
    torch.testing.assert_close(step(method, whole), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [MaskFormer, MaskFormerByName])
def test_ignored_pixels_count_in_neither_loss_nor_matching(kind: type[MaskFormer]) -> None:
    """What the network thinks of them is arbitrary: features there are changed."""
    method = make_masks(kind)
    batch = make_batch([TOWN, PARK])
    labels = batch.labels.clone()
    labels[:, 32:] = IGNORE
    targets = method.mask_targets(replace(batch, labels=labels))
    features = method.network(method.normalize(batch.images))
    queries = method.mask_decoder(features, every_layer=True)
    classes = method.class_logits(queries.classes, ["town", "park"], None)
    changed = features.decoded.clone()
    changed[:, :, 8:] = 50 * torch.randn_like(changed[:, :, 8:])
    first = method.image_losses(features, queries, classes, targets)
    second = method.image_losses(features._replace(decoded=changed), queries, classes, targets)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_nothing_labelled_leaves_the_classes_of_queries_to_learn() -> None:
    method = make_masks(MaskFormer).train()
    batch = make_batch([TOWN, PARK])
    loss = step(method, replace(batch, labels=torch.full_like(batch.labels, IGNORE)))
    loss.backward()
    assert torch.isfinite(loss) and float(loss.detach()) > 0
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_segments_are_targets_things_apart_crowds_ignored_and_datasets_without_are_semantic() -> None:
    method = make_masks(MaskFormer, [SQUARE, PARK], panoptic=True)
    targets = method.mask_targets(panoptic_batch())
    assert targets.classes.tolist() == [[0, 1, 2], [0, 1, -1]]
    stride = method.network.stride
    assert targets.ids.shape == (2, 64 // stride, 96 // stride)
    assert targets.ids[0, 0, :: 16 // stride].tolist() == [0, 1, 1, -1, -1, 0]
    assert targets.ids[0, -1, :: 16 // stride].tolist() == [0, 2, 2, 2, 2, 0]
    assert targets.ids[1, 0, :: 16 // stride].tolist() == [0, 0, 1, 1, -1, -1]  # padded
    semantic = make_masks(MaskFormer, [SQUARE, PARK]).mask_targets(panoptic_batch())
    assert semantic.classes.tolist() == [[0, 1, 2], [0, 1, -1]]
    assert semantic.ids[0, 0, :: 16 // stride].tolist() == [0, 1, 1, 2, 2, 0]
    step(method.train(), panoptic_batch()).backward()


def test_more_segments_than_queries() -> None:
    method = make_masks(MaskFormer, decoder={"queries": 1}).train()
    targets = method.mask_targets(make_batch([TOWN, TOWN]))
    assert targets.classes.shape == (2, 1)
    assert torch.isfinite(step(method, make_batch([TOWN, PARK])))


def test_a_class_at_a_pixel_is_the_sum_over_queries() -> None:
    method = make_masks(MaskFormer).eval()
    features = method.network(method.normalize(make_batch([TOWN, TOWN]).images))
    (scores,) = method.classify(features, "town", [1])
    queries = method.mask_decoder(features)
    classes = method.classifiers["town"](queries.classes[0, 1]).softmax(-1)
    masks = queries.mask_logits(0, features)[1].sigmoid()
    expected = sum(classes[q, 2] * masks[q, 3, 5] for q in range(method.queries))
    torch.testing.assert_close(scores[0, 2, 3, 5].exp(), expected, rtol=1e-4, atol=1e-6)


def test_the_manual_taxonomy_is_one_classifier_for_all() -> None:
    method = make_masks(MaskFormerByName).eval()
    queries = torch.randn(1, 1, 6, 16)
    union = method.class_logits(queries, ["by_name"], None)
    assert method.taxonomies["by_name"].names == ("road", "car", "sky", "tree")
    assert torch.equal(method.class_logits(queries, ["park"], None), union[..., [3, 2, 4]])
    assert torch.equal(method.train().class_logits(queries, ["park"], None), union)
    assert method.mask_targets(make_batch([PARK, PARK])).classes.tolist() == [[3, -1], [2, 3]]


def test_own_thresholds_and_refusals() -> None:
    always = PanopticThresholds(0.0, 0.0)
    method = make_masks(MaskFormer, [SQUARE, TOWN], panoptic=True, own_thresholds={"town": always}).eval()
    images = make_batch([TOWN]).images
    assert len(method.predict_segments(images, (64, 96), "square")[1][0]) == 0  # an untrained model is sure of nothing
    labels, (found,) = method.predict_segments(images, (64, 96), "town")
    assert len(found) > 0 and found.ids.shape == labels.shape[1:] == (64, 96)
    method.inference = Inference(flip=True)
    with pytest.raises(MultisegError, match="one view of an image"):
        method.predict_segments(images, (64, 96), "town")
    with pytest.raises(MultisegError, match="own_thresholds names 'twon'"):
        make_masks(MaskFormer, own_thresholds={"twon": always})
    with pytest.raises(MultisegError, match="MaskFormer has no words to guide queries by"):
        make_masks(MaskFormer, guided=True)
    with pytest.raises(MultisegError, match="must be positive"):
        make_masks(MaskFormer, no_object_weight=0.0)
    with pytest.raises(MultisegError, match="confidence must lie in"):
        PanopticThresholds(confidence=1.5)


def test_validation_judges_segments_where_there_are_any() -> None:
    method = make_masks(MaskFormer, [SQUARE, PARK], panoptic=True, thresholds=PanopticThresholds(0.0, 0.0)).eval()
    batch = panoptic_batch()
    method.on_validation_epoch_start()
    for row in range(2):
        method.validation_step([_rows(batch, [row], crop=True)], row)
    found = method.results()
    assert found["square"].panoptic is not None and found["park"].panoptic is None
    assert {"PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "mIoU"} <= set(found["square"].to_json())
    assert np.isfinite(found["park"].miou)


def _rows(batch: Batch, rows: list[int], crop: bool = False) -> Batch:
    def part(tensor: Tensor) -> Tensor:
        height, width = batch.sizes[rows[0]].tolist() if crop else tensor.shape[-2:]
        return tensor[rows][..., :height, :width]

    return replace(
        batch,
        images=part(batch.images),
        labels=part(batch.labels),
        sizes=batch.sizes[rows],
        spaces=tuple(batch.spaces[row] for row in rows),
        keys=tuple(batch.keys[row] for row in rows),
        segments=tuple(batch.segments[row] for row in rows),
    )
