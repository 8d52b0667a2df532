import pytest
import torch
from torch import nn
from transformers import MaskFormerConfig
from transformers.models.maskformer.modeling_maskformer import MaskFormerTransformerModule

from multiseg.errors import MultisegError
from multiseg.networks.attention import Attention
from multiseg.networks.mask_decoder import MaskDecoder, MaskDecoderSettings, Words
from multiseg.networks.segmentation_network import Features

SETTINGS = MaskDecoderSettings(queries=7, layers=3, width=32, heads=4, feedforward=48, dropout=0.0)


def features(batch: int = 2, channels: int = 12, size: tuple[int, int] = (3, 5), seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, channels, *size, generator=generator)
    return Features(torch.randn(batch, 10, size[0] * 8, size[1] * 8, generator=generator), None, [coarse])


def decoder(settings: MaskDecoderSettings = SETTINGS, guided: bool = False) -> MaskDecoder:
    torch.manual_seed(0)
    made = MaskDecoder(12, 10, settings, guided).eval()
    for name, parameter in made.named_parameters():
        if "bias" in name:
            parameter.data.normal_()
    return made


def words(lengths: list[int], rows: int, seed: int = 0) -> Words:
    """With anything where there is no word."""
    generator = torch.Generator().manual_seed(seed)
    padding = torch.arange(rows)[None] >= torch.tensor(lengths)[:, None]
    return Words(torch.randn(len(lengths), rows, 32, generator=generator), padding)


@pytest.mark.parametrize("layers", [1, 3])
def test_equals_that_of_transformers(layers: int) -> None:
    """On the same weights; of ours, with three layers, what is there after one and after all."""
    ours = decoder()
    config = MaskFormerConfig()
    config.decoder_config.update(
        dict(d_model=32, num_queries=7, decoder_layers=layers, decoder_attention_heads=4, decoder_ffn_dim=48, dropout=0)
    )
    theirs = MaskFormerTransformerModule(12, config).eval()
    copy(theirs.input_projection, ours.project)
    theirs.queries_embedder.weight.data.copy_(ours.positions.data)
    copy(theirs.decoder.layernorm, ours.norm)
    for layer, own in zip(theirs.decoder.layers, ours.layers[:layers], strict=True):
        copy_attention(layer.self_attn, own.to_queries)
        copy_attention(layer.encoder_attn, own.to_image)
        copy(layer.mlp.fc1, own.feedforward[0])
        copy(layer.mlp.fc2, own.feedforward[3])
        norms = (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm)
        for norm, target in zip(norms, own.norms, strict=True):
            copy(norm, target)
    given = features()
    expected = theirs(given.pyramid[-1], return_dict=True).last_hidden_state
    torch.testing.assert_close(ours(given, every_layer=True).classes[layers - 1], expected, rtol=1e-4, atol=1e-5)


def copy(theirs: nn.Module, ours: nn.Module) -> None:
    theirs.load_state_dict(ours.state_dict())


def copy_attention(theirs: nn.Module, ours: Attention) -> None:
    parts = {"q_proj": ours.to_query, "k_proj": ours.to_key, "v_proj": ours.to_value, "o_proj": ours.output}
    for name, part in parts.items():
        copy(getattr(theirs, name), part)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_padding_of_an_image_changes_nothing(pre_norm: bool) -> None:
    """An image alone, and beside a larger one, where what fills it up is arbitrary."""
    made = decoder(MaskDecoderSettings(**{**vars(SETTINGS), "pre_norm": pre_norm}))
    small = features(1, size=(2, 3))
    large = features(2, size=(4, 5), seed=1)
    large.pyramid[0][0, :, :2, :3] = small.pyramid[0][0]
    padding = torch.zeros(2, 128, 160, dtype=torch.bool)
    padding[0, 64:] = True
    padding[0, :, 96:] = True
    together = made(large, padding=padding).classes[:, :1]
    torch.testing.assert_close(together, made(small).classes, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made(large).classes[:, :1], made(small).classes, atol=1e-2)


def test_padded_words_change_nothing_and_words_do() -> None:
    made = decoder(guided=True)
    given = features(1)
    four = words([4], 4)
    longer = Words(torch.cat([four.embeddings, torch.randn(1, 3, 32)], 1), torch.arange(7)[None] >= 4)
    torch.testing.assert_close(made(given, longer).classes, made(given, four).classes, rtol=1e-4, atol=1e-5)
    others = words([4], 4, seed=1)
    assert not torch.allclose(made(given, others).classes, made(given, four).classes, atol=1e-2)


def test_the_order_of_words_is_no_matter_and_that_of_attentions_is() -> None:
    given, text = features(1), words([5], 5)
    first = decoder(guided=True)
    shuffled = Words(text.embeddings[:, [3, 1, 4, 0, 2]], text.padding)
    torch.testing.assert_close(first(given, shuffled).classes, first(given, text).classes, rtol=1e-4, atol=1e-5)
    other = decoder(MaskDecoderSettings(**{**vars(SETTINGS), "order": "text-visual"}), guided=True)
    other.load_state_dict(first.state_dict())
    assert not torch.allclose(other(given, text).classes, first(given, text).classes, atol=1e-2)


def test_only_the_last_layer_unless_all_are_wanted() -> None:
    made = decoder()
    given = features()
    every = made(given, every_layer=True)
    last = made(given)
    assert every.classes.shape == (3, 2, 7, 32) and every.masks.shape == (3, 2, 7, 10)
    assert torch.equal(last.classes[0], every.classes[2])
    logits = last.mask_logits(0, given)
    assert logits.shape == (2, 7, 24, 40)
    torch.testing.assert_close(logits[1, 3, 4, 5], last.masks[0, 1, 3] @ given.decoded[1, :, 4, 5])


def test_refusals() -> None:
    with pytest.raises(MultisegError, match="queries must be at least 1, not 0"):
        MaskDecoderSettings(queries=0)
    with pytest.raises(MultisegError, match="a width of 30 does not divide into 4 heads"):
        MaskDecoderSettings(width=30, heads=4)
    with pytest.raises(MultisegError, match="does not divide into 4 parts"):
        MaskDecoderSettings(width=30, heads=3)
