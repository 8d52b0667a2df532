"""From images to label maps: several scales, mirroring, sliding windows, and none of them.

Every forward pass is a *view* of the output: its logits, and for each output pixel the place among them. Nothing is enlarged
before all views are there; then the output is made some rows at a time. So memory beyond the result does not grow with the
output, whatever the number of classes, views and windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
        stride: pixels of input between logits, where these cover the input padded to a whole multiple of it: what exceeds
            the input is cut. None: they cover the input exactly.

    Shape:
        returns: (B, K, H', W') float32.

    Raises:
        MultisegError: no scale, a scale that is not positive, an empty window or an overlap outside 0 ≤ overlap < 1.
        ValueError: the logits do not cover the input at that stride.
    """
    views = list(_views(forward, images, output_size, scales, flip, window, overlap, stride))
    batch, _, _, num_classes = views[0].logits.shape
    out = views[0].logits.new_empty((batch, num_classes, *output_size))
    for start, stop in _row_chunks(views[0], output_size):
        out[:, :, start:stop] = _mean_probabilities(views, start, stop, output_size[1]).permute(0, 3, 1, 2)
    return out


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
        raise MultisegError(f"a window needs at least one pixel and an overlap in [0, 1); found {window} and {overlap}.")
    mirrors = (False, True) if flip else (False,)
    for scale, mirrored in product(scales, mirrors):
        inputs = _resize(images, scale)
        inputs = inputs.flip(-1) if mirrored else inputs
        height, width = inputs.shape[-2:]
        tops = _windows(height, window[0] if window else height, overlap)
        lefts = _windows(width, window[1] if window else width, overlap)
        for top, left in product(tops, lefts):
            logits = forward(inputs[..., top, left]).float().permute(0, 2, 3, 1).contiguous()
            rows = _axis(output_size[0], height, tops, top, logits.shape[1], stride)
            columns = _axis(output_size[1], width, lefts, left, logits.shape[2], stride, mirrored)
            yield _View(
                logits,
                _on(rows, logits.device, share=1 / (len(scales) * len(mirrors))),
                _on(columns, logits.device, share=1.0),
            )
