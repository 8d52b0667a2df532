"""From images to label maps: several scales, mirroring, sliding windows, and none of them.

Every forward pass is a *view* of the output: its logits, and for each output pixel the place among them. Nothing is
enlarged before all views are there; then the output is made some rows at a time, so that memory beyond the result and
the logits stays the same for any number of classes, views, windows and models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional as F

from multiseg.errors import MultisegError

#: (B, 3, h, w) images to (B, K, h', w') logits.
Forward = Callable[[Tensor], Tensor]

#: Bytes of logits enlarged at a time: on a CPU what its cache holds, elsewhere what memory can spare.
_CPU_CHUNK = 2**22
_CHUNK = 2**28

#: Stands for -inf, by which methods rule classes out: interpolating between two infinities would give NaN.
_LOWEST = torch.finfo(torch.float32).min


@torch.no_grad()
def predict_probabilities(
    forward: Forward,
    images: Tensor,
    output_size: tuple[int, int],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: tuple[int, int] | None = None,
    overlap: float = 1 / 3,
    stride: int | None = None,
) -> Tensor:
    """Class probabilities: the softmax of each view at output size, averaged.

    Each scale and its mirror image weigh the same, and so does each window over a pixel.

    Args:
        forward: the network.
        images: (B, 3, H, W) float, normalised.
        output_size: (H', W').
        scales: by which the images are resized; bilinear, against aliasing where they shrink.
        flip: also of the mirrored images.
        window: height and width in pixels of the resized images; None, or where they are smaller: the whole at once.
        overlap: share of a window that the next one covers at least.
        stride: pixels of input between logits, where these cover the input padded to a whole multiple of it: what
            exceeds the input is cut. None: they cover the input exactly.

    Shape:
        returns: (B, K, H', W') float32.

    Raises:
        MultisegError: no scale, a scale that is not positive, an empty window or an overlap outside 0 ≤ overlap < 1.
        ValueError: the logits do not cover the input at that stride.
    """
    return predict_maps(
        forward, images, output_size, scales=scales, flip=flip, window=window, overlap=overlap, stride=stride
    ).probabilities()


@torch.no_grad()
def predict_labels(
    forward: Forward,
    images: Tensor,
    output_size: tuple[int, int],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: tuple[int, int] | None = None,
    overlap: float = 1 / 3,
    stride: int | None = None,
) -> Tensor:
    """The most probable class of each pixel; arguments and errors as of `predict_probabilities`.

    A single view needs no softmax: its enlarged logits have the same order.

    Shape:
        returns: (B, H', W') int64.
    """
    views = list(_views(forward, images, output_size, scales, flip, window, overlap, stride))
    first = views[0]
    winners = _possible_winners(first.logits) if len(views) == 1 and first.logits.device.type == "cpu" else None
    out = torch.empty((len(first.logits), *output_size), dtype=torch.int64, device=first.logits.device)
    for start, stop in _row_chunks(first, output_size):
        if len(views) > 1:
            out[:, start:stop] = _mean_probabilities(views, start, stop, output_size[1]).argmax(-1)
        elif winners is None:
            out[:, start:stop] = _enlarge(first, start, stop).argmax(-1)
        else:
            low, high = first.rows.source(start, stop)
            classes = winners[low : high + 1].any(0).nonzero()[:, 0]
            out[:, start:stop] = classes[_enlarge(first, start, stop, classes).argmax(-1)]
    return out


@torch.no_grad()
def predict_maps(
    forward: Forward,
    images: Tensor,
    output_size: tuple[int, int],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: tuple[int, int] | None = None,
    overlap: float = 1 / 3,
    stride: int | None = None,
) -> ClassMaps:
    """Class probabilities of which none is enlarged yet; arguments and errors as of `predict_probabilities`."""
    views = _views(forward, images, output_size, scales, flip, window, overlap, stride)
    return ClassMaps(tuple(views), output_size)


@torch.no_grad()
def mean_labels(maps: Sequence[ClassMaps]) -> tuple[Tensor, list[Tensor]]:
    """What several models say together, and what each says alone.

    Together they say the class whose probability, averaged over the models, is largest; alone each says exactly what
    `predict_labels` does. The output is made some rows at a time, for all models, so that none of their probabilities
    is ever there at full size.

    Args:
        maps: of each model for the same images, in the same classes and at the same output size.

    Shape:
        returns: (B, H', W') int64, together and of each model.

    Raises:
        ValueError: classes, images or sizes differ.
    """
    shapes = [entry.shape for entry in maps]
    if not shapes or len(set(shapes)) > 1:
        raise ValueError(f"models are averaged over the same images, classes and pixels; found {shapes}.")
    batch, _, height, width = shapes[0]
    first = maps[0].views[0]
    together, *alone = (
        torch.empty((batch, height, width), dtype=torch.int64, device=first.logits.device) for _ in range(len(maps) + 1)
    )
    for start, stop in _row_chunks(first, (height, width)):
        total: Tensor | None = None
        for entry, own in zip(maps, alone, strict=True):
            if len(entry.views) == 1:  # as in `predict_labels`: softmax might make two unlike logits equal
                enlarged = _enlarge(entry.views[0], start, stop)
                own[:, start:stop] = enlarged.argmax(-1)
                probabilities = enlarged.softmax(-1)
            else:
                probabilities = _mean_probabilities(entry.views, start, stop, width)
                own[:, start:stop] = probabilities.argmax(-1)
            total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        together[:, start:stop] = total.argmax(-1)
    return together, alone


@dataclass(frozen=True)
class ClassMaps:
    """The class probabilities of some images, as the logits that the network gave and what becomes of them.

    Args:
        views: a forward pass each.
        size: (H', W') of the output.
    """

    views: tuple[_View, ...]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, K, H' and W' of `probabilities`."""
        batch, _, _, num_classes = self.views[0].logits.shape
        return batch, num_classes, *self.size

    def in_order(self, order: Sequence[int]) -> ClassMaps:
        """The same with class `order[k]` at place k."""
        index = torch.as_tensor(order, device=self.views[0].logits.device)
        return replace(self, views=tuple(replace(v, logits=v.logits.index_select(-1, index)) for v in self.views))

    def probabilities(self) -> Tensor:
        """Enlarged, and averaged over the views. Shape: (B, K, H', W') float32."""
        out = self.views[0].logits.new_empty(self.shape)
        for start, stop in _row_chunks(self.views[0], self.size):
            out[:, :, start:stop] = _mean_probabilities(self.views, start, stop, self.size[1]).permute(0, 3, 1, 2)
        return out


