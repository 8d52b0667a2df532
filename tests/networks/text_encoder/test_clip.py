import hashlib
import json
import sys
import warnings

import pytest
import torch
from safetensors.torch import save_file

from multiseg.errors import MultisegError
from multiseg.networks.text_encoder import ClipText
from multiseg.networks.text_encoder.clip import _official_archives

open_clip = pytest.importorskip("open_clip")
NAMES = ["road", "traffic light", "a very long name of a class"]
CONFIG = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def build(**changes):
    torch.manual_seed(0)
    model = open_clip.CLIP(**{**CONFIG, **changes}).eval()
    torch.nn.init.normal_(model.positional_embedding)  # open_clip starts small: where a token stands must show
    torch.nn.init.normal_(model.token_embedding.weight)
    for block in model.transformer.resblocks:  # and which activation it is
        torch.nn.init.normal_(block.mlp.c_proj.weight)
    return model


@pytest.fixture(scope="module")
def whole():
    """A CLIP model as open_clip has it, image encoder included."""
    return build()


@pytest.fixture(scope="module")
def folder(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    save_file(whole.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return ClipText(pretrained=str(folder)).load()


def reference(model, texts):
    with torch.no_grad():
        return model.encode_text(open_clip.SimpleTokenizer(context_length=20)(texts))


@pytest.mark.parametrize("prefix", ["", "a photo of"])
def test_it_is_what_open_clip_computes(encoder, whole, prefix):
    found = encoder(NAMES, prefix=prefix)
    assert found.shape == (3, 6) and found.dtype == torch.float32 and not found.requires_grad
    assert torch.allclose(found, reference(whole, [f"{prefix} {name}".strip() for name in NAMES]), atol=1e-5)


def test_a_prompt_of_the_vectors_of_words_is_as_if_they_were_said(encoder, whole):
    words = torch.tensor(open_clip.SimpleTokenizer().encode("busy street with a"))
    prompt = whole.token_embedding(words).detach()
    found = encoder(NAMES, prompt, "a photo of")
    assert torch.allclose(found, reference(whole, [f"a photo of busy street with a {n}" for n in NAMES]), atol=1e-5)
    assert not torch.allclose(found, reference(whole, [f"a photo of {n} busy street with a" for n in NAMES]), atol=1e-2)


def test_gradients_reach_the_prompt_and_nothing_else(encoder):
    prompt = torch.randn(8, 16, requires_grad=True)
    encoder.train()
    encoder(NAMES, prompt).sum().backward()
    assert prompt.grad.abs().sum(1).min() > 0
    assert not any(own.training for own in encoder.modules())
    assert all(not own.requires_grad and own.grad is None for own in encoder.parameters())


def test_a_call_leaves_nothing_behind(encoder):
    before = encoder(NAMES)
    encoder(NAMES, torch.randn(4, 16))
    assert torch.equal(encoder(NAMES), before)


def test_the_image_encoder_is_not_kept(encoder, whole):
    text = sum(own.numel() for name, own in whole.named_parameters() if not name.startswith(("visual.", "logit_scale")))
    assert sum(own.numel() for own in encoder.parameters()) == text
    assert sum(own.numel() for own in whole.visual.parameters()) > 10_000


def test_widths_without_weights(folder):
    assert (ClipText().width, ClipText().token_width) == (1024, 512)
    assert (ClipText("ViT-B/16").width, ClipText("ViT-B-16").token_width) == (512, 512)
    own = ClipText(pretrained=str(folder))
    assert (own.width, own.token_width) == (6, 16)


def test_the_context_is_not_exceeded(encoder):
    assert encoder(["car"], torch.zeros(17, 16)).isfinite().all()  # with the car and the two ends, 20 tokens
    with pytest.raises(MultisegError, match=r"'car' is too long: 21 tokens .* 20 is the most"):
        encoder(["car"], torch.zeros(18, 16))


def test_a_checkpoint_of_a_named_model_with_either_spelling_of_its_tensors(tmp_path, whole, monkeypatch):
    (tmp_path / "tiny-test.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS, tmp_path])
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    wanted = reference(whole, NAMES)
    state = whole.state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "trained.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    nested = {name if name.startswith(("visual", "logit")) else f"text.{name}": value for name, value in state.items()}
    save_file(nested, tmp_path / "nested.safetensors")
    identities = set()
    for name in ("trained.pt", "old.pt", "nested.safetensors"):
        spec = ClipText("tiny-test", str(tmp_path / name))
        assert torch.allclose(spec.load()(NAMES), wanted, atol=1e-5)
        identities.add(spec.identity)
    assert len(identities) == 3


class Archived(torch.nn.Module):
    """Holds weights under given names, as OpenAI's archives do."""

    def forward(self):
        return 0


def test_an_archive_of_openai_has_half_the_bits_and_its_own_activation(tmp_path, folder, monkeypatch):
    with_gelu = build(quick_gelu=True).half().float()
    holder = Archived()
    for name, value in with_gelu.state_dict().items():
        *path, last = name.split(".")
        place = holder
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, torch.nn.Module())
            place = getattr(place, part)
        place.register_buffer(last, value.half())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(holder).save(str(tmp_path / "RN50.pt"))
        warnings.simplefilter("error")
        spec = ClipText(pretrained=str(tmp_path))
        with pytest.raises(
            MultisegError, match=r"RN50\.pt cannot be read: it is a TorchScript archive.* none of OpenAI"
        ):
            spec.load()  # it is a program, and anybody's
        published = {hashlib.sha256((tmp_path / "RN50.pt").read_bytes()).hexdigest()}
        monkeypatch.setattr("multiseg.networks.text_encoder.clip._official_archives", lambda: published)
        assert spec.load().longest == 20
    found = spec.load()(NAMES)
    assert torch.allclose(found, reference(with_gelu, NAMES), atol=1e-5)
    assert not torch.allclose(found, reference(build(), NAMES), atol=5e-3)


def test_the_checksums_of_openais_archives_are_known():
    digests = _official_archives()
    assert len(digests) >= 9 and all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ClipText("RN51"), "did you mean 'RN50'?"),
        (ClipText("RN50", "opnai"), "did you mean 'openai'?"),
        (ClipText("RN50", "/nowhere.pt"), "no such file"),
        (ClipText("ViT-B-16-SigLIP", "webli"), "no prompt can be learnt"),
        (ClipText("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"), "no prompt can be learnt"),
    ],
)
def test_wrong_names_are_one_line(spec, message):
    with pytest.raises(MultisegError) as error:
        spec.load()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_wrong_files_are_one_line(tmp_path, folder):
    with pytest.raises(MultisegError, match="folder has none"):
        ClipText(pretrained=str(tmp_path)).load()
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(MultisegError, match=r"model\.safetensors cannot be read"):
        ClipText(pretrained=str(tmp_path)).load()
    save_file({"visual.proj": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(MultisegError, match="no text encoder in it"):
        ClipText(pretrained=str(tmp_path)).load()
    with pytest.raises(MultisegError, match="does not fit the text encoder of CLIP 'RN50'"):
        ClipText(pretrained=str(folder / "open_clip_model.safetensors")).load()
    (tmp_path / "broken.pt").write_bytes(b"x")
    with pytest.raises(MultisegError, match=r"broken\.pt cannot be read"):
        ClipText(pretrained=str(tmp_path / "broken.pt")).load()
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(MultisegError, match="does not describe a CLIP model"):
        ClipText(pretrained=str(tmp_path)).load()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MultisegError, match=r"pip install 'multiseg\[clip\]'"):
        ClipText().load()
