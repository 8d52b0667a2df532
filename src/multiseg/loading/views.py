"""Views of an image for contrastive pretraining: the augmentation of MoCo-v2, with the labels along."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from multiseg.batch import Sample, ViewBatch, Views, collate_views
from multiseg.errors import MultisegError
from multiseg.loading.cutting import Cutting
from multiseg.loading.mixing import Mixing
from multiseg.loading.transforms import require_numbers, resize_nearest


@dataclass(frozen=True)
class ViewPlan(Cutting):
    """How views are made (Chen et al.: "Improved Baselines with Momentum Contrastive Learning", 2020, as in MDP).

    Geometry is applied to labels as to the image, photometry to the image only. Views are shares of an image, so no
    pipeline plays a part.

    Args:
        size: height and width of a view, in pixels.
        scale: the share of the image's area that a view shows is drawn from this range.
        ratio: width over height of what it shows, relative to that of `size`.
        jitter: brightness, contrast, saturation (factors within 1 ± value) and hue (± value, of a turn of 1).
        jitter_probability: of any jitter.
        gray: probability of a grey image.
        blur: probability of a Gaussian blur.
        blur_sigma: its width, in pixels.
        flip: probability of a horizontal flip.
        mixing: of a third view of each image with one of another image of the batch; None for none.
    """

    kind: ClassVar[str] = "views"

    size: tuple[int, int] = (224, 224)
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    gray: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    flip: float = 0.5
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        require_numbers("views.size", self.size, (2,), lambda size: min(size) >= 1)
        require_numbers("views.scale", self.scale, (2,), lambda scale: 0 < scale[0] <= scale[1] <= 1)
        require_numbers("views.ratio", self.ratio, (2,), lambda ratio: 0 < ratio[0] <= ratio[1])
        require_numbers("views.blur_sigma", self.blur_sigma, (2,), lambda sigma: 0 < sigma[0] <= sigma[1])
        for name in ("jitter_probability", "gray", "blur", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise MultisegError(f"views.{name} is a probability, not {getattr(self, name)}.")

    def transform(self) -> v2.Transform:
        """(image, labels) to a view of exactly `size` pixels."""
        stretch = self.size[1] / self.size[0]
        low, high = self.ratio
        crop = _RandomResizedCrop(self.size, self.scale, (low * stretch, high * stretch), antialias=True)
        steps: list[v2.Transform] = [crop, v2.RandomHorizontalFlip(self.flip)]
        if self.jitter_probability and any(self.jitter):
            steps.append(v2.RandomApply([v2.ColorJitter(*self.jitter)], self.jitter_probability))
        if self.gray:
            steps.append(v2.RandomGrayscale(self.gray))
        if self.blur:
            steps.append(v2.RandomApply([_Blur(2 * math.ceil(3 * self.blur_sigma[1]) + 1, self.blur_sigma)], self.blur))
        return v2.Compose(steps)

    @property
    def pairs(self) -> bool:
        return self.mixing is not None

    def cut(self, sample: Sample, partner: Sample | None, long_side: int | None = None) -> Views:
        """Two views of an image and, where there is mixing, a third one mixed with one of its partner."""
        transform = self.transform()
        first, second = _view(sample, transform), _view(sample, transform)
        if self.mixing is None or partner is None:
            return Views(first, second)
        return Views(first, second, self.mixing(_view(sample, transform), _view(partner, transform)))

    def collate(self, cuts: Sequence[Views]) -> ViewBatch:
        return collate_views(cuts)


def _view(sample: Sample, transform: Callable[..., Any]) -> Sample:
    image, labels = transform(sample.image, sample.labels)
    return replace(sample, image=image, labels=labels, segments=None)


class _Blur(v2.GaussianBlur):
    """torchvision's, rows after columns: as wide as it is here, the two-dimensional kernel takes six times as long."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.Mask):
            return inpt
        rows = F.gaussian_blur(inpt, [1, self.kernel_size[1]], **params)
        return F.gaussian_blur(rows, [self.kernel_size[0], 1], **params)


class _RandomResizedCrop(v2.RandomResizedCrop):
    """torchvision's, with labels resized by the centres of pixels, as the image is."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Mask):
            return super().transform(inpt, params)
        top, left = params["top"], params["left"]
        part = inpt.as_subclass(Tensor)[..., top : top + params["height"], left : left + params["width"]]
        return tv_tensors.wrap(resize_nearest(part, self.size), like=inpt)
