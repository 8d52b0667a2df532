"""Pictures of label maps: over the image, with a legend, side by side."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from multiseg.batch import Segments
from multiseg.label_space import LabelSpace

_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_TEXT_PX = 15
_GAP_PX = 10

#: Lightness of the colours of instances: neither black nor white, which would tell them apart but hide the class.
_DARKEST, _LIGHTEST = 0.25, 0.78
#: How far the hue of an instance is from its class's, at most; 1 is once around.
_HUE_SHIFT = 0.05
#: Its multiples modulo 1 fill the range evenly, however many there are, and neighbours are far apart.
_GOLDEN = (5**0.5 - 1) / 2


def overlay(
    image: ArrayLike, labels: ArrayLike, space: LabelSpace, alpha: float = 0.55, outline: bool = True
) -> Image.Image:
    """The colours of the classes blended into an image. Ignored pixels are left as they are.

    Args:
        image: uint8, channels first or last.
        labels: contiguous ids of `space`.
        space: gives the colours.
        alpha: weight of the colours, 0 (image only) to 1.
        outline: draw a light line where a class meets another or what is ignored.

    Shape:
        image: (3, H, W) or (H, W, 3); labels: (H, W).

    Raises:
        ValueError: the sizes differ.
    """
    return _blended(image, np.asarray(labels), space.colors, alpha, outline)


def panoptic_overlay(
    image: ArrayLike, segments: Segments, space: LabelSpace, alpha: float = 0.55, outline: bool = True
) -> Image.Image:
    """Segments blended into an image, each thing in a shade of its own (`segment_colors`). Void is left as it is.

    The legend is that of `segments.labels`.

    Args:
        image: uint8, channels first or last.
        segments: at the size of the image.
        space: gives the colours.
        alpha: weight of the colours, 0 (image only) to 1.
        outline: draw a light line where a segment meets another or void.

    Shape:
        image: (3, H, W) or (H, W, 3).

    Raises:
        ValueError: the sizes differ.
    """
    return _blended(image, segments.ids.cpu().numpy(), segment_colors(segments, space), alpha, outline)


def segment_colors(segments: Segments, space: LabelSpace) -> NDArray[np.uint8]:
    """The colour of each segment: its class's for stuff and for the first thing of a class, a shade of it for the next.

    The same segments always get the same colours. Shape: (S, 3).
    """
    classes = segments.classes.cpu().numpy()
    colors: NDArray[np.uint8] = space.colors[classes]
    seen = [0] * len(space)
    for segment, index in enumerate(classes.tolist()):
        if space.things[index]:
            colors[segment] = _shade(colors[segment], seen[index])
            seen[index] += 1
    return colors


def _shade(color: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The colour of the thing of this number among those of its class; 0 keeps the colour. Shape: (3,)."""
    if number == 0:
        return color
    hue, lightness, _ = colorsys.rgb_to_hls(*(color / 255))
    # a pale colour counts as fully saturated in HLS, and its darker shades would be gaudy; not so in HSV
    _, saturation, _ = colorsys.rgb_to_hsv(*(color / 255))
    span = _LIGHTEST - _DARKEST
    lightness = _DARKEST + ((lightness - _DARKEST) / span + number * _GOLDEN) % 1 * span
    hue += (number * _GOLDEN**2 % 1 - 0.5) * 2 * _HUE_SHIFT
    shade = np.array(colorsys.hls_to_rgb(hue % 1, lightness, saturation))
    as_bytes: NDArray[np.uint8] = (255 * shade).round().astype(np.uint8)
    return as_bytes


def legend(
    space: LabelSpace, labels: Sequence[ArrayLike], height: int, text_px: int = _TEXT_PX, gap_px: int = _GAP_PX
) -> Image.Image:
    """Swatches and names of the classes that occur, in as many columns as the height asks for.

    Args:
        space: gives names and colours.
        labels: label maps in contiguous ids of `space`, of any shapes.
        height: of the picture, in pixels; more only where a single line needs it.
        text_px: size of the letters.
        gap_px: between columns.
    """
    present = [index for index in range(len(space)) if any((np.asarray(ids) == index).any() for ids in labels)]
    font = ImageFont.load_default(size=text_px)
    line = round(1.6 * text_px)
    lines = max(1, (height - _GAP_PX) // line)
    columns = [present[first : first + lines] for first in range(0, len(present), lines)]
    widths = [line + max(round(font.getlength(space.names[index])) for index in column) for column in columns]
    width = sum(widths) + gap_px * (len(widths) + 1)
    picture = Image.new("RGB", (width, max(height, line + _GAP_PX)), _PAPER)
    draw = ImageDraw.Draw(picture)
    left = gap_px
    for column, column_width in zip(columns, widths, strict=True):
        for row, index in enumerate(column):
            top = _GAP_PX // 2 + row * line
            box = (left, top + 2, left + text_px, top + 2 + text_px)
            draw.rounded_rectangle(box, radius=3, fill=space.classes[index].color, outline=_INK)
            draw.text((left + line, top + 2 + text_px / 2), space.names[index], _INK, font, anchor="lm")
        left += column_width + gap_px
    return picture


def with_legend(picture: Image.Image, key: Image.Image) -> Image.Image:
    """A legend to the right of a picture, both at the top."""
    out = Image.new("RGB", (picture.width + key.width, max(picture.height, key.height)), _PAPER)
    out.paste(picture, (0, 0))
    out.paste(key, (picture.width, 0))
    return out


def panel(columns: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures side by side under their titles, all as high as the highest.

    Args:
        columns: (title, picture), from left to right; at least one. A title too long for its picture is shortened.
    """
    height = max(picture.height for _, picture in columns)
    resized = [(title, _to_height(picture, height)) for title, picture in columns]
    font = ImageFont.load_default(size=_TEXT_PX)
    title_height = 2 * _TEXT_PX
    width = sum(picture.width for _, picture in resized) + _GAP_PX * (len(resized) + 1)
    out = Image.new("RGB", (width, title_height + height + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(out)
    left = _GAP_PX
    for title, picture in resized:
        draw.text((left, title_height / 2), _shortened(title, picture.width, font), _INK, font, anchor="lm")
        out.paste(picture, (left, title_height))
        left += picture.width + _GAP_PX
    return out


def _blended(image: ArrayLike, ids: NDArray[Any], table: NDArray[np.uint8], alpha: float, outline: bool) -> Image.Image:
    """The colour of each id blended into an image that has pixels of its own where the id is negative.

    Shape: image: (3, H, W) or (H, W, 3); ids: (H, W); table: (N, 3).
    """
    pixels = np.asarray(image)
    if pixels.shape == (3, *ids.shape):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape != (*ids.shape, 3):
        raise ValueError(f"the image is {pixels.shape}, but the labels are {ids.shape}.")
    pixels = pixels.astype(np.float32)
    known = (ids >= 0)[..., None]
    colors = np.concatenate([table, np.zeros((1, 3), np.uint8)])[ids]  # IGNORE is -1, so it takes the last entry
    picture = np.where(known, (1 - alpha) * pixels + alpha * colors, pixels)
    if outline:
        picture = np.where(known & _edges(ids)[..., None], 0.4 * colors + 0.6 * 255, picture)
    return Image.fromarray(picture.round().astype(np.uint8))


def _edges(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another id: lines one pixel wide. Shape: (H, W)."""
    edges = np.zeros(ids.shape, np.bool_)
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edges[:-1] |= ids[:-1] != ids[1:]
    return edges


def _to_height(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
