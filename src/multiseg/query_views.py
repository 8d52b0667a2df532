"""What a run's queries see in images of its datasets: the panels of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from multiseg.batch import Sample
from multiseg.evaluation.panoptic_inference import masks_at
from multiseg.evaluation.query_panels import QueryPanel, Reading, RunQueries, strongest_queries
from multiseg.loading.transforms import ResizeImage
from multiseg.methods.base import MaskMethod
from multiseg.predictor import Predictor

#: Images of each dataset, and taxonomies in which each is segmented besides its own.
IMAGES, OTHERS = 2, 1


def view_queries(predictor: Predictor, name: str, samples: Mapping[str, Sequence[Sample]]) -> RunQueries | None:
    """Panels of a model that classifies masks.

    Args:
        predictor: of any model.
        name: of the run, on the page.
        samples: by dataset; those whose classes the model does not know are left out.

    Returns:
        None of a model that classifies no masks.

    Raises:
        MultisegError: its inference takes several views of an image, whose segments nothing relates.
    """
    method = predictor.method
    if not isinstance(method, MaskMethod):
        return None
    panels = [
        view_image(predictor, method, sample)
        for dataset, chosen in samples.items()
        if dataset in method.taxonomies and method.taxonomies[dataset].names == chosen[0].space.names
        for sample in chosen[:IMAGES]
    ]
    return RunQueries(name, panels, method.open_vocabulary) if panels else None


@torch.no_grad()
def view_image(predictor: Predictor, method: MaskMethod, sample: Sample) -> QueryPanel:
    """One image with its queries; where classes are words, also by the words of the next training dataset.

    Raises:
        MultisegError: as `view_queries`.
    """
    dataset = sample.space.name
    image = ResizeImage(predictor.model.input_size(dataset).long_side)(sample.image)[None].to(predictor.device)
    with predictor.precision():
        features = method.features(method.normalize(image), dataset)
        probabilities, logits = method.segment_queries(features, dataset, range(1))
    names = list(method.spaces)
    after = names[names.index(dataset) + 1 :] + names[: names.index(dataset)] if method.open_vocabulary else []
    stride = method.network.stride
    covered = [length / (cells * stride) for length, cells in zip(image.shape[-2:], logits.shape[-2:], strict=True)]
    size = (int(sample.image.shape[-2]), int(sample.image.shape[-1]))
    masks = masks_at(logits[0], size, (covered[0], covered[1]))
    return QueryPanel(
        sample.key,
        sample.image.numpy(),
        Reading(sample.space, sample.labels.numpy(), sample.segments if method.panoptic else None),
        _reading(predictor, method, image, sample, dataset),
        strongest_queries(probabilities[0], masks, sample.space),
        [_reading(predictor, method, image, sample, other) for other in after[:OTHERS]],
    )


def _reading(predictor: Predictor, method: MaskMethod, image: Tensor, sample: Sample, taxonomy: str) -> Reading:
    """The image of a dataset, seen as one of its own, in a taxonomy."""
    size, space, seen_as = sample.image.shape[-2:], method.taxonomies[taxonomy], sample.space.name
    with predictor.precision():
        if method.panoptic:
            labels, segments = method.predict_segments(image, size, taxonomy, seen_as)
            return Reading(space, labels[0].cpu().numpy(), segments[0])
        return Reading(space, method.predict_labels(image, size, taxonomy, seen_as)[0].cpu().numpy())
