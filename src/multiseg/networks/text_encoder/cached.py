"""Remembers the embeddings of class names, so that most runs never load a text encoder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from multiseg.cache import cache_folder
from multiseg.networks.text_encoder.base import TextEncoderSpec

#: Before each text, as no name in a safetensors file may be "__metadata__".
_MARK = "text "

#: Texts that are encoded at a time.
_AT_A_TIME = 128


def encode_cached(spec: TextEncoderSpec, texts: Sequence[str], prefix: str = "") -> Tensor:
    """Embeddings without a prompt, from the user's cache folder as far as they are there.

    One file holds those of an encoder and a prefix. Of two processes that write it at once the last one wins: what the
    other one added is made again when it is next needed.

    Args:
        spec: of the encoder, which is loaded only if a text is new.
        texts: class names.
        prefix: what every text starts with.

    Returns:
        (N, width) float32 on the CPU, not normalised.

    Raises:
        MultisegError: the encoder cannot be had, or a text is empty or too long for it.
    """
    digest = blake2b(f"{spec.identity}\n{prefix}".encode(), digest_size=16).hexdigest()
    file = cache_folder() / "text" / f"{digest}.safetensors"
    known = _read(file)
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        encoder = spec.load()
        with torch.autocast("cpu", enabled=False):
            batches = [missing[start : start + _AT_A_TIME] for start in range(0, len(missing), _AT_A_TIME)]
            made = torch.cat([encoder(batch, prefix=prefix) for batch in batches])
        known |= dict(zip(missing, made, strict=True))
        _write(file, _read(file) | known, {"encoder": spec.identity, "prefix": prefix})
    if not texts:
        return torch.zeros(0, spec.width)
    return torch.stack([known[text] for text in texts])


def _read(file: Path) -> dict[str, Tensor]:
    """By text; nothing where the file is absent or damaged, for then it is made anew."""
    try:
        with safe_open(file, framework="pt") as content:
            found = {name.removeprefix(_MARK): content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}
    sound = all(value.ndim == 1 and value.dtype == torch.float32 and value.isfinite().all() for value in found.values())
    return found if sound and len({len(value) for value in found.values()}) <= 1 else {}


def _write(file: Path, known: Mapping[str, Tensor], about: dict[str, str]) -> None:
    content = save({_MARK + text: vector.contiguous() for text, vector in known.items()}, about)
    unfinished = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    # a home without room or permission costs time, nothing else
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
