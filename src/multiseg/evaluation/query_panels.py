"""Section of a report on mask classification: what a model's queries see in an image, and what they call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import Segments
from multiseg.evaluation.overlays import overlay, panoptic_overlay
from multiseg.evaluation.page_pieces import class_key, figure, shrink
from multiseg.label_space import IGNORE, LabelSpace

#: Longest side of the pictures, and of those of queries.
_PICTURE_PX, _QUERY_PX = 320, 220
_ALPHA = 0.65
#: Outside a mask the image is grey and mixed with this brightness, of which it takes so much: what is inside stands
#: out of dark images, too.
_MIST, _MISTY = 225, 0.6
_NO_QUERY = '<p class="muted small">No query has a mask with a pixel in it.</p>'

Labels = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class QueryMask:
    """What a query sees.

    Args:
        name: its most probable class.
        color: of the class, RGB 0..255.
        probability: of the class, 0..1.
        mask: (h, w) bool.
    """

    name: str
    color: tuple[int, int, int]
    probability: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reading:
    """An image in the classes of a taxonomy: the truth, or a prediction.

    Args:
        space: the taxonomy.
        labels: (H, W) contiguous ids.
        segments: in place of the labels, where there are any.
    """

    space: LabelSpace
    labels: Labels
    segments: Segments | None = None

    @property
    def shown(self) -> Labels:
        """The class of each pixel in the picture. Shape: (H, W)."""
        return self.labels if self.segments is None else self.segments.labels.numpy()


@dataclass(frozen=True, eq=False)
class QueryPanel:
    """One image, and what a model makes of it.

    Args:
        key: of the image.
        image: (3, H, W) uint8.
        truth, prediction: in the classes of the image's dataset.
        queries: those that matter most, as `strongest_queries` gives them.
        others: predictions with the words of other datasets.
    """

    key: str
    image: NDArray[np.uint8]
    truth: Reading
    prediction: Reading
    queries: Sequence[QueryMask]
    others: Sequence[Reading] = ()


@dataclass(frozen=True, eq=False)
class RunQueries:
    """Panels of a run.

    Args:
        run: its name on the page.
        panels: of its datasets, one dataset after the other.
        with_words: its classes are words.
    """

    run: str
    panels: Sequence[QueryPanel]
    with_words: bool


def strongest_queries(probabilities: Tensor, masks: Tensor, space: LabelSpace, count: int = 6) -> list[QueryMask]:
    """The queries with the largest product of class probability and area, that of the pixels more likely inside the
    mask than not.

    A query stands for its most probable class, "no object" left aside: one that most likely sees nothing still ranks by
    what it would be. One without a pixel is none.

    Args:
        probabilities: (N, K + 1) of the classes of `space`, "no object" last.
        masks: (N, h, w) probabilities.
        space: names of the K classes.
        count: at most so many.
    """
    sure, classes = probabilities[:, :-1].float().max(1)
    inside = masks >= 0.5
    areas = inside.flatten(1).sum(1)
    order = torch.argsort(sure * areas, descending=True, stable=True)
    chosen = [int(query) for query in order[:count] if areas[query]]
    return [
        QueryMask(
            space.names[classes[query]],
            space.classes[int(classes[query])].color,
            float(sure[query]),
            inside[query].cpu().numpy(),
        )
        for query in chosen
    ]


def mask_overlay(image: ArrayLike, mask: ArrayLike, color: tuple[int, int, int]) -> Image.Image:
    """An image that is grey and pale outside a mask, and tinted and outlined inside.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        color: RGB 0..255.

    Raises:
        ValueError: the sizes differ.
    """
    pixels, inside = np.asarray(image, np.float32), np.asarray(mask, np.bool_)
    if pixels.shape != (*inside.shape, 3):
        raise ValueError(f"the image is {pixels.shape}, but the mask {inside.shape}.")
    tint = np.asarray(color, np.float32)
    grey = (1 - _MISTY) * np.repeat(pixels.mean(2, keepdims=True), 3, 2) + _MISTY * _MIST
    out = np.where(inside[..., None], 0.5 * pixels + 0.5 * tint, grey)
    padded = np.pad(inside, 1)
    whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    out[inside & ~whole] = 0.7 * tint
    return Image.fromarray(out.round().clip(0, 255).astype(np.uint8))


def queries_section(runs: Sequence[RunQueries]) -> str:
    """For each run its images with truth, prediction and the masks of its queries.

    Args:
        runs: those that classify masks, in the order of the page.

    Returns:
        nothing where there is none.
    """
    if not runs:
        return ""
    out = [
        '<p class="muted small">The queries with the largest product of class probability and area: what lies in the '
        "mask, with the most probable class of the query and its probability. What a query sees is not in the "
        "prediction where another is surer.</p>"
    ]
    for run in runs:
        heading = f"<h3>{escape(run.run)}</h3>" if len(runs) > 1 else ""
        out.append(heading + "".join(_panel(panel, run.with_words) for panel in run.panels))
    return "".join(out)


def _panel(panel: QueryPanel, with_words: bool) -> str:
    small = shrink(panel.image, _PICTURE_PX)
    named = f"{panel.truth.space.name} {panel.key}"
    figures = [
        figure(small, "image", f"{named}: image with queries"),
        figure(_picture(small, panel.truth), "truth", f"{named}: truth"),
        figure(_picture(small, panel.prediction), "prediction" + _empty(panel.prediction), f"{named}: prediction"),
    ]
    keys = [class_key(panel.truth.space, [panel.truth.shown, panel.prediction.shown])]
    for other in panel.others:
        what = f"{'the words' if with_words else 'the classes'} of {other.space.name}"
        figures.append(figure(_picture(small, other), escape(f"by {what}") + _empty(other), f"{named}: by {what}"))
        if (other.shown != IGNORE).any():
            keys.append(class_key(other.space, [other.shown], other.space.name))
    tiny = shrink(panel.image, _QUERY_PX)
    masks = [_query(tiny, query, named) for query in panel.queries]
    strip = f'<div class="panel queries" style="--across:6">{"".join(masks)}</div>' if masks else _NO_QUERY
    return (
        f'<p class="image-key small">{escape(panel.truth.space.name)}: <code>{escape(panel.key)}</code></p>'
        f'<div class="panel" style="--across:{max(3, len(figures))}">{"".join(figures)}</div>{strip}{"".join(keys)}'
    )


def _empty(reading: Reading) -> str:
    return ": no segment" if reading.segments is not None and not len(reading.segments) else ""


def _query(image: Image.Image, query: QueryMask, named: str) -> str:
    mask = np.asarray(Image.fromarray(query.mask).resize(image.size, Image.Resampling.NEAREST))
    name, probability = escape(query.name), f"{query.probability:.2f}"
    caption = f'<span class="word" title="{name}">{name}</span><span>{probability}</span>'
    return figure(mask_overlay(np.asarray(image), mask, query.color), caption, f"{named}: {query.name} {probability}")


def _picture(image: Image.Image, reading: Reading) -> Image.Image:
    segments = reading.segments
    if segments is None:
        return overlay(np.asarray(image), _resized(reading.labels, image), reading.space, _ALPHA)
    ids = torch.from_numpy(_resized(segments.ids.numpy(), image).astype(np.int16))
    return panoptic_overlay(np.asarray(image), segments.with_ids(tv_tensors.Mask(ids)), reading.space, _ALPHA)


def _resized(ids: Labels, image: Image.Image) -> Labels:
    resized: Labels = np.array(Image.fromarray(ids.astype(np.int32)).resize(image.size, Image.Resampling.NEAREST))
    return resized
