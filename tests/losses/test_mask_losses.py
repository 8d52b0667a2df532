"""Against a loop over images, layers and segments in double precision, and against transformers."""

import pytest
import torch
from torch import Tensor
from transformers.models.maskformer import modeling_maskformer as transformers_maskformer

from multiseg.losses.base import MaskTargets
from multiseg.losses.mask_losses import mask_losses


def make_targets(ignored: bool = True, seed: int = 0) -> MaskTargets:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-1 if ignored else 0, 4, (3, 5, 7), generator=generator)
    classes = torch.tensor([[2, 0, 1, 1], [0, 3, -1, -1], [-1, -1, -1, -1]])
    return MaskTargets.of(ids, classes, most=10)


def naive(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    focal, dice = (torch.zeros(logits.shape[:3], dtype=torch.double) for _ in range(2))
    for layer in range(len(logits)):
        for image in range(logits.shape[1]):
            labelled = targets.ids[image] >= 0
            for segment, label in enumerate(targets.classes[image].tolist()):
                if label < 0:
                    continue
                t = (targets.ids[image] == segment)[labelled].double()
                p = logits[layer, image, segment][labelled].double().sigmoid()
                each = -0.25 * t * (1 - p) ** 2 * p.log() - 0.75 * (1 - t) * p**2 * (1 - p).log()
                focal[layer, image, segment] = each.mean()
                dice[layer, image, segment] = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    return focal, dice


def test_values_and_gradients() -> None:
    targets = make_targets()
    torch.manual_seed(1)
    logits = (3 * torch.randn(2, 3, 4, 5, 7)).requires_grad_()
    weights = torch.randn(2, 2, 3, 4)
    found = torch.stack(mask_losses(logits, targets))
    (found * weights).sum().backward()
    exact = logits.detach().double().requires_grad_()
    expected = torch.stack(naive(exact, targets))
    (expected * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)
    assert not found[:, :, 2].any() and not logits.grad[:, 2].any()  # an image without segments
    assert not logits.grad.movedim(2, -1)[:, targets.ids < 0].any()


def test_extreme_logits_stay_finite() -> None:
    targets = make_targets()
    logits = torch.full((1, 3, 4, 5, 7), 500.0).neg_().requires_grad_()
    logits.data[..., ::2] = 500
    focal, dice = mask_losses(logits, targets)
    (focal.sum() + dice.sum()).backward()
    assert torch.isfinite(focal).all() and torch.isfinite(dice).all() and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    targets = make_targets()
    torch.manual_seed(1)
    half = torch.randn(1, 3, 4, 5, 7).to(dtype).requires_grad_()
    full = half.detach().float().requires_grad_()
    for logits in (half, full):
        focal, dice = mask_losses(logits, targets)
        assert focal.dtype == torch.float32
        (focal.sum() + dice.sum()).backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, full.grad.to(dtype))


def test_equal_those_of_transformers_where_nothing_is_ignored() -> None:
    targets = make_targets(ignored=False)
    torch.manual_seed(1)
    logits = torch.randn(1, 3, 4, 5, 7)
    focal, dice = mask_losses(logits, targets)
    truth = targets.masks().float()
    # the first image; in the others some segments are ignored, which transformers cannot do
    flat, wanted = logits[0, 0].flatten(1), truth[0]
    torch.testing.assert_close(focal[0, 0].sum(), transformers_maskformer.sigmoid_focal_loss(flat, wanted, 1))
    torch.testing.assert_close(dice[0, 0].sum(), transformers_maskformer.dice_loss(flat, wanted, 1))
