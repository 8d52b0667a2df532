"""Ensembles of models with a few thousand weights, of several methods, against naive loops over images and models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors

from multiseg.datasets import SegmentationDataset
from multiseg.ensemble import Ensemble, EnsembleEvaluation
from multiseg.errors import MultisegError
from multiseg.evaluation.iou import confusion_matrix, scores
from multiseg.label_space import LabelSpace
from multiseg.loading.datamodule import DatasetEntry, open_dataset
from multiseg.loading.transforms import ResizeImage
from multiseg.methods.base import Inference, SegmentationMethod
from multiseg.methods.cdcl import CDCL
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.maskformer import MaskFormer
from multiseg.methods.multi_head import MultiHead
from multiseg.methods.universal import Universal
from multiseg.predictor import Predictor
from multiseg.run_folder import InputSize, Model
from tiny_methods import TOWN, lived_in, make

QUICK = {"batch_size": 2, "workers": 0}


def predictor(method: SegmentationMethod, long_side: int | None = None, **options: Any) -> Predictor:
    inputs = {name: InputSize(long_side, (32, 48)) for name in method.spaces}
    return Predictor(Model(method.eval().requires_grad_(False), inputs, "32-true"), "cpu", **options)


def made(kind: type[SegmentationMethod], spaces: list[LabelSpace] | None = None) -> SegmentationMethod:
    """A method that is not sure of one class everywhere, as new ones are."""
    method = make(kind, spaces)
    lived_in(method)
    if hasattr(method, "mask_decoder"):
        with torch.no_grad():
            for parameter in method.mask_decoder.parameters():
                parameter.mul_(2)
    return method


@pytest.fixture(scope="module")
def mixed() -> Ensemble:
    """Of four methods, two of them of masks, with inputs of three sizes."""
    return Ensemble(
        {
            "heads": predictor(made(MultiHead)),
            "words": predictor(made(LMSeg), 32),
            "masks": predictor(made(MaskFormer), 32, inference=Inference(flip=True)),
            "sets": predictor(made(Universal), 128, inference=Inference(scales=(0.5, 1.0))),
        }
    )


@pytest.fixture(scope="module")
def town(data_roots: dict[str, Path]) -> SegmentationDataset:
    return open_dataset("town", DatasetEntry(data_roots["town"]), "val")


@pytest.fixture(scope="module")
def found(mixed: Ensemble, town: SegmentationDataset) -> EnsembleEvaluation:
    return mixed.evaluate(town, **QUICK)


def naive_probabilities(member: Predictor, image: Tensor) -> Tensor:
    """Softmax at full size of each view, averaged. Shape: (3, H, W) to (K, H, W)."""
    method, inference = member.method, member.method.inference
    resized = ResizeImage(member.model.input_size("town").long_side)(image).as_subclass(Tensor)
    views = []
    for scale in inference.scales:
        inputs = method.normalize(resized[None])
        if scale != 1:
            size = [round(length * scale) for length in inputs.shape[-2:]]
            inputs = F.interpolate(inputs, size, mode="bilinear", antialias=scale < 1)
        for mirrored in (False, True) if inference.flip else (False,):
            seen = inputs.flip(-1) if mirrored else inputs
            features = method.features(seen, "town")
            logits = method.classify(features, "town", [0])[0]
            # the logits lie at the stride over the input, which the network may pad at its right and bottom
            factor = method.network.stride * image.shape[-1] / inputs.shape[-1]
            full = F.interpolate(logits, scale_factor=factor, mode="bilinear")[
                ..., : image.shape[-2], : image.shape[-1]
            ]
            views.append((full.flip(-1) if mirrored else full).softmax(1)[0])
    return sum(views) / len(views)


def test_agrees_with_a_naive_loop(mixed: Ensemble, found: EnsembleEvaluation, town: SegmentationDataset) -> None:
    matrices = {name: torch.zeros(3, 3, dtype=torch.int64) for name in ("together", *mixed.members)}
    unlike = dict.fromkeys(mixed.members, 0)
    for sample in (town[index] for index in range(len(town))):
        probabilities = {name: naive_probabilities(member, sample.image) for name, member in mixed.members.items()}
        labels = {name: own.argmax(0) for name, own in probabilities.items()}
        together = sum(probabilities.values()).argmax(0)
        assert torch.equal(mixed.predict(sample.image, "town"), together)
        for name, own in {"together": together, **labels}.items():
            matrices[name] += confusion_matrix(own, sample.labels.as_subclass(Tensor).long(), 3)
        for name, own in labels.items():
            unlike[name] += int((own != together).sum())
    assert min(unlike.values()) > 100  # the ensemble is none of its models
    for name, evaluation in {"together": found.together, **found.alone}.items():
        assert evaluation.scores == scores(matrices[name], town.label_space.names), name
    assert found.together.gflops == pytest.approx(sum(own.gflops for own in found.alone.values()))


def test_each_model_alone_is_judged_as_without_the_others(
    mixed: Ensemble, found: EnsembleEvaluation, town: SegmentationDataset
) -> None:
    for name, member in mixed.members.items():
        assert found.alone[name] == member.evaluate(town, **QUICK)


def test_of_itself_it_is_the_model(mixed: Ensemble, town: SegmentationDataset) -> None:
    member = mixed.members["heads"]
    found = Ensemble({"one": member, "two": member}).evaluate(town, **QUICK)
    assert found.together.scores == found.alone["one"].scores == member.evaluate(town, **QUICK).scores


def test_the_order_of_models_changes_nothing(
    mixed: Ensemble, found: EnsembleEvaluation, town: SegmentationDataset
) -> None:
    turned = Ensemble(dict(reversed(mixed.members.items()))).evaluate(town, **QUICK)
    assert turned.together.scores == found.together.scores
    assert turned.alone == found.alone


def test_classes_in_another_order_are_the_same_classes(town: SegmentationDataset) -> None:
    order = (2, 0, 1)
    turned_space = replace(
        TOWN, classes=tuple(replace(TOWN.classes[place], raw_ids=(n,)) for n, place in enumerate(order))
    )
    own, turned = made(MultiHead), made(MultiHead, [turned_space])
    turned.load_state_dict(own.state_dict(), strict=False)
    for name, parameter in turned.classifiers["town"].named_parameters():
        given = own.classifiers["town"].get_parameter(name)
        parameter.data.copy_(given[list(order)] if len(given) == len(order) else given)
    found = Ensemble({"own": predictor(own), "turned": predictor(turned)}).evaluate(town, **QUICK)
    assert found.together.scores == found.alone["own"].scores == found.alone["turned"].scores
    assert len(set(found.together.scores.per_class.values())) > 1
    image = tv_tensors.Image(town[0].image)
    turned_first = Ensemble({"turned": predictor(turned), "own": predictor(own)}).predict(image, "town")
    assert torch.equal(torch.tensor(order)[turned_first], predictor(own).predict(image, "town"))


def test_each_model_has_its_own_norms(town: SegmentationDataset) -> None:
    norms = predictor(made(CDCL))
    found = Ensemble({"plain": predictor(made(MultiHead)), "norms": norms}).evaluate(town, **QUICK)
    assert found.alone["norms"].norms == {"town": len(town)}
    assert not found.alone["plain"].norms and not found.together.norms
    norms.norms = "park"
    assert Ensemble({"a": norms, "b": predictor(made(MultiHead))}).evaluate(town, **QUICK).alone["a"].norms == {
        "park": 3
    }


@pytest.mark.parametrize("kind", [LMSeg, MaskFormer])
def test_scores_of_masks_become_their_share_of_the_sum(kind: type[SegmentationMethod]) -> None:
    method = made(kind).eval()
    images = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        features = method.features(method.normalize(images), "town")
        classes, masks = method.segment_queries(features, "town", range(2))  # type: ignore[operator]
        found = method.probabilities(images, masks.shape[-2:], "town")
    summed = torch.zeros(2, 3, *masks.shape[-2:])
    for query in range(masks.shape[1]):
        for label in range(3):
            summed[:, label] += classes[:, query, label, None, None] * masks[:, query].sigmoid()
    assert (summed.sum(1) - 1).abs().max() > 0.1  # they are no probabilities before
    torch.testing.assert_close(found, summed / summed.sum(1, keepdim=True))


def test_wrong_ensembles(mixed: Ensemble, town: SegmentationDataset) -> None:
    member = mixed.members["heads"]
    fewer = replace(TOWN, classes=TOWN.classes[:2])
    with pytest.raises(MultisegError, match="needs several runs, not one alone"):
        Ensemble({"one": member})
    with pytest.raises(MultisegError, match=r"^b: its taxonomy 'town' lacks: sky"):
        Ensemble({"a": member, "b": predictor(make(MultiHead, [fewer]))}).evaluate(town, **QUICK)
    with pytest.raises(MultisegError, match=r"^b: its taxonomy 'town' has besides: sky"):
        Ensemble({"a": predictor(make(MultiHead, [fewer])), "b": member}).predict(town[0].image, "town")
    with pytest.raises(MultisegError, match=r"^b: this model has no taxonomy 'park'"):
        Ensemble({"a": member, "b": predictor(make(MultiHead, [TOWN]))}).predict(town[0].image, "park")
    norms = predictor(make(CDCL))
    with pytest.raises(MultisegError, match=r"^b: the model has batch norms of each"):
        unseen = open_dataset("unseen", DatasetEntry(town.root, "folder"), "val")
        Ensemble({"a": member, "b": norms}).evaluate(unseen, "town", **QUICK)
