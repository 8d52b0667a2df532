"""Augmentation, one pipeline a dataset (LMSeg's "dataset-aware augmentation"): its own scales, crop and photometry.

Everything is a `torchvision.transforms.v2.Transform` on an (image, labels) pair, or in panoptic datasets on an (image,
labels, segment ids) triple, so any transform of that library can join a pipeline. One that moves pixels must fill both
maps with `multiseg.label_space.IGNORE`, not with torchvision's default 0, which is a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from multiseg.datasets.base import StoredImage
from multiseg.errors import MultisegError
from multiseg.label_space import IGNORE


@dataclass(frozen=True)
class Pipeline:
    """What happens to the images of one dataset between disk and network.

    Args:
        long_side: the longer side of the image, in pixels, at scale 1, in training and in evaluation; None keeps the
            file's.
        crop: height and width of a training crop, in pixels.
        scale: a training image is scaled by a factor drawn uniformly from this range.
        max_class_share: redraw a crop (up to ten times) in which one class has a larger share; 1 switches this off.
        flip: probability of a horizontal flip.
        jitter: brightness, contrast, saturation (factors within 1 ± value) and hue (± value, of a turn of 1); empty
            for none.
        more: further transforms, applied last.
    """

    long_side: int | None = 240
    crop: tuple[int, int] = (128, 160)
    scale: tuple[float, float] = (0.75, 2.0)
    max_class_share: float = 1.0
    flip: float = 0.5
    jitter: tuple[float, ...] = ()
    more: list[v2.Transform] = field(default_factory=list)

    def __post_init__(self) -> None:
        # a dataset's own keys reach this class unchecked by the recipe's types
        if self.long_side is not None and (not isinstance(self.long_side, int) or self.long_side < 1):
            raise MultisegError(f"long_side must be a number of pixels or null, not '{self.long_side}'.")
        require_numbers("crop", self.crop, (2,), lambda crop: min(crop) >= 1)
        require_numbers("scale", self.scale, (2,), lambda scale: 0 < scale[0] <= scale[1])
        require_numbers("jitter", self.jitter, (0, 4), lambda jitter: min(jitter, default=0) >= 0)
        if not isinstance(self.more, list) or not all(isinstance(entry, v2.Transform) for entry in self.more):
            raise MultisegError(f"more must be a list of transforms, not '{self.more}'.")

    def training(self) -> v2.Transform:
        """(image, labels) to a crop of exactly `crop` pixels."""
        steps: list[v2.Transform] = [RandomScaleCrop(self.crop, self.scale, self.long_side, self.max_class_share)]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.jitter:
            steps.append(v2.ColorJitter(*self.jitter))
        return v2.Compose([*steps, *self.more])

    def evaluation(self) -> v2.Transform:
        """The image at `long_side`; the labels as they are, since predictions are judged at the file's size."""
        return ResizeImage(self.long_side)


