"""CLIP's text encoders, through open_clip (Radford et al.: "Learning transferable visual models from natural language
supervision", ICML 2021).
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from multiseg.errors import MultisegError, did_you_mean
from multiseg.networks.text_encoder.base import TextEncoder, TextEncoderSpec, Tokens, checksum, quiet_hub, reason_of

#: How open_clip calls the weights in a folder, those that are safe to read first.
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
_CONFIG = "open_clip_config.json"

#: With which the names of the text tower's weights start.
_TOWER = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")

#: An image tower that costs nothing: open_clip builds no text tower without one.
_NO_IMAGES = {"layers": 1, "width": 8, "head_width": 8, "patch_size": 8, "image_size": 8}


@dataclass(frozen=True)
class ClipText(TextEncoderSpec):
    """The text encoder of a CLIP model; the image encoder is not kept.

    Args:
        model: as open_clip calls it.
        pretrained: open_clip's name for the weights (downloaded); or a local file; or a local folder with such a file
            and perhaps an `open_clip_config.json`, which then says what the model is. Names ending in "-quickgelu"
            are models with the activation of OpenAI's weights. Where open_clip knows that weights need it, or they are
            an archive as OpenAI published them, it is taken in any case.
    """

    model: str = "RN50"
    pretrained: str = "openai"

    @property
    def identity(self) -> str:
        file = self._local_file()
        if file is None:
            return f"clip {self._name} {self.pretrained}"
        config = self._own_config()
        return " ".join(["clip", self._name, checksum(file), *([checksum(config)] if config.is_file() else [])])

    @property
    def width(self) -> int:
        return int(self._config()["embed_dim"])

    @property
    def token_width(self) -> int:
        return int(self._config()["text_cfg"].get("width", 512))

    def load(self) -> TextEncoder:
        open_clip = _open_clip()
        config = self._config()
        file = self._local_file() or self._download()
        state, archive = _read_text_tower(file)
        gelu = config.get("quick_gelu", False) or archive or self._tag().get("quick_gelu", False)
        # of open_clip's classes the one that keeps its text tower in one piece
        text = {**config["text_cfg"], "output_tokens": False}
        tower = open_clip.CustomTextCLIP(config["embed_dim"], _NO_IMAGES, text, quick_gelu=gelu).text
        try:
            tower.load_state_dict(state)
        except RuntimeError as error:
            wrong = " ".join(str(error).split("\n\t", 1)[-1].split())
            raise MultisegError(f"{file} does not fit the text encoder of CLIP '{self.model}': {wrong[:200]}") from None
        tokenizer = open_clip.SimpleTokenizer(context_length=tower.context_length, **text.get("tokenizer_kwargs") or {})
        return ClipEncoder(tower, tokenizer, int(config["embed_dim"])).freeze()

    @property
    def _name(self) -> str:
        return self.model.replace("/", "-")

    def _own_config(self) -> Path:
        """Where the weights' folder would say what the model is."""
        return Path(self.pretrained).expanduser() / _CONFIG

    def _config(self) -> dict[str, Any]:
        """
        Raises:
            MultisegError: there is no such model, or its text encoder is of another kind.
        """
        open_clip = _open_clip()
        own = self._own_config()
        config: dict[str, Any] | None
        if own.is_file():
            config = _read_config(own)
        else:
            config = open_clip.get_model_config(self._name) if self._name in open_clip.list_models() else None
        if config is None:
            raise MultisegError(
                f"open_clip has no model '{self.model}'; {did_you_mean(self.model, open_clip.list_models())}"
            )
        text = config["text_cfg"]
        # only there is it clear how texts become tokens and where the prompt goes
        plain = text.get("pool_type", "argmax") == "argmax" and not any(
            text.get(key) for key in ("hf_model_name", "hf_tokenizer_name", "embed_cls", "no_causal_mask")
        )
        if not plain:
            raise MultisegError(
                f"the text encoder of CLIP '{self.model}' is not built as CLIP's first ones, so no prompt can be "
                "learnt for it; 'RN50' and 'ViT-B-16' are."
            )
        return dict(config)

    def _local_file(self) -> Path | None:
        """The weights, where they are not to be downloaded.

        Raises:
            MultisegError: there is no such file, nor does open_clip know weights of that name.
        """
        place = Path(self.pretrained).expanduser()
        if place.is_dir():
            found = [place / name for name in _WEIGHTS if (place / name).is_file()]
            found += sorted(
                file for ending in ("safetensors", "bin", "pt", "pth") for file in place.glob(f"*.{ending}")
            )
            if not found:
                raise MultisegError(f"CLIP weights {place}: the folder has none; expected {_WEIGHTS[0]} or the like.")
            return found[0]
        if place.is_file():
            return place
        if not self._tag():
            tags = _open_clip().list_pretrained_tags_by_model(self._name)
            self._config()  # a wrong model is said first
            raise MultisegError(
                f"CLIP weights '{self.pretrained}': no such file, and open_clip has none of that name for "
                f"'{self.model}'; {did_you_mean(self.pretrained, tags)}"
            )
        return None

    def _tag(self) -> Mapping[str, Any]:
        """What open_clip knows of the weights; nothing where they are a file."""
        known: Mapping[str, Any] = _open_clip().get_pretrained_cfg(self._name, self.pretrained) or {}
        return known

    def _download(self) -> Path:
        open_clip = _open_clip()
        try:
            with quiet_hub():
                return Path(open_clip.download_pretrained(self._tag()))
        except Exception as error:  # whatever the client of the download raises
            raise MultisegError(
                f"CLIP weights '{self.model} {self.pretrained}' cannot be had ({reason_of(error)}); `pretrained` also "
                "takes a local file or folder."
            ) from None


