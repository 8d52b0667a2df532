"""What all text encoders have in common: frozen weights, and a learnable prompt before the class name."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from multiseg.errors import MultisegError

_Encoder = TypeVar("_Encoder", bound="TextEncoder")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text, and where a prompt goes.

    Args:
        before: those that open the text, and those of its prefix.
        after: those of the class name, and those that close the text.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


class TextEncoder(nn.Module, ABC):
    """Texts to vectors, with weights that never change: no parameter wants a gradient, and it is always in evaluation
    mode. Only vectors of a prompt can be learnt.

    A subclass says how texts become tokens (`tokens_of`), which layer holds the vectors of tokens (`token_embedding`),
    and how those become one vector (`encode`).

    Args:
        width: of the embeddings.
        token_width: of the vectors of tokens.
        longest: the largest number of tokens, those of a prompt and those that open and close a text included.
    """

    def __init__(self, width: int, token_width: int, longest: int) -> None:
        super().__init__()
        self.width, self.token_width, self.longest = width, token_width, longest
        self._known: dict[tuple[str, str], Tokens] = {}

    def freeze(self: _Encoder) -> _Encoder:
        """Once all weights are there: none of them wants a gradient any more."""
        self.requires_grad_(False)
        return self.eval()

    def train(self: _Encoder, mode: bool = True) -> _Encoder:
        """It stays in evaluation mode, whatever the module around it does."""
        return super().train(False)

    def forward(self, texts: Sequence[str], prompt: Tensor | None = None, prefix: str = "") -> Tensor:
        """
        Without a prompt there is no graph; with one, gradients reach the prompt and nothing else.

        Args:
            texts: class names.
            prompt: (L, token_width) vectors that stand as tokens between the prefix and the class name.
            prefix: what every text starts with, such as "a photo of".

        Returns:
            (N, width) float32, not normalised.

        Raises:
            MultisegError: a text is empty or, with prefix and prompt, too long for the encoder.
        """
        device = self.token_embedding.weight.device
        if not texts:
            return torch.zeros(0, self.width, device=device)
        length = self._length(prompt)
        rows = [self._tokens(prefix, text) for text in texts]
        lengths = [len(row.before) + length + len(row.after) for row in rows]
        self._refuse_misfits(texts, rows, lengths)
        ids = torch.full((len(rows), max(lengths)), self.padding_id)
        own, prompted = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
        for place, (row, total) in enumerate(zip(rows, lengths, strict=True)):
            start = len(row.before)
            ids[place, :start] = torch.tensor(row.before, dtype=torch.long)
            ids[place, start + length : total] = torch.tensor(row.after)
            own[place, :total] = True
            prompted[place, start : start + length] = True
        ids, own, prompted = ids.to(device), own.to(device), prompted.to(device)
        with torch.no_grad() if prompt is None else nullcontext():
            vectors = self.token_embedding(ids)
            if prompt is not None:
                vectors[prompted] = prompt.to(vectors).repeat(len(rows), 1)
            return self.encode(ids, vectors, own).float()

    @property
    @abstractmethod
    def token_embedding(self) -> nn.Embedding:
        """The layer that holds the vectors of tokens."""

    @property
    @abstractmethod
    def padding_id(self) -> int:
        """The token that fills up short texts, and that holds the places of a prompt."""

    @abstractmethod
    def tokens_of(self, prefix: str, text: str) -> Tokens:
        """The tokens of a prefix and a text; of the text there may be none."""

    @abstractmethod
    def encode(self, ids: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
        """Vectors of tokens to embeddings.

        Args:
            ids: the tokens, with `padding_id` where the prompt is.
            vectors: of the tokens and the prompt.
            own: which are a text's own; the rest fills up the row.

        Shape:
            ids, own: (N, T); vectors: (N, T, token_width); returns: (N, width).
        """

    def _tokens(self, prefix: str, text: str) -> Tokens:
        """Each only once: while a prompt is learnt, the same names come at every step."""
        if (prefix, text) not in self._known:
            self._known[prefix, text] = self.tokens_of(prefix, text)
        return self._known[prefix, text]

    def _length(self, prompt: Tensor | None) -> int:
        if prompt is None:
            return 0
        if prompt.ndim != 2 or prompt.shape[1] != self.token_width:
            raise ValueError(f"a prompt must have shape (L, {self.token_width}), not {tuple(prompt.shape)}.")
        return len(prompt)

    def _refuse_misfits(self, texts: Sequence[str], rows: Sequence[Tokens], lengths: Sequence[int]) -> None:
        for text, row, length in zip(texts, rows, lengths, strict=True):
            if not text.strip() or not row.after:
                raise MultisegError(f"text encoder: the class name '{text}' has no letters to encode.")
            if length > self.longest:
                shown = text if len(text) <= 60 else text[:57] + "…"
                raise MultisegError(
                    f"text encoder: '{shown}' is too long: {length} tokens with all that is around it, "
                    f"but {self.longest} is the most."
                )


@dataclass(frozen=True)
class TextEncoderSpec(ABC):
    """A text encoder of a recipe: nothing is loaded until it is asked for."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Which weights these are, for caches.

        Raises:
            MultisegError: it names a local file or folder that is not there.
        """

    @property
    @abstractmethod
    def width(self) -> int:
        """Of the embeddings. No weights are loaded.

        Raises:
            MultisegError: there is no such model.
        """

    @property
    @abstractmethod
    def token_width(self) -> int:
        """Of the vectors of tokens, and so of those of a prompt. No weights are loaded.

        Raises:
            MultisegError: there is no such model.
        """

    @abstractmethod
    def load(self) -> TextEncoder:
        """
        Raises:
            MultisegError: the weights cannot be had, or a package is missing.
        """


def checksum(file: Path) -> str:
    """SHA-256 of a file, computed once while the file does not change.

    Raises:
        MultisegError: it cannot be read.
    """
    try:
        status = file.stat()
        return _checksum(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise MultisegError(f"text encoder: cannot read {file}: {error.strerror or error}.") from None


@cache
def _checksum(file: Path, changed: int, size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def reason_of(error: Exception) -> str:
    """The first sentence of a message of another library."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].split(". ")[0].rstrip(".")


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Without a line for every attempt to reach the Hugging Face hub: that it failed is said once, by the error."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
