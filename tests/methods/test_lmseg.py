"""Words in place of class numbers: what is learnt, what is kept, and what new words do."""

import copy

import pytest
import torch
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.methods.lmseg import LMSeg
from multiseg.networks.class_words import Vocabulary, class_means
from tiny_methods import PARK, TOWN, TinyEncoder, make_batch, make_masks, step


def space(name: str, *names: str) -> LabelSpace:
    return LabelSpace(name, tuple(LabelClass(n, (i,), (i, i, i)) for i, n in enumerate(names)))


def trained(**arguments: object) -> LMSeg:
    """After a few steps, so that nothing is at its initial value."""
    method = make_masks(LMSeg, **arguments).train()
    optimizer = method.optimizer_spec.build(method)
    for _ in range(3):
        optimizer.zero_grad()
        step(method, make_batch([TOWN, PARK])).backward()
        optimizer.step()
    assert isinstance(method, LMSeg)
    return method


def test_only_the_prompt_and_the_adapter_of_the_words_are_learnt() -> None:
    method = trained()
    (encoder,) = method.class_words._loaded
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in encoder.parameters())
    names = [name for name, _ in method.named_parameters() if name.startswith("class_words.")]
    assert sorted(names) == [
        *["class_words.adapter.bias", "class_words.adapter.weight"],
        *["class_words.norm.bias", "class_words.norm.weight", "class_words.prompt"],
    ]
    assert method.class_words.prompt.grad.abs().sum() > 0
    weights = {id(parameter) for parameter in encoder.parameters()}
    assert not weights & {id(parameter) for parameter in method.parameters()}  # so none in the clipped norm
    assert not [name for name in method.state_dict() if "letters" in name or "encoder" in name]


def test_without_a_prompt_the_encoder_is_not_kept_and_nothing_of_it_differentiated() -> None:
    method = trained(prompt_length=0)
    assert method.class_words._loaded == [] and method.class_words.prompt is None
    assert not method.get_buffer("text_town").requires_grad and method.get_buffer("text_town").abs().sum() > 0


def test_a_loaded_model_needs_no_encoder_until_new_words_come() -> None:
    method = trained().eval()
    state = copy.deepcopy(method.trained_state())
    other = make_masks(LMSeg)
    other.class_words._loaded.clear()
    before = TinyEncoder.calls
    other.load_trained(state)
    other.eval()
    images = make_batch([TOWN]).images
    for name in ("town", "park"):
        assert torch.equal(other.logits(images, name), method.logits(images, name))
    assert TinyEncoder.calls == before and other.class_words._loaded == []
    other.add_taxonomy(space("others", "tree", "ship"))
    assert TinyEncoder.calls == before + 1


def test_words_in_the_model_are_those_of_the_last_step() -> None:
    method = trained()
    state = method.trained_state()
    vocabulary = method.vocabularies["town"]
    assert vocabulary.rows == ("road", "car", "sky", "background")
    with torch.no_grad():
        expected = method.class_words.encode(vocabulary.rows)
    assert torch.equal(state["text_town"], expected)


def test_the_words_of_a_dataset_say_the_same_under_any_name() -> None:
    method = trained().eval()
    method.refresh_words()
    images = make_batch([TOWN]).images
    method.add_taxonomy(TOWN.renamed("elsewhere"))
    assert torch.equal(method.logits(images, "elsewhere"), method.logits(images, "town"))
    method.add_taxonomy(space("mixed", "sky", "road", "car"))
    shuffled = method.logits(images, "mixed")[:, [1, 2, 0]]  # order is no matter
    torch.testing.assert_close(shuffled, method.logits(images, "town"), rtol=1e-4, atol=1e-5)
    method.add_taxonomy(space("mixed", "ship", "road", "car"))  # again, with others
    assert method.taxonomies["mixed"].names == ("ship", "road", "car")
    assert "text_mixed" not in method.state_dict()


