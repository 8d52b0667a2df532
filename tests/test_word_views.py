"""The words of a model as a report shows them: which vectors, which marks, and which are near."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from multiseg import word_views
from multiseg.errors import MultisegError
from multiseg.label_space import LabelClass, LabelSpace
from multiseg.methods.lmseg import LMSeg
from multiseg.methods.maskformer import MaskFormer
from multiseg.run_folder import Model, RunFolder
from multiseg.word_views import has_words, view_words, word_embeddings
from tiny_methods import PARK, TOWN, make_masks

#: Some classes have several names.
MANY = LabelSpace(
    "many", tuple(LabelClass(name, (i,), (i, i, i)) for i, name in enumerate(["wall", "auto, car, cab", "sky, heaven"]))
)


def of(method: LMSeg) -> LMSeg:
    """With an adapter that is not the identity, and words as they are after training."""
    torch.manual_seed(3)
    method.class_words.norm.bias.data.normal_()
    method.refresh_words()
    return method.eval()


def make(monkeypatch, method):
    monkeypatch.setattr(word_views, "load_model", lambda run: Model(method, {}, "32-true"))
    return view_words(RunFolder("nowhere"), "r")


def adapted(method: LMSeg, vector: torch.Tensor) -> np.ndarray:
    words = method.class_words
    centered = vector - vector.mean()
    normal = centered / (centered.pow(2).mean() + words.norm.eps).sqrt() * words.norm.weight + words.norm.bias
    return (words.adapter.weight @ normal + words.adapter.bias).detach().numpy()


@pytest.mark.parametrize("synonyms", ["first", "mean", "best"])
def test_vectors_are_the_encoder_s_and_the_adapter_s_of_every_class(synonyms: str) -> None:
    method = of(make_masks(LMSeg, [TOWN, MANY], synonyms=synonyms))
    names = {"first": {1: ["auto"], 2: ["sky"]}}.get(synonyms, {1: ["auto", "car", "cab"], 2: ["sky", "heaven"]})
    found = word_embeddings(method)
    assert [(name, *(part.shape for part in pair)) for name, pair in found.items()] == [
        ("town", (3, 6), (3, 16)),
        ("many", (3, 6), (3, 16)),
    ]
    with torch.no_grad():
        for place, texts in {0: ["wall"], **names}.items():
            rows = method.class_words.encode(texts)
            assert found["many"][0][place] == pytest.approx(rows.mean(0).numpy(), abs=1e-5)
            each = [adapted(method, row) for row in ([rows.mean(0)] if synonyms == "mean" else rows)]
            assert found["many"][1][place] == pytest.approx(np.mean(each, axis=0), abs=1e-4)


def test_no_text_encoder_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    method = of(make_masks(LMSeg))
    monkeypatch.setattr(type(method.class_words), "encoder", property(lambda self: pytest.fail("it is loaded")))
    word_embeddings(method)


def test_every_class_has_a_mark_and_those_of_one_name_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = make(monkeypatch, of(make_masks(LMSeg)))
    for marks in (found.encoded, found.adapted):
        # "Sky" of park is said as "sky"
        assert [(mark.datasets, mark.name) for mark in marks] == [
            *((("town",), "road"), (("town",), "car"), (("town", "park"), "sky"), (("park",), "tree")),
        ]
        assert np.isfinite([mark.place for mark in marks]).all() and len({mark.place for mark in marks}) == 4
    assert [mark.place for mark in found.encoded] != [mark.place for mark in found.adapted]
    assert found.classes == {"town": TOWN.names, "park": PARK.names}
    match = found.matches["park", "Sky"]["town"]
    assert (match.name, match.shared) == ("sky", True) and match.similarity == pytest.approx(1)


def test_the_nearest_are_those_behind_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    method = of(make_masks(LMSeg, [TOWN, MANY]))
    found = make(monkeypatch, method)
    vectors = {name: pair[1] for name, pair in word_embeddings(method).items()}
    for place, name in enumerate(TOWN.names):
        row = vectors["town"][place]
        cosines = [float(row @ other / np.linalg.norm(row) / np.linalg.norm(other)) for other in vectors["many"]]
        match = found.matches["town", name]["many"]
        assert match.name == MANY.names[int(np.argmax(cosines))]
        assert match.similarity == pytest.approx(max(cosines), abs=1e-6)


def test_many_classes_and_one_dataset_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    large = LabelSpace("large", tuple(LabelClass(f"thing {i}", (i,), (i, i, i)) for i in range(150)))
    found = make(monkeypatch, of(make_masks(LMSeg, [large])))
    assert len(found.encoded) == len(found.adapted) == 150 and not found.matches


def test_without_scikit_learn_the_table_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    found = make(monkeypatch, of(make_masks(LMSeg)))
    assert found.notes == ("No picture of the words of r: it takes scikit-learn: pip install scikit-learn.",)
    assert not found.encoded and not found.adapted and ("town", "car") in found.matches


def test_other_methods_and_diverged_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MultisegError, match="MaskFormer knows classes by no words"):
        make(monkeypatch, make_masks(MaskFormer))
    method = of(make_masks(LMSeg))
    method.get_buffer("text_town")[0, 0] = torch.nan
    with pytest.raises(MultisegError, match="not finite"):
        make(monkeypatch, method)


def test_which_models_have_words(tmp_path) -> None:
    for kind in (LMSeg, MaskFormer):
        state = {name: tensor.contiguous() for name, tensor in make_masks(kind).trained_state().items()}
        save_file(state, tmp_path / kind.__name__)
    (tmp_path / "broken").write_bytes(b"no model")
    assert [has_words(tmp_path / name) for name in ("LMSeg", "MaskFormer", "broken", "none")] == [True, *[False] * 3]
