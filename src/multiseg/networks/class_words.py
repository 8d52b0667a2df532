"""The words of classes as vectors: a taxonomy that needs no numbering (LMSeg, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from multiseg.networks.text_encoder import TextEncoder, TextEncoderSpec, encode_cached, synonyms_in

#: Which of a class's names are used, and how several become one class.
Synonyms = Literal["first", "mean", "best"]


@dataclass(frozen=True)
class Vocabulary:
    """What is said for the classes of a taxonomy.

    Args:
        texts: of the classes, some perhaps with several.
        classes: of each text.
        synonyms: how several texts of a class become one.
        no_object: what is said for "none of these".
    """

    texts: tuple[str, ...]
    classes: tuple[int, ...]
    synonyms: Synonyms
    no_object: str = "background"

    @classmethod
    def of(cls, names: Sequence[str], more: Mapping[str, Sequence[str]], synonyms: Synonyms) -> Vocabulary:
        """
        Args:
            names: of the classes, as their dataset spells them. Where "background" is one of them, "none of these" is
                "no object".
            more: further names of classes, by name.
            synonyms: "first": only the first of a class's own names.
        """
        own = [synonyms_in(name)[:1] if synonyms == "first" else synonyms_in(name) for name in names]
        return cls.said([(*texts, *more.get(name, ())) for name, texts in zip(names, own, strict=True)], synonyms)

    @classmethod
    def said(cls, texts_of: Sequence[Sequence[str]], synonyms: Synonyms) -> Vocabulary:
        """Of the texts of each class."""
        unique = [tuple(dict.fromkeys(texts)) for texts in texts_of]
        texts = tuple(text for own in unique for text in own)
        classes = tuple(place for place, own in enumerate(unique) for _ in own)
        return cls(texts, classes, synonyms, "no object" if "background" in texts else "background")

    @property
    def rows(self) -> tuple[str, ...]:
        """The texts, "no object" last."""
        return (*self.texts, self.no_object)


class ClassWords(nn.Module):
    """A frozen text encoder behind a learnable prompt, and in front of a learnable adapter.

    The encoder is no submodule: it is in no checkpoint, no optimiser and no gradient norm, and is loaded only when
    words are asked for whose embeddings are not there yet.

    Args:
        text: the encoder.
        width: of the adapted embeddings.
        prompt_length: of the vectors learnt in front of every class name, shared by all; 0 for none, and then nothing
            of the encoder's is ever differentiated, nor the encoder kept.
        prefix: said in front of them.
    """

    def __init__(self, text: TextEncoderSpec, width: int, prompt_length: int, prefix: str) -> None:
        super().__init__()
        self.text, self.prefix = text, prefix
        self.prompt = nn.Parameter(torch.randn(prompt_length, text.token_width) * 0.02) if prompt_length else None
        self.norm, self.adapter = nn.LayerNorm(text.width), nn.Linear(text.width, width)
        self._loaded: list[TextEncoder] = []  # in a list: a module must not find it

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of the encoder, with a graph to the prompt where there is one. Shape: (len(texts), text.width).

        Raises:
            MultisegError: the encoder cannot be had.
        """
        device = self.adapter.weight.device
        if self.prompt is None:
            return encode_cached(self.text, texts, self.prefix).to(device)
        unique = list(dict.fromkeys(texts))
        rows: Tensor = self.encoder.to(device)(unique, self.prompt, self.prefix)
        places = {text: place for place, text in enumerate(unique)}
        return rows[[places[text] for text in texts]]

    @property
    def encoder(self) -> TextEncoder:
        if not self._loaded:
            self._loaded.append(self.text.load())
        return self._loaded[0]

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings of the encoder to the width of the queries."""
        adapted: Tensor = self.adapter(self.norm(embeddings))
        return adapted


def class_means(embeddings: Tensor, vocabulary: Vocabulary) -> Tensor:
    """The mean over a class's texts. Shape: (len(vocabulary.rows), W) to (K + 1, W)."""
    classes = torch.tensor([*vocabulary.classes, vocabulary.classes[-1] + 1], device=embeddings.device)
    sums = embeddings.new_zeros(int(classes[-1]) + 1, embeddings.shape[1]).index_add(0, classes, embeddings)
    return sums / classes.bincount()[:, None]
