from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multiseg.cache import cache_folder
from multiseg.errors import MultisegError
from multiseg.networks.text_encoder import TextEncoder, TextEncoderSpec, encode_cached
from multiseg.networks.text_encoder.base import Tokens


class Letters(TextEncoder):
    """Sums the vectors of letters, and counts the texts it is asked for."""

    def __init__(self):
        super().__init__(width=4, token_width=4, longest=40)
        self.table = nn.Embedding(1000, 4)
        self.seen = []
        self.freeze()

    @property
    def token_embedding(self):
        return self.table

    @property
    def padding_id(self):
        return 0

    def tokens_of(self, prefix, text):
        self.seen.append(text)
        return Tokens(tuple(map(ord, prefix)), tuple(map(ord, text)))

    def encode(self, ids, vectors, own):
        return (vectors * own[..., None]).sum(1)


@dataclass(frozen=True)
class Counting(TextEncoderSpec):
    name: str = "letters"
    encoder: Letters = field(default_factory=Letters, compare=False)
    loads: list = field(default_factory=list, compare=False)

    identity = property(lambda self: self.name)
    width = property(lambda self: 4)
    token_width = property(lambda self: 4)

    def load(self):
        self.loads.append(1)
        return self.encoder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path))
    return cache_folder() / "text"


def test_only_what_is_new_is_encoded(folder):
    spec = Counting()
    first = encode_cached(spec, ["road", "car", "road"])
    assert torch.equal(first, spec.encoder(["road", "car", "road"]))
    assert first.dtype == torch.float32
    spec.encoder.seen.clear()
    spec.encoder._known.clear()
    both = encode_cached(spec, ["sky", "car", "__metadata__"])
    assert spec.encoder.seen == ["sky", "__metadata__"]
    assert torch.equal(both[1], first[1])
    spec.loads.clear()
    assert torch.equal(encode_cached(spec, ["car", "sky", "road"]), torch.stack([both[1], both[0], first[0]]))
    assert not spec.loads
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


def test_no_texts_load_nothing():
    spec = Counting()
    assert encode_cached(spec, []).shape == (0, 4)
    assert not spec.loads


def test_encoder_and_prefix_are_kept_apart():
    one, other = Counting(), Counting("other letters")
    plain = encode_cached(one, ["road"])
    assert not torch.equal(encode_cached(one, ["road"], prefix="a photo of"), plain)
    assert not torch.equal(encode_cached(other, ["road"]), plain)
    assert torch.equal(encode_cached(one, ["road"]), plain)


def damage_bytes(file):
    file.write_bytes(file.read_bytes()[:-3])


def damage_value(file):
    save_file({name: value * float("nan") for name, value in load_file(file).items()}, file)


def damage_shape(file):
    save_file({name: value[: 2 + place] for place, (name, value) in enumerate(load_file(file).items())}, file)


@pytest.mark.parametrize("damage", [damage_bytes, damage_value, damage_shape])
def test_a_damaged_file_is_made_anew(folder, damage):
    spec = Counting()
    wanted = encode_cached(spec, ["road", "car"])
    (file,) = folder.iterdir()
    damage(file)
    assert torch.equal(encode_cached(spec, ["road", "car"]), wanted)
    spec.loads.clear()
    encode_cached(spec, ["road", "car"])
    assert not spec.loads


def test_many_writers_leave_a_sound_file(folder):
    spec = Counting()
    names = [[f"class {number} {other}" for other in range(5)] for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda texts: encode_cached(spec, texts), names))
    for texts, found in zip(names, made, strict=True):
        assert torch.equal(found, spec.encoder(texts))
        # what another writer's file lacks is made again, in a batch of its own, and so rounded in its own way
        torch.testing.assert_close(encode_cached(spec, texts), found)
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTISEG_CACHE", str(tmp_path / "file"))
    assert encode_cached(Counting(), ["road"]).shape == (1, 4)


def test_an_empty_name_is_one_line_and_leaves_nothing(folder):
    with pytest.raises(MultisegError, match="has no letters"):
        encode_cached(Counting(), ["road", ""])
    assert not folder.exists()
