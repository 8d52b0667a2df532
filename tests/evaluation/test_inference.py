import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.evaluation import inference
from multiseg.evaluation.inference import mean_labels, predict_labels, predict_maps, predict_probabilities


def network(stride=1, classes=5, kernel=1):
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, kernel, stride=stride, padding=kernel // 2)


def images(height=19, width=26, batch=2):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def naive_probabilities(forward, inputs, size, scales, flip):
    """One full-size softmax after another."""
    views = []
    for scale in scales:
        shape = [round(length * scale) for length in inputs.shape[-2:]]
        resized = inputs
        if scale != 1:
            resized = F.interpolate(inputs, shape, mode="bilinear", antialias=scale < 1, align_corners=False)
        for mirrored in [False, True] if flip else [False]:
            logits = forward(resized.flip(-1)) if mirrored else forward(resized)
            full = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            views.append((full.flip(-1) if mirrored else full).softmax(1))
    return sum(views) / len(views)


@pytest.mark.parametrize("size", [(19, 26), (40, 23), (7, 11), (1, 1)])
@pytest.mark.parametrize(("scales", "flip"), [((1.0,), False), ((1.0,), True), ((0.5, 1.0, 1.75), True)])
@torch.no_grad()
def test_agrees_with_naive_scales_and_flips(size, scales, flip):
    forward = network(stride=3, kernel=3)
    wanted = naive_probabilities(forward, images(), size, scales, flip)
    found = predict_probabilities(forward, images(), size, scales=scales, flip=flip)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(2, *size))
    labels = predict_labels(forward, images(), size, scales=scales, flip=flip)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, wanted.argmax(1))


@pytest.mark.parametrize("flip", [False, True])
def test_chunks_change_nothing(monkeypatch, flip):
    forward = network(stride=3, kernel=3)
    whole = predict_probabilities(forward, images(), (31, 23), flip=flip)
    labels = predict_labels(forward, images(), (31, 23), flip=flip)
    for rows in (1, 2, 7):
        monkeypatch.setattr(inference, "_CPU_CHUNK", rows * 4 * 2 * 5 * 23)
        assert torch.equal(predict_probabilities(forward, images(), (31, 23), flip=flip), whole)
        assert torch.equal(predict_labels(forward, images(), (31, 23), flip=flip), labels)


@pytest.mark.parametrize("size", [(64, 80), (61, 83), (5, 9)])
@pytest.mark.parametrize("spread", [1.0, 30.0])  # every class is possible; few are
def test_leaving_out_hopeless_classes_changes_nothing(size, spread):
    generator = torch.Generator().manual_seed(2)
    logits = F.interpolate(torch.randn(2, 40, 3, 4, generator=generator) * spread, (9, 12), mode="bicubic")
    logits += torch.randn(logits.shape, generator=generator)
    possible = inference._possible_winners(logits.permute(0, 2, 3, 1))
    assert possible.any(1).all() and (spread == 1 or possible.float().mean() < 0.7)
    wanted = F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(predict_labels(lambda _: logits, images(9, 12), size), wanted)


def test_classes_ruled_out_by_infinity_never_win():
    logits = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(3))
    logits[:, 2] = -torch.inf
    for flip in (False, True):
        labels = predict_labels(lambda _: logits, images(20, 24, 1), (20, 24), flip=flip)
        assert (labels != 2).all() and len(labels.unique()) == 3
        assert predict_probabilities(lambda _: logits, images(20, 24, 1), (20, 24), flip=flip)[:, 2].max() == 0


def test_half_precision_logits_are_interpolated_in_full():
    forward = network(stride=2)
    found = predict_probabilities(lambda x: forward(x).bfloat16(), images(), (38, 52))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, predict_probabilities(forward, images(), (38, 52)), atol=0.02, rtol=0)


@pytest.mark.parametrize("flip", [False, True])
@torch.no_grad()
def test_stride_cuts_what_exceeds_the_image(flip):
    """19×26 at stride 4, padded to 20×28: enlarged by the stride and cut; a mirrored one before it is turned back."""

    def forward(inputs):
        return network(stride=4)(F.pad(inputs, (0, -inputs.shape[-1] % 4, 0, -inputs.shape[-2] % 4)))

    def enlarged(inputs):
        return F.interpolate(forward(inputs), scale_factor=4, mode="bilinear")[..., :19, :26].softmax(1)

    wanted = enlarged(images())
    if flip:
        wanted = (wanted + enlarged(images().flip(-1)).flip(-1)) / 2
    found = predict_probabilities(forward, images(), (19, 26), stride=4, flip=flip)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert (predict_probabilities(forward, images(), (19, 26), flip=flip) - wanted).abs().max() > 1e-3


def test_a_wrong_stride_is_refused():
    with pytest.raises(ValueError, match="stride 2 do not cover"):
        predict_labels(network(stride=4), images(), (19, 26), stride=2)


def test_padding_to_more_than_the_stride_is_cut():
    """A network that pads to its largest stride yields more logits than its finest stride needs."""
    forward = network(stride=4)
    padded = F.pad(images(), [0, 32 - 26, 0, 32 - 19])
    found = predict_labels(lambda inputs: forward(F.pad(inputs, [0, 6, 0, 13])), images(), (19, 26), stride=4)
    assert torch.equal(found, predict_labels(forward, padded, (32, 32), stride=4)[:, :19, :26])