@dataclass(frozen=True)
class _Axis:
    """Rows or columns of the output that a view covers, and where they lie among its logits.

    Args:
        start: the first of them; `len(low)` follow one another.
        low, high: (n,) int64, the logits on either side.
        weight: (n,) float, of `high`.
        share: (n,) float, by which the view counts there.
        ends: (n,) int64, `low` on the host.
    """

    start: int
    low: Tensor
    high: Tensor
    weight: Tensor
    share: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> _Axis:
        low, high, weight, share = (tensor.to(device) for tensor in (self.low, self.high, self.weight, self.share))
        return _Axis(self.start, low, high, weight, share, self.ends)

    @property
    def stop(self) -> int:
        return self.start + len(self.ends)

    def source(self, start: int, stop: int) -> tuple[int, int]:
        """The first and last `low` of output rows `start` to `stop`."""
        return int(self.ends[start - self.start]), int(self.ends[stop - self.start - 1])


@dataclass(frozen=True)
class _View:
    """Logits (B, h, w, K), classes innermost: there `argmax` is fastest, and interpolation moves whole pixels."""

    logits: Tensor
    rows: _Axis
    columns: _Axis


def _views(
    forward: Forward,
    images: Tensor,
    output_size: tuple[int, int],
    scales: Sequence[float],
    flip: bool,
    window: tuple[int, int] | None,
    overlap: float,
    stride: int | None,
) -> Iterator[_View]:
    if not scales or min(scales) <= 0:
        raise MultisegError(f"scales must be positive numbers, at least one; found {list(scales)}.")
    if (window and min(window) < 1) or not 0 <= overlap < 1:
        raise MultisegError(
            f"a window needs at least one pixel and an overlap in [0, 1); found {window} and {overlap}."
        )
    mirrors = (False, True) if flip else (False,)
    for scale, mirrored in product(scales, mirrors):
        inputs = _resize(images, scale)
        inputs = inputs.flip(-1) if mirrored else inputs
        height, width = inputs.shape[-2:]
        tops = _windows(height, window[0] if window else height, overlap)
        lefts = _windows(width, window[1] if window else width, overlap)
        for top, left in product(tops, lefts):
            logits = forward(inputs[..., top, left]).float().clamp(min=_LOWEST).permute(0, 2, 3, 1).contiguous()
            rows = _axis(output_size[0], height, tops, top, logits.shape[1], stride)
            columns = _axis(output_size[1], width, lefts, left, logits.shape[2], stride, mirrored)
            rows = replace(rows, share=rows.share / (len(scales) * len(mirrors)))
            yield _View(logits, rows.to(logits.device), columns.to(logits.device))


