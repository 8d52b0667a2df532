"""Many images of a dataset on one page, each beside its labels, with a legend."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from multiseg.batch import Sample
from multiseg.evaluation.overlays import legend, overlay
from multiseg.label_space import LabelSpace

_PAPER, _INK, _MUTED = (255, 255, 255), (29, 33, 41), (100, 107, 120)
_MARGIN, _GAP, _PAIR_GAP = 24, 20, 3
_TITLE_PX, _TEXT_PX, _CAPTION_PX = 30, 17, 15
_CAPTION_HEIGHT = 24
#: Rows are at most so high, in pixels of a sheet 2000 wide; they are made lower so that they fill its width.
_ROW_HEIGHT = 290


def contact_sheet(
    samples: Iterable[Sample], space: LabelSpace, title: str, remark: str = "", width: int = 2000
) -> Image.Image:
    """Rows of images, each with the colours of its classes at its right and its key below; without classes each alone.

    Args:
        samples: read one by one as rows fill, so that only a row of them is in memory; at least one.
        space: gives names and colours.
        title: heading.
        remark: a line below it.
        width: of the picture, in pixels; its height is as it comes.

    Raises:
        ValueError: there is no sample.
    """
    present: set[int] = set()
    filled = _fill_rows(samples, width - 2 * _MARGIN, 2 if len(space) else 1)
    rows = [_draw_row(row, space, width - 2 * _MARGIN, present) for row in filled]
    if not rows:
        raise ValueError("a contact sheet needs a sample.")
    parts = [_heading(title, remark, width - 2 * _MARGIN), _legend(space, present, width - 2 * _MARGIN), *rows]
    height = 2 * _MARGIN + sum(part.height for part in parts) + _GAP * (len(parts) - 1)
    sheet = Image.new("RGB", (width, height), _PAPER)
    top = _MARGIN
    for part in parts:
        sheet.paste(part, (_MARGIN, top))
        top += part.height + _GAP
    return sheet


@dataclass(frozen=True)
class _Row:
    """Samples side by side, and the height of their pictures."""

    samples: list[Sample]
    height: int


def _fill_rows(samples: Iterable[Sample], width: int, pictures: int) -> Iterator[_Row]:
    """Rows as wide as the sheet, but for the last one, which is as high as the one above.

    Args:
        samples: in order.
        width: of the sheet without margins.
        pictures: of a sample: two, a pair, or one.
    """
    row: list[Sample] = []
    highest = last = _ROW_HEIGHT * width // 1952
    for sample in samples:
        row.append(sample)
        # n pairs: 2 n pictures of a common height, a narrow gap in each pair, a wide one between pairs
        aspects = sum(pictures * entry.labels.shape[-1] / entry.labels.shape[-2] for entry in row)
        height = max(1, int((width - len(row) * (pictures - 1) * _PAIR_GAP - (len(row) - 1) * _GAP) / aspects))
        if height <= highest:
            yield _Row(row, height)
            row, last = [], height
    if row:
        yield _Row(row, last)


def _draw_row(row: _Row, space: LabelSpace, width: int, present: set[int]) -> Image.Image:
    """The pictures of a row; what classes they show is added to `present`."""
    out = Image.new("RGB", (width, row.height + _CAPTION_HEIGHT), _PAPER)
    draw = ImageDraw.Draw(out)
    font = ImageFont.load_default(_CAPTION_PX)
    left = 0
    for sample in row.samples:
        labels = np.asarray(sample.labels)
        present.update(np.unique(labels[labels >= 0]).tolist())
        picture, small = _shrunk(sample, labels, row.height)
        out.paste(picture, (left, 0))
        right = left + picture.width
        if len(space):
            out.paste(overlay(np.asarray(picture), small, space, alpha=0.65), (right + _PAIR_GAP, 0))
            right += _PAIR_GAP + picture.width
        caption = _shortened(sample.key, right - left, font)
        draw.text((left, row.height + _CAPTION_HEIGHT / 2), caption, _MUTED, font, anchor="lm")
        left = right + _GAP
    return out


def _shrunk(sample: Sample, labels: NDArray[np.int16], height: int) -> tuple[Image.Image, NDArray[np.int16]]:
    """Image and labels at a height; outlines drawn afterwards are one pixel wide at any."""
    picture = Image.fromarray(np.ascontiguousarray(np.asarray(sample.image).transpose(1, 2, 0)))
    full_height, full_width = labels.shape
    width = max(1, int(full_width * height / full_height))
    rows = (np.arange(height) + 0.5) * full_height / height
    columns = (np.arange(width) + 0.5) * full_width / width
    small = labels[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3), small


def _heading(title: str, remark: str, width: int) -> Image.Image:
    out = Image.new("RGB", (width, _TITLE_PX + (2 * _TEXT_PX if remark else 8)), _PAPER)
    draw = ImageDraw.Draw(out)
    draw.text((0, 0), title, _INK, ImageFont.load_default(_TITLE_PX))
    draw.text((0, _TITLE_PX + 10), remark, _MUTED, ImageFont.load_default(_TEXT_PX))
    return out


def _legend(space: LabelSpace, present: set[int], width: int) -> Image.Image:
    """As low as the width allows; empty where nothing is labelled."""
    if not present:
        return Image.new("RGB", (width, 1), _PAPER)
    classes = np.array(sorted(present), np.int64)

    def with_lines(lines: int) -> Image.Image:
        return legend(space, [classes], lines * round(1.6 * _TEXT_PX) + _GAP, _TEXT_PX, _GAP)

    # a legend begins and ends with a gap, which the margin of the sheet stands for
    numbers = range(1, len(classes) + 1)
    fitting = bisect_left(numbers, True, key=lambda lines: with_lines(lines).width <= width + 2 * _GAP)
    key = with_lines(numbers[min(fitting, len(classes) - 1)])
    out = Image.new("RGB", (width, key.height), _PAPER)
    out.paste(key, (-_GAP, 0))
    return out


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of a text that is too long: of a path it says more than the beginning."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