@pytest.mark.parametrize("window", [(8, 8), (7, 26), (19, 5), (3, 4), (100, 9)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.8])
@pytest.mark.parametrize("flip", [False, True])
def test_windows_equal_the_whole_image_for_a_pointwise_network(window, overlap, flip):
    options = {"scales": (1.0,), "flip": flip}
    whole = predict_probabilities(network(), images(), (19, 26), **options)
    found = predict_probabilities(network(), images(), (19, 26), window=window, overlap=overlap, **options)
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)
    labels = predict_labels(network(), images(), (19, 26), window=window, overlap=overlap, **options)
    assert torch.equal(labels, whole.argmax(1))


@torch.no_grad()
def test_overlaps_are_averaged_by_count():
    """A network that sees its window's mean: the average over windows, by a loop."""

    def forward(inputs):
        return network()(inputs - 3 * inputs.mean((2, 3), keepdim=True))

    total, count = torch.zeros(2, 5, 19, 26), torch.zeros(19, 26)
    for top in (0, 6, 9):  # windows of ten rows every six; the last ends with the image
        for left in (0, 8, 14):  # of twelve columns every eight
            rows, columns = slice(top, top + 10), slice(left, left + 12)
            total[:, :, rows, columns] += forward(images()[:, :, rows, columns]).softmax(1)
            count[rows, columns] += 1
    assert count.min() == 1 and count.max() > 2
    found = predict_probabilities(forward, images(), (19, 26), window=(10, 12))
    torch.testing.assert_close(found, total / count, atol=1e-6, rtol=1e-5)


def test_every_window_has_the_asked_size():
    seen = []

    def forward(inputs):
        seen.append(tuple(inputs.shape[-2:]))
        return network()(inputs)

    probabilities = predict_probabilities(forward, images(), (50, 61), scales=(0.5, 2), flip=True, window=(16, 16))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 50, 61))
    assert set(seen) == {(10, 13), (16, 16)}


def test_tiny_scale_keeps_a_pixel():
    predict_labels(network(), images(), (19, 26), scales=(0.001,))


@pytest.mark.parametrize("wrong", [{"scales": ()}, {"scales": (0,)}, {"window": (0, 4)}, {"overlap": 1.0}])
def test_wrong_options(wrong):
    with pytest.raises(MultisegError):
        predict_labels(network(), images(), (19, 26), **wrong)


def test_one_view_is_never_enlarged_whole(monkeypatch):
    monkeypatch.setattr(inference, "_CPU_CHUNK", 2**16)
    sizes = []
    enlarge = inference._enlarge
    monkeypatch.setattr(inference, "_enlarge", lambda *a: sizes.append((out := enlarge(*a)).numel()) or out)
    predict_labels(network(stride=4, classes=50), images(64, 64), (256, 128))
    assert len(sizes) > 100 and max(sizes) * 4 <= 2**16


#: Of three models: stride, and how they look at the image.
MODELS = [(1, {}), (3, {"flip": True}), (2, {"window": (10, 12)})]


def maps_of_models(size, models=MODELS):
    made = []
    for seed, (stride, options) in enumerate(models):
        torch.manual_seed(seed)
        made.append((nn.Conv2d(3, 5, 1, stride=stride).requires_grad_(False), options))
    return made, [predict_maps(forward, images(), size, **options) for forward, options in made]


@pytest.mark.parametrize("size", [(19, 26), (40, 23)])
def test_models_are_averaged_as_probabilities(size):
    made, maps = maps_of_models(size)
    naive = sum(predict_probabilities(forward, images(), size, **options) for forward, options in made) / len(made)
    together, alone = mean_labels(maps)
    assert together.dtype == torch.int64 and torch.equal(together, naive.argmax(1))
    for (forward, options), own in zip(made, alone, strict=True):
        assert torch.equal(own, predict_labels(forward, images(), size, **options))
        assert not torch.equal(own, together)


def test_chunks_change_nothing_of_several_models(monkeypatch):
    together, alone = mean_labels(maps_of_models((31, 23))[1])
    for rows in (1, 7):
        monkeypatch.setattr(inference, "_CPU_CHUNK", rows * 4 * 2 * 5 * 23)
        again, own = mean_labels(maps_of_models((31, 23))[1])
        assert torch.equal(again, together) and all(map(torch.equal, own, alone))


def test_classes_in_another_order():
    order = [3, 0, 4, 1, 2]
    maps = predict_maps(network(), images(), (19, 26), flip=True)
    torch.testing.assert_close(maps.in_order(order).probabilities(), maps.probabilities()[:, order])


def test_models_of_other_classes_or_sizes_are_refused():
    first = predict_maps(network(), images(), (19, 26))
    for other in (predict_maps(network(classes=4), images(), (19, 26)), predict_maps(network(), images(), (19, 25))):
        with pytest.raises(ValueError, match="same images, classes and pixels"):
            mean_labels([first, other])


def test_models_are_never_enlarged_whole(monkeypatch):
    monkeypatch.setattr(inference, "_CPU_CHUNK", 2**16)
    sizes = []
    enlarge = inference._enlarge
    monkeypatch.setattr(inference, "_enlarge", lambda *a: sizes.append((out := enlarge(*a)).numel()) or out)
    mean_labels([predict_maps(network(stride=4, classes=50), images(64, 64), (128, 128)) for _ in range(3)])
    assert len(sizes) > 100 and max(sizes) * 4 <= 2**16