def _resize(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    size = [max(1, round(length * scale)) for length in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=scale < 1)


def _windows(length: int, window: int, overlap: float) -> list[slice]:
    """Windows along one axis; the last ends where the axis ends."""
    window = min(window, length)
    step = max(1, int(window * (1 - overlap)))
    starts = [*range(0, length - window, step), length - window]
    return [slice(start, start + window) for start in starts]


def _axis(
    output_length: int,
    length: int,
    windows: Sequence[slice],
    window: slice,
    cells: int,
    stride: int | None,
    mirrored: bool = False,
) -> _Axis:
    """Where the output pixels whose centres fall into a window lie among its logits; as `align_corners=False` has it.

    Args:
        output_length: of the output.
        length: of the input of all windows.
        windows: all of them.
        window: this one.
        cells: logits of this window.
        stride: input pixels a logit; None: the window is shared out evenly.
        mirrored: the input is; the output is not.
    """
    extent = window.stop - window.start
    if stride is not None and cells * stride < extent:  # more is padding, to a multiple of the network's largest stride
        raise ValueError(f"{cells} logits at stride {stride} do not cover an input of {extent} pixels.")
    centres = (torch.arange(output_length, dtype=torch.float64) + 0.5) * (length / output_length)
    if mirrored:
        centres = centres.flip(0)
    inside = (centres >= window.start) & (centres < window.stop)
    windows_over = sum(((centres >= other.start) & (centres < other.stop)).double() for other in windows)
    covered = inside.nonzero()[:, 0]
    position = (centres[covered] - window.start) / (stride or extent / cells) - 0.5
    position = position.clamp(0, cells - 1)
    low = position.long()
    share = 1 / torch.as_tensor(windows_over)[covered]
    start = int(covered[0]) if len(covered) else 0
    return _Axis(start, low, (low + 1).clamp(max=cells - 1), (position - low).float(), share.float(), low)


def _row_chunks(view: _View, output_size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of pieces of the output that are small enough to be enlarged at once."""
    batch, _, _, num_classes = view.logits.shape
    budget = _CPU_CHUNK if view.logits.device.type == "cpu" else _CHUNK
    rows = max(1, budget // (4 * batch * num_classes * output_size[1]))
    return pairwise([*range(0, output_size[0], rows), output_size[0]])


def _enlarge(view: _View, start: int, stop: int, classes: Tensor | None = None) -> Tensor:
    """Logits at output rows `start` to `stop`, bilinear, over the columns that the view covers.

    Columns first: then the enlarged columns of a row of logits serve all output rows next to it.

    Args:
        view: must cover the rows.
        start: first row of the output.
        stop: the row after the last.
        classes: (K',) int64, only these.

    Shape:
        returns: (B, stop - start, W', K or K').
    """
    rows, columns = view.rows, view.columns
    first, last = rows.source(start, stop)
    here = slice(start - rows.start, stop - rows.start)
    source = view.logits[:, first : last + 2]
    if classes is not None and len(classes) < source.shape[-1]:
        source = source.index_select(3, classes)
    weight = columns.weight[:, None]
    wide = torch.lerp(source.index_select(2, columns.low), source.index_select(2, columns.high), weight)
    weight = rows.weight[here, None, None]
    if first == last:  # all between the same two rows: nothing to gather
        return torch.lerp(wide[:, :1], wide[:, -1:], weight)
    upper, lower = wide.index_select(1, rows.low[here] - first), wide.index_select(1, rows.high[here] - first)
    return torch.lerp(upper, lower, weight)


def _mean_probabilities(views: Sequence[_View], start: int, stop: int, width: int) -> Tensor:
    """Shape: (B, stop - start, width, K)."""
    batch, _, _, num_classes = views[0].logits.shape
    total = views[0].logits.new_zeros((batch, stop - start, width, num_classes))
    for view in views:
        rows, columns = view.rows, view.columns
        top, bottom = max(start, rows.start), min(stop, rows.stop)
        if top >= bottom:
            continue
        share = rows.share[top - rows.start : bottom - rows.start, None, None] * columns.share[:, None]
        probabilities = _enlarge(view, top, bottom).softmax(-1).mul_(share)
        total[:, top - start : bottom - start, columns.start : columns.stop] += probabilities
    return total


def _possible_winners(logits: Tensor) -> Tensor:
    """The classes that can have the largest enlarged logit next to a row of logits.

    Within a cell of four neighbouring logits interpolation is a convex combination, so a class whose largest corner is
    below another's smallest corner loses everywhere in it. Of 150 classes a few are left, and only they are enlarged.

    Shape:
        logits: (B, h, w, K); returns: (h, K) bool, for the cells between a row and the next.
    """
    corners = F.pad(logits.permute(0, 3, 1, 2), (0, 1, 0, 1), mode="replicate")
    highest = F.max_pool2d(corners, 2, stride=1)
    lowest = -F.max_pool2d(-corners, 2, stride=1)
    loses = highest < lowest.amax(1, keepdim=True)  # false for NaN: some class always remains
    return (~loses).any(3).any(0).T
