"""Pictures of label maps: over the image, with a legend, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from multiseg.label_space import LabelSpace

_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_TEXT_PX = 15
_GAP_PX = 10


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
    pixels, ids = np.asarray(image), np.asarray(labels)
    if pixels.shape == (3, *ids.shape):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape != (*ids.shape, 3):
        raise ValueError(f"the image is {pixels.shape}, but the labels are {ids.shape}.")
    pixels = pixels.astype(np.float32)
    known = (ids >= 0)[..., None]
    colors = space.colorize(ids)
    picture = np.where(known, (1 - alpha) * pixels + alpha * colors, pixels)
    if outline:
        picture = np.where(known & _edges(ids)[..., None], 0.4 * colors + 0.6 * 255, picture)
    return Image.fromarray(picture.round().astype(np.uint8))


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


def _edges(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another class: lines one pixel wide. Shape: (H, W)."""
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