class RandomScaleCrop(v2.Transform):
    """Random scaling and cropping in one step that reads only the pixels it needs.

    Equivalent to resizing the whole image by the drawn factor and cropping from the result, but the crop box is chosen
    first, in the coordinates of the file, and only that box is resized: the cost follows the crop, not the image.
    A box is widened to whole pixels of the file, the same for image and labels, so they stay aligned.

    Args:
        crop, scale, long_side, max_class_share: see `Pipeline`.
        tries: how often a crop may be redrawn.
    """

    def __init__(
        self,
        crop: tuple[int, int],
        scale: tuple[float, float] = (1.0, 1.0),
        long_side: int | None = None,
        max_class_share: float = 1.0,
        tries: int = 10,
    ) -> None:
        super().__init__()
        self.crop = tuple(crop)
        self.scale = tuple(scale)
        self.long_side = long_side
        self.max_class_share = max_class_share
        self.tries = tries

    def forward(self, *inputs: Any) -> Any:
        """Of an image that is still on disk, only the crop is read."""
        if not any(isinstance(entry, StoredImage) for entry in inputs):
            return super().forward(*inputs)
        params = self.make_params(list(inputs))
        return tuple(self.transform(entry, params) for entry in inputs)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        labels = next((entry for entry in flat_inputs if isinstance(entry, tv_tensors.Mask)), None)
        height, width = flat_inputs[0].shape[-2:]
        factor = float(torch.empty(()).uniform_(*self.scale)) * base_factor(height, width, self.long_side)
        scaled = (max(1, round(height * factor)), max(1, round(width * factor)))
        box, size = self._draw(height, width, scaled)
        if labels is not None and self.max_class_share < 1:
            for _ in range(self.tries - 1):
                if _largest_share(labels, box) <= self.max_class_share:
                    break
                box, size = self._draw(height, width, scaled)
        return {"box": box, "size": size}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        top, bottom, left, right = params["box"]
        size = params["size"]
        part = inpt.read(params["box"]) if isinstance(inpt, StoredImage) else inpt[..., top:bottom, left:right]
        if isinstance(inpt, tv_tensors.Mask):
            out = _pad_to(resize_nearest(part, size), self.crop, IGNORE)
            return tv_tensors.wrap(out, like=inpt)
        # as decoders leave images, so that torch need not rearrange what it resizes: less than half the time
        packed = part.as_subclass(Tensor)[None].contiguous(memory_format=torch.channels_last)[0]
        out = F.resize(packed, list(size), antialias=True)
        return tv_tensors.Image(_pad_to(out, self.crop, 0))

    def _draw(
        self, height: int, width: int, scaled: tuple[int, int]
    ) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """A source box (top, bottom, left, right) and the size it is resized to."""
        top, bottom, rows = self._draw_side(height, scaled[0], self.crop[0])
        left, right, columns = self._draw_side(width, scaled[1], self.crop[1])
        return (top, bottom, left, right), (rows, columns)

    @staticmethod
    def _draw_side(length: int, scaled: int, crop: int) -> tuple[int, int, int]:
        start = int(torch.randint(max(scaled - crop, 0) + 1, ()))
        shown = min(crop, scaled)
        first = start * length // scaled
        last = -(-(start + shown) * length // scaled)
        return first, max(min(last, length), first + 1), shown


class ResizeImage(v2.Transform):
    """Resize the image, not the labels, so that its longer side has `long_side` pixels; None leaves it."""

    def __init__(self, long_side: int | None) -> None:
        super().__init__()
        self.long_side = long_side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.Mask) or self.long_side is None:
            return inpt
        height, width = inpt.shape[-2:]
        factor = base_factor(height, width, self.long_side)
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        return F.resize(inpt, size, antialias=True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch (the only ones torchvision draws) inside this block depend on `seed` alone; outside
    nothing changes. So an image's augmentation depends on its place in the run, not on workers, ranks or interruptions.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def require_numbers(name: str, value: Any, lengths: tuple[int, ...], valid: Callable[[Any], bool]) -> None:
    numbers = isinstance(value, tuple | list) and all(isinstance(entry, int | float) for entry in value)
    if not numbers or len(value) not in lengths or not valid(value):
        wanted = " or ".join(str(length) for length in lengths)
        raise MultisegError(f"{name} must be {wanted} numbers in range, not '{value}'.")


def base_factor(height: int, width: int, long_side: int | None) -> float:
    """What an image of a file's size is scaled by, so that its longer side has `long_side` pixels."""
    return 1.0 if long_side is None else long_side / max(height, width)


def resize_nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest neighbour by pixel centres, for any integer type (torch's resizes go through float32)."""
    plain = labels.as_subclass(Tensor)
    shrinks = size[0] < plain.shape[-2]
    # as few columns as can be have to be picked from each row; numpy picks them more than twice as fast as torch
    for dim in (-2, -1) if shrinks else (-1, -2):
        length, wanted = plain.shape[dim], size[dim]
        if length != wanted:
            centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * (length / wanted)
            places = centres.long().clamp_(max=length - 1)
            if dim == -2:
                plain = plain.index_select(-2, places)
            else:
                plain = torch.from_numpy(plain.numpy().take(places.numpy(), axis=-1))
    return plain


def _pad_to(tensor: Tensor, size: Sequence[int], fill: int) -> Tensor:
    below, right = (wanted - length for wanted, length in zip(size, tensor.shape[-2:], strict=True))
    if below == right == 0:
        return tensor
    return torch.nn.functional.pad(tensor, [0, right, 0, below], value=fill)


def _largest_share(labels: Tensor, box: tuple[int, int, int, int]) -> float:
    """Share of the most frequent class among the labelled pixels of a box, from every fourth pixel each way."""
    top, bottom, left, right = box
    part = labels.as_subclass(Tensor)[top:bottom:4, left:right:4].flatten()
    part = part[part != IGNORE]
    if not part.numel():
        return 1.0
    return int(part.long().bincount().max()) / part.numel()
