"""The tiles of a puzzle: where they lie in the image, gaps between them, channels moved against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from multiseg.batch import Sample, Tiles
from multiseg.errors import MultisegError
from multiseg.loading.datamodule import DrawnCuts, HeldOutCuts
from multiseg.loading.tiles import TilePlan
from multiseg.loading.transforms import seeded
from tiny_methods import PARK, TOWN

PLAIN: dict[str, Any] = {"cell": 20, "tile": 16, "square": (1.0, 1.0), "gray": 0.0, "channel_shift": 0, "flip": 0.0}


def ramp(height: int = 60, width: int = 60, space: Any = TOWN, key: str = "ramp") -> Sample:
    """Row in red, column in green, their sum in blue."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([y, x, y + x]).to(torch.uint8)
    return Sample(tv_tensors.Image(image), tv_tensors.Mask(torch.zeros(height, width, dtype=torch.int16)), space, key)


def cut(seed: int = 0, sample: Sample | None = None, **settings: Any) -> Tiles:
    with seeded(seed):
        return TilePlan(**{**PLAIN, **settings}).cut(sample or ramp())


def corners(tiles: Tensor) -> Tensor:
    """Row and column of each tile's first pixel. Shape: (9, 2)."""
    return tiles[:, :2, 0, 0].long()


def test_tiles_lie_in_their_cells_at_random() -> None:
    starts = torch.stack([corners(cut(seed).images) for seed in range(40)])
    cells = torch.tensor([(row * 20, column * 20) for row in range(3) for column in range(3)])
    offsets = starts - cells
    assert offsets.min() == 0 and offsets.max() == 4
    gaps = starts[:, 1, 1] - (starts[:, 0, 1] + 16)
    assert gaps.min() >= 0 and gaps.max() >= 6, "from nothing to twice what a cell is larger"
    first = cut().images[0]
    assert torch.equal(first[0] - first[0, 0, 0], torch.arange(16)[:, None].expand(16, 16).to(torch.uint8))


def test_channels_are_moved_apart() -> None:
    starts = torch.stack([cut(seed, channel_shift=2).images[4, :, 0, 0].long() for seed in range(60)])
    moved = starts[:, 2] - starts[:, 0] - starts[:, 1]
    assert moved.unique().numel() > 3 and moved.abs().max() <= 8
    assert (cut(channel_shift=0).images.long()[:, 2] == cut(channel_shift=0).images.long()[:, :2].sum(1)).all()


def test_gray_and_flip() -> None:
    gray = cut(gray=1.0).images
    assert (gray[:, 0] == gray[:, 1]).all() and (gray[:, 0] == gray[:, 2]).all()
    assert corners(cut(flip=1.0).images)[0, 1] > corners(cut().images)[0, 1], "what was right is left"


def test_the_square_is_a_share_of_the_image() -> None:
    widths = []
    for seed in range(30):
        images = cut(seed, ramp(120, 90), square=(0.5, 0.8)).images.long()
        widths.append(int(images[:, 1].max() - images[:, 1].min()))
    assert max(widths) <= 72 and min(widths) < 50


def test_tiny_images_are_enlarged() -> None:
    assert cut(0, ramp(5, 9)).images.shape == (9, 3, 16, 16)


def test_held_out_images_are_cut_the_same_every_time_and_come_apart_by_dataset() -> None:
    parts = [[ramp(key="a"), ramp(key="b")], [ramp(space=PARK, key="c")]]
    held_out = HeldOutCuts(DrawnCuts(parts, TilePlan(**PLAIN), [None, None]), seed=3)  # type: ignore[arg-type]
    cuts = [held_out[index] for index in range(len(held_out))]
    assert [entry.key for entry in cuts] == ["a", "b", "c"]
    assert torch.equal(held_out[1].images, cuts[1].images) and not torch.equal(cuts[0].images, cuts[1].images)
    batches = held_out.collate(cuts)
    assert [(batch.spaces[0].name, len(batch)) for batch in batches] == [("town", 2), ("park", 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 21}, "tiles.tile must be 1 to tiles.cell"),
        ({"square": (0.0, 1.0)}, "tiles.square"),
        ({"channel_shift": -1}, "tiles.channel_shift"),
        ({"gray": 2.0}, "tiles.gray is a probability"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        TilePlan(**{**PLAIN, **settings})
