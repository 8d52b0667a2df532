"""What a model of colourisation makes of the lightness of held-out images: the panels of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from multiseg.batch import Sample
from multiseg.evaluation.color_panels import ColorPanel, RunColors
from multiseg.loading.transforms import ResizeImage
from multiseg.methods.colorization import Colorization
from multiseg.predictor import Predictor

#: Images of each dataset.
IMAGES = 3


@torch.no_grad()
def view_colors(predictor: Predictor, name: str, samples: Mapping[str, Sequence[Sample]]) -> RunColors | None:
    """Panels of a model that colours.

    Args:
        predictor: of any model.
        name: of the run, on the page.
        samples: held-out images by dataset. Those of datasets that it was not trained on are left out, unless there
            are no others: a model of images without labels has none held out of its own.

    Returns:
        None of a model that does not colour.
    """
    method = predictor.method
    if not isinstance(method, Colorization):
        return None
    panels = []
    own = {dataset: chosen for dataset, chosen in samples.items() if dataset in method.spaces}
    for dataset, chosen in (own or samples).items():
        seen_as = dataset if dataset in method.spaces else next(iter(method.spaces))
        resize = ResizeImage(predictor.model.input_size(seen_as).long_side)
        for sample in chosen[:IMAGES]:
            images = resize(sample.image)[None].as_subclass(torch.Tensor).to(predictor.device)
            with predictor.precision():
                colored = method.colorize(images, seen_as)
            panels.append(ColorPanel(dataset, sample.key, sample.image.numpy(), colored[0].cpu().numpy()))
    return RunColors(name, panels) if panels else None