class ClipEncoder(TextEncoder):
    """CLIP's text tower: each token sees those before it, and the one that closes a text stands for all of it.

    Args:
        tower: of open_clip.
        tokenizer: of open_clip.
        width: of the embeddings.
    """

    def __init__(self, tower: Any, tokenizer: Any, width: int) -> None:
        super().__init__(width, tower.token_embedding.embedding_dim, tower.context_length)
        self.tower: Any = tower
        self.tokenizer = tokenizer
        self._start, self._end = tokenizer.sot_token_id, tokenizer.eot_token_id

    @property
    def token_embedding(self) -> nn.Embedding:
        embedding: nn.Embedding = self.tower.token_embedding
        return embedding

    @property
    def padding_id(self) -> int:
        return 0

    def tokens_of(self, prefix: str, text: str) -> Tokens:
        own = self.tokenizer.encode(text)
        return Tokens((self._start, *self.tokenizer.encode(prefix)), (*own, self._end) if own else ())

    def encode(self, ids: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
        """The tower itself computes, with the vectors put in where it looks up its own: it finds the closing token,
        which has the highest number of all, in `ids`. Nothing sees what follows it, so rows end with the longest text.
        """
        length = ids.shape[1]
        whole = self.tower.attn_mask
        hook = self.token_embedding.register_forward_hook(lambda *_: vectors)
        self.tower.attn_mask = whole[:length, :length]
        try:
            embeddings: Tensor = self.tower(ids)
        finally:
            self.tower.attn_mask = whole
            hook.remove()
        return embeddings


def _read_text_tower(file: Path) -> tuple[dict[str, Tensor], bool]:
    """The text encoder's weights in a file of open_clip or OpenAI, and whether it is an archive of OpenAI.

    Of the image encoder nothing is copied into memory where the format allows it.
    """
    archive = False
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                state = {name: content.get_tensor(long) for name, long in _tower_names(content.keys()).items()}
        else:
            loaded = _load_checkpoint(file)
            archive = isinstance(loaded, torch.jit.ScriptModule)
            weights = loaded.state_dict() if archive else loaded.get("state_dict", loaded)
            state = {name: weights[long] for name, long in _tower_names(weights).items()}
    except (
        SafetensorError,
        BadZipFile,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        AttributeError,
    ) as error:
        raise MultisegError(f"CLIP weights {file} cannot be read: {reason_of(error)}") from None
    if not state:
        raise MultisegError(f"CLIP weights {file}: there is no text encoder in it.")
    return {name: value.float() for name, value in state.items()}, archive


def _load_checkpoint(file: Path) -> Any:
    """Of a file in torch's present format, tensors are read only when they are used."""
    if not is_zipfile(file):
        return torch.load(file, map_location="cpu", weights_only=True)
    with ZipFile(file) as content:
        archive = any(name.endswith("/constants.pkl") for name in content.namelist())  # TorchScript
    if not archive:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if checksum(file) not in _official_archives():
        raise ValueError(
            "it is a TorchScript archive, which is a program, and none of OpenAI's; save its weights as safetensors"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of OpenAI's weights there is no other form
        return torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]


def _official_archives() -> set[str]:
    """SHA-256 of the archives that OpenAI published, which stand in the addresses that open_clip has of them."""
    open_clip = _open_clip()
    tagged = [model for model, tag in open_clip.list_pretrained() if tag == "openai"]
    addresses = [str((open_clip.get_pretrained_cfg(model, "openai") or {}).get("url", "")) for model in tagged]
    return {digest for address in addresses for digest in re.findall(r"/([0-9a-f]{64})/", address)}


def _tower_names(names: Any) -> dict[str, str]:
    """The names of the text encoder's weights as the tower has them, and as the file does."""
    plain = {str(name).removeprefix("module."): str(name) for name in names}
    nested = {name.removeprefix("text."): long for name, long in plain.items() if name.startswith("text.")}
    return {name: long for name, long in (nested or plain).items() if name.startswith(_TOWER)}


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        config = config.get("model_cfg", config)
        if not isinstance(config["embed_dim"], int) or not isinstance(config["text_cfg"], dict):
            raise ValueError("embed_dim must be a number, and text_cfg a table")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MultisegError(f"{file} does not describe a CLIP model: {reason_of(error)}") from None
    return dict(config)


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError:
        raise MultisegError("CLIP needs open_clip, which is not there: pip install 'multiseg[clip]'") from None
    return open_clip
