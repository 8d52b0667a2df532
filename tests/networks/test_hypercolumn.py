"""The hypercolumn at points, densely, and as the papers define it: the same."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from multiseg.errors import MultisegError
from multiseg.networks.backbone import Backbone
from multiseg.networks.hypercolumn import Hypercolumn, interpolate_at
from multiseg.networks.segmentation_network import SegmentationNetwork, labels_of_points

CHANNELS, STRIDES = [3, 2, 4, 5, 6], [1, 2, 2, 4, 8]
SIZE = (16, 24)


def pyramid(batch: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(batch, c, SIZE[0] // s, SIZE[1] // s, dtype=dtype, requires_grad=True)
        for c, s in zip(CHANNELS, STRIDES, strict=True)
    ]


def make(**options: object) -> Hypercolumn:
    """In double precision, evaluated with statistics that are not the initial ones."""
    torch.manual_seed(1)
    decoder = Hypercolumn(CHANNELS, STRIDES, **{"channels": 7, **options}).double()
    for name, buffer in decoder.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    return decoder.eval()


def every_pixel(batch: int = 2) -> Tensor:
    grid = torch.meshgrid(*(torch.arange(length) for length in SIZE), indexing="ij")
    return torch.stack(grid, -1).flatten(0, 1).expand(batch, -1, -1)


def by_the_book(decoder: Hypercolumn, levels: list[Tensor], stride: int) -> Tensor:
    """Every level enlarged to the map's size, all of them concatenated, then the layer."""
    if decoder.fully_connected is not None:
        fc6 = decoder.fully_connected.fc6(levels[-1])
        levels = [*levels[:-1], fc6, decoder.fully_connected.fc7(fc6)]
    size = tuple(length // stride for length in SIZE)
    columns = torch.cat([F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels], 1)
    return decoder.activation(decoder.hidden(columns))


@pytest.mark.parametrize("fc", [0, 9])
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_dense_is_the_layer_on_enlarged_and_concatenated_levels(stride: int, fc: int) -> None:
    decoder = make(stride=stride, fc=fc, kernel=2)
    features = decoder(pyramid())
    assert (decoder.channels, decoder.stride) == (7, stride)
    assert features.shape == (2, 7, SIZE[0] // stride, SIZE[1] // stride)
    torch.testing.assert_close(features, by_the_book(decoder, pyramid(), stride))


@pytest.mark.parametrize("fc", [0, 9])
def test_sparse_at_every_pixel_is_dense_and_has_its_gradient(fc: int) -> None:
    decoder = make(stride=1, fc=fc, kernel=2)
    dense_levels, sparse_levels = pyramid(), pyramid()
    dense, sparse = decoder(dense_levels), decoder(sparse_levels, every_pixel())
    assert sparse.shape == (2, 7, 1, math.prod(SIZE))
    torch.testing.assert_close(sparse.view_as(dense), dense)
    weights = torch.randn_like(dense)
    (dense * weights).sum().backward()
    (sparse.view_as(dense) * weights).sum().backward()
    for mine, other in zip(sparse_levels, dense_levels, strict=True):
        assert mine.grad.abs().sum() > 0
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_point_lies_between_four_centres() -> None:
    """Against the arithmetic of one pixel after the other."""
    level = torch.randn(2, 3, 4, 5)
    points = torch.randint(0, 16, (2, 30, 2))
    points[0, :2] = torch.tensor([[0, 0], [15, 19]])  # corners of the image, beyond all centres
    found = interpolate_at(level, points, 4)
    assert found.shape == (2, 3, 1, 30)
    for image in range(2):
        for place, (row, column) in enumerate(points[image].tolist()):
            y, x = (min(max((value + 0.5) / 4 - 0.5, 0), top) for value, top in ((row, 3), (column, 4)))
            total = 0.0
            for cell_y in range(4):
                for cell_x in range(5):
                    near = max(0.0, 1 - abs(y - cell_y)) * max(0.0, 1 - abs(x - cell_x))
                    total = total + near * level[image, :, cell_y, cell_x]
            torch.testing.assert_close(found[image, :, 0, place], total)


def test_images_have_points_of_their_own() -> None:
    decoder, levels = make(), pyramid()
    points = torch.tensor([[[0, 0], [3, 17]], [[15, 23], [3, 17]]])
    together = decoder(levels, points)
    for row in range(2):
        alone = decoder([level[row : row + 1] for level in levels], points[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_no_images_and_no_points_are_taken() -> None:
    decoder = make()
    assert decoder(pyramid(0), torch.zeros(0, 5, 2, dtype=torch.long)).shape == (0, 7, 1, 5)


def test_half_precision_and_channels_last() -> None:
    decoder = make(stride=1).float().to(memory_format=torch.channels_last)
    levels = [level.detach().to(memory_format=torch.channels_last) for level in pyramid(dtype=torch.float32)]
    exact = decoder(levels)
    with torch.autocast("cpu", torch.bfloat16):
        halves = [level.bfloat16() for level in levels]
        dense, sparse = decoder(halves), decoder(halves, every_pixel())
    assert dense.is_contiguous(memory_format=torch.channels_last)
    for features in (dense, sparse.view_as(dense)):
        assert features.dtype == torch.bfloat16
        torch.testing.assert_close(features.float(), exact, rtol=0.05, atol=0.1)


class _Largest(TorchDispatchMode):
    """The most numbers that any tensor had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_a_dense_vgg_has_no_map_of_columns() -> None:
    with torch.device("meta"):
        backbone = Backbone("vgg16_bn", every_layer=True)
        decoder = Hypercolumn(backbone.channels, backbone.strides, fc=4096).eval()
        levels = [
            torch.empty(1, c, 512 // s, 512 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
        ]
        with torch.no_grad(), _Largest() as largest:
            features = decoder(levels)
    assert decoder.hidden.in_channels == 12416
    assert features.shape == (1, 1024, 128, 128)
    assert largest.numbers == features.numel()  # nothing is larger than the result


def network(name: str = "test_resnet", **options: object) -> SegmentationNetwork:
    every_layer = name == "alexnet_bn"
    return SegmentationNetwork(
        Backbone(name, every_layer=every_layer), partial(Hypercolumn, channels=8, points=11, **options)
    )


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "alexnet_bn"])
def test_any_pyramid_at_any_size(name: str) -> None:
    torch.manual_seed(0)
    model = network(name).train()
    images = torch.randn(2, 3, 37, 50)
    points = model.draw_points(images, (1, 2))
    features = model(images, points)
    assert features.decoded.shape == (2, 8, 1, 11)
    features.decoded.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())
    model.eval()
    with torch.no_grad():
        dense = model(images).decoded
        coarsest = model.backbone.strides[-1]
        padded = [-(-length // coarsest) * coarsest for length in (37, 50)]
        assert dense.shape == (2, 8, padded[0] // 4, padded[1] // 4)
        sparse = model(images, points).decoded
        model.decoder.stride = 1
        full = model(images).decoded
    for row in range(2):
        expected = full[row][:, points[row, :, 0], points[row, :, 1]]
        torch.testing.assert_close(sparse[row, :, 0], expected, rtol=1e-3, atol=1e-4)


def test_points_are_pixels_of_the_image_and_not_of_its_padding() -> None:
    torch.manual_seed(0)
    model = network()
    model.decoder.points = 4000
    images = torch.zeros(2, 3, 37, 50)
    points = model.draw_points(images, (5, 6))
    assert points.shape == (2, 4000, 2) and points.dtype == torch.int64
    assert points.amin((0, 1)).tolist() == [0, 0] and points.amax((0, 1)).tolist() == [36, 49]
    assert not torch.equal(points[0], points[1])
    assert torch.equal(points[[1]], model.draw_points(images[:1], (6,))), "an image's own, in whatever batch it is"
    share = points[..., 0].flatten().bincount(minlength=37) / 8000 * 37
    assert share.min() > 0.7 and share.max() < 1.3


def test_who_asks_for_no_points_gets_the_map_in_training_too() -> None:
    model = network().train()
    assert model(torch.randn(2, 3, 64, 64)).decoded.shape == (2, 8, 16, 16)


def test_trained_at_all_pixels_it_draws_none() -> None:
    model = SegmentationNetwork(Backbone("test_resnet"), partial(Hypercolumn, channels=8, points=None))
    assert model.draw_points(torch.zeros(1, 3, 8, 8), (0,)) is None


def test_labels_of_points_are_read_where_they_lie() -> None:
    labels = torch.randint(-1, 9, (3, 6, 7))
    points = torch.stack([torch.randint(0, 6, (3, 5)), torch.randint(0, 7, (3, 5))], -1)
    found = labels_of_points(labels, points)
    expected = [[int(labels[image, row, column]) for row, column in points[image].tolist()] for image in range(3)]
    assert found.shape == (3, 1, 5)
    assert found[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 3}, "stride of 8 is no multiple of 3"),
        ({"stride": 16}, "stride of 8 is no multiple of 16"),
        ({"stride": 0}, "no multiple of 0"),
        ({"points": 0}, "a point an image at least, not 0"),
    ],
)
def test_what_makes_no_map_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(MultisegError, match=message):
        Hypercolumn(CHANNELS, STRIDES, **options)
