import pytest
import torch
from transformers.models.maskformer.modeling_maskformer import MaskFormerPixelDecoder

from multiseg.errors import MultisegError
from multiseg.networks.pixel_decoder import PixelDecoder

CHANNELS, STRIDES = [8, 16, 24, 40], [4, 8, 16, 32]


def test_equals_that_of_transformers() -> None:
    torch.manual_seed(0)
    ours = PixelDecoder(CHANNELS, STRIDES, channels=64)
    theirs = MaskFormerPixelDecoder(
        in_features=CHANNELS[-1], lateral_widths=CHANNELS[:-1], feature_size=64, mask_feature_size=64
    )
    layers = theirs.fpn.layers[::-1]  # fine to coarse, as ours
    pairs = [(theirs.fpn.stem, ours.smooth[-1]), (theirs.mask_projection, ours.output)]
    for layer, lateral, smooth in zip(layers, ours.lateral, ours.smooth[:-1], strict=True):
        pairs += [(layer.proj, lateral), (layer.block, smooth)]
    for source, target in pairs:
        for parameter in source.parameters():
            parameter.data.uniform_(-0.2, 0.2)
        for own, given in zip(target.parameters(), source.parameters(), strict=True):
            own.data.copy_(given)
    # odd sizes: a coarser level is not always half as large
    pyramid = [torch.randn(2, width, 36 >> level, 52 >> level) for level, width in enumerate(CHANNELS)]
    expected = theirs([level.clone() for level in pyramid]).last_hidden_state
    torch.testing.assert_close(ours(pyramid), expected, rtol=1e-4, atol=1e-5)


def test_finer_levels_are_left_out() -> None:
    decoder = PixelDecoder([4, *CHANNELS], [2, *STRIDES], channels=32, finest_stride=8)
    assert decoder.stride == 8
    pyramid = [torch.randn(1, width, 64 >> level, 64 >> level) for level, width in enumerate([4, *CHANNELS])]
    assert decoder(pyramid).shape == (1, 32, 16, 16)


def test_refusals() -> None:
    with pytest.raises(MultisegError, match="no level of stride 64"):
        PixelDecoder(CHANNELS, STRIDES, finest_stride=64)
    with pytest.raises(MultisegError, match="48 channels do not divide into 32 groups"):
        PixelDecoder(CHANNELS, STRIDES, channels=48)