def test_class_logits_are_equation_1_whatever_other_datasets_are_in_the_batch() -> None:
    method = trained().eval()
    method.refresh_words()
    datasets = ["park", "town", "park"]
    queries = torch.randn(2, 3, 6, 16)
    found = method.class_logits(queries, datasets, method.words(datasets))
    assert found.shape == (2, 3, 6, 4)
    for image, name in enumerate(datasets):
        rows = method.class_words(method.get_buffer(f"text_{name}"))
        expected = F.normalize(queries[:, image], dim=-1) @ F.normalize(rows, dim=-1).T / 0.07
        known = len(rows) - 1
        torch.testing.assert_close(found[:, image, :, :known], expected[..., :-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[:, image, :, -1], expected[..., -1], rtol=1e-4, atol=1e-4)
        assert (found[:, image, :, known:-1] == -torch.inf).all()


def test_synonyms_mean_and_best() -> None:
    more = {"car": ["automobile", "vehicle"], "sky": ["heaven"]}
    for way in ("mean", "best"):
        method = trained(synonyms=way, more_names=more).eval()
        method.refresh_words()
        vocabulary = method.vocabularies["town"]
        assert vocabulary.texts == ("road", "car", "automobile", "vehicle", "sky", "heaven")
        queries = torch.randn(1, 2, 6, 16)
        found = method.class_logits(queries, ["town", "park"], method.words(["town", "park"]))
        raw = method.class_words.encode(vocabulary.rows).detach()
        if way == "mean":
            groups = [raw[:1], raw[1:4], raw[4:6], raw[6:]]
            assert torch.allclose(class_means(raw, vocabulary), torch.stack([group.mean(0) for group in groups]))
            rows = method.class_words(torch.stack([group.mean(0) for group in groups]))
            expected = F.normalize(queries[:, 0], dim=-1) @ F.normalize(rows, dim=-1).T / 0.07
        else:
            every = F.normalize(queries[:, 0], dim=-1) @ F.normalize(method.class_words(raw), dim=-1).T / 0.07
            groups = [every[..., :1], every[..., 1:4], every[..., 4:6], every[..., 6:]]
            expected = torch.stack([group.amax(-1) for group in groups], -1)
        torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-4)
        assert (found[:, 1, :, 2] == -torch.inf).all()  # park has two classes


def test_typed_synonyms_are_used_by_a_model_trained_without() -> None:
    method = trained().eval()
    method.add_taxonomy(space("typed", "car", "tree"), {"car": ["car", "automobile"], "tree": ["tree"]})
    rows = method.get_buffer("text_typed")
    expected = method.class_words.encode(["car", "automobile"]).mean(0)
    torch.testing.assert_close(rows[0], expected)
    assert rows.shape == (3, 6)


def test_without_guidance_only_the_classification_sees_words() -> None:
    method = make_masks(LMSeg, guidance=False).eval()
    features = method.network(method.normalize(make_batch([TOWN]).images))
    plain = method.mask_decoder(features, method.words(["town"])).classes
    assert torch.equal(plain, method.mask_decoder(features, method.words(["park"])).classes)
    guided = make_masks(LMSeg).eval()
    other = guided.mask_decoder(features, guided.words(["town"])).classes
    assert not torch.equal(other, guided.mask_decoder(features, guided.words(["park"])).classes)


def test_the_temperature_is_learnt_only_if_wanted_and_never_below_a_hundredth() -> None:
    assert "temperature" not in dict(make_masks(LMSeg).named_parameters())
    method = trained(learn_temperature=True)
    assert float(method.temperature.detach()) != pytest.approx(0.07, abs=1e-6)
    assert method.temperature.grad is not None
    method.temperature.data.fill_(-1.0)
    logits = method.class_logits(torch.randn(1, 1, 6, 16), ["town"], method.words(["town"]))
    assert float(logits.abs().max().detach()) <= 100.001


def test_a_dataset_with_a_class_background_has_another_word_for_nothing() -> None:
    assert Vocabulary.of(["background", "car"], {}, "first").rows == ("background", "car", "no object")
    assert Vocabulary.of(["Background; void"], {}, "first").no_object == "no object"


def test_refusals() -> None:
    with pytest.raises(MultisegError, match="no dataset has the class 'cra'"):
        make_masks(LMSeg, synonyms="mean", more_names={"cra": ["automobile"]})
    with pytest.raises(MultisegError, match="plays no part with synonyms: first"):
        make_masks(LMSeg, more_names={"car": ["automobile"]})
    with pytest.raises(MultisegError, match="temperature must be positive"):
        make_masks(LMSeg, temperature=0.0)
    with pytest.raises(MultisegError, match="'town' is the taxonomy of a training dataset"):
        make_masks(LMSeg).add_taxonomy(TOWN)


def test_half_precision_does_not_round_the_similarities() -> None:
    method = trained().eval()
    method.refresh_words()
    words, queries = method.words(["town"]), torch.randn(1, 1, 6, 16)
    exact = method.class_logits(queries, ["town"], words)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.class_logits(queries, ["town"], words), exact)


def test_a_batch_of_one_dataset_is_padded_by_nothing() -> None:
    method = make_masks(LMSeg)
    batch = make_batch([PARK, PARK])
    words = method.words([entry.name for entry in batch.spaces])
    assert words.embeddings.shape == (2, 3, 16) and not words.padding.any()
    assert float(step(method, batch).detach()) > 0
