"""Queries that look at an image, and in LMSeg at the words of its dataset, until each is a segment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.networks.attention import Attention
from multiseg.networks.segmentation_network import Features


@dataclass(frozen=True)
class MaskDecoderSettings:
    """
    Args:
        queries: N, the most segments an image can have.
        layers: of the transformer.
        width: of the queries.
        heads: of each attention.
        feedforward: width inside the feed-forward networks.
        dropout: after each attention and in the feed-forward networks.
        drop_path: the rate of stochastic depth of the last layer; that of the others rises to it linearly.
        pre_norm: normalise before each block and not after it.
        order: in which a layer attends to the image and to the words, where there are words (LMSeg, Table 5).
    """

    queries: int = 100
    layers: int = 6
    width: int = 256
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    drop_path: float = 0.0
    pre_norm: bool = False
    order: Literal["visual-text", "text-visual"] = "visual-text"

    def __post_init__(self) -> None:
        for key in ("queries", "layers", "width", "heads", "feedforward"):
            if getattr(self, key) < 1:
                raise MultisegError(f"mask decoder: {key} must be at least 1, not {getattr(self, key)}.")
        for divisor, what in ((self.heads, "heads"), (4, "parts, sine and cosine of two directions")):
            if self.width % divisor:
                raise MultisegError(f"mask decoder: a width of {self.width} does not divide into {divisor} {what}.")


class Words(NamedTuple):
    """What the queries of an image can attend to besides the image.

    Args:
        embeddings: (B, R, width), of the class names of each image's dataset.
        padding: (B, R) bool, true beyond an image's last.
    """

    embeddings: Tensor
    padding: Tensor


class MaskQueries(NamedTuple):
    """What the queries have become after each of L layers.

    Args:
        classes: (L, B, N, width), to be classified.
        masks: (L, B, N, D), each the weights of a mask over the D mask features.
    """

    classes: Tensor
    masks: Tensor

    def mask_logits(self, layer: int, features: Features) -> Tensor:
        """(B, N, h, w) of a layer, at the stride of the mask features."""
        return torch.einsum("bnd,bdhw->bnhw", self.masks[layer], features.decoded)


class MaskDecoder(nn.Module):
    """MaskFormer's transformer decoder (Cheng et al., NeurIPS 2021, section 3.3), with LMSeg's category guidance
    (section 3.4) where words are given.

    Queries begin as zeros; learnt positions tell them apart. Image features are those of the backbone's coarsest level,
    with sine positions that are relative to the image's own size, so padding moves nothing.

    Args:
        in_channels: of the backbone's coarsest level.
        mask_channels: D, of the mask features.
        settings: see there.
        guided: have attention to words.
    """

    def __init__(self, in_channels: int, mask_channels: int, settings: MaskDecoderSettings, guided: bool) -> None:
        super().__init__()
        width = settings.width
        self.project = nn.Conv2d(in_channels, width, 1)
        self.positions = nn.Parameter(torch.empty(settings.queries, width).normal_())
        rates = torch.linspace(0, settings.drop_path, settings.layers, device="cpu").tolist()
        self.layers = nn.ModuleList(_Layer(settings, guided, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.to_mask = nn.Sequential(
            *[nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, mask_channels)]
        )
        for name, parameter in self.layers.named_parameters():
            if parameter.ndim > 1 and "drop" not in name:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, features: Features, words: Words | None = None, padding: Tensor | None = None, every_layer: bool = False
    ) -> MaskQueries:
        """
        Args:
            features: of B images.
            words: of each image; required where the decoder is guided.
            padding: (B, H, W) bool, true where an image is padded; None: nowhere.
            every_layer: L is the number of layers, for deep supervision; else 1, the last.
        """
        coarse = features.pyramid[-1]
        batch, _, height, width = coarse.shape
        # (B, C, h, w) -> (B, h*w, C)
        memory = self.project(coarse).flatten(2).transpose(1, 2)
        hidden = _coarse_padding(padding, (height, width))
        where = _sine_positions(hidden, (height, width), memory)
        hidden = None if hidden is None else hidden.flatten(1)
        positions = self.positions.expand(batch, -1, -1)
        queries = torch.zeros_like(positions)
        outputs = []
        for number, layer in enumerate(self.layers, 1):
            queries = layer(queries, positions, memory, where, hidden, words)
            if every_layer or number == len(self.layers):
                outputs.append(self.norm(queries))
        classes = torch.stack(outputs)
        return MaskQueries(classes, self.to_mask(classes))


class _Layer(nn.Module):
    """Self-attention, attention to the image, to the words, and a feed-forward network, each with a residual."""

    def __init__(self, settings: MaskDecoderSettings, guided: bool, drop_path: float) -> None:
        super().__init__()
        width, dropout = settings.width, settings.dropout

        self.to_queries = Attention(width, settings.heads, dropout)
        self.to_image = Attention(width, settings.heads, dropout)
        self.to_words = Attention(width, settings.heads, dropout) if guided else None
        self.feedforward = nn.Sequential(
            nn.Linear(width, settings.feedforward),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(settings.feedforward, width),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4 if guided else 3))
        self.dropout, self.drop_path = nn.Dropout(dropout), DropPath(drop_path)
        self.pre_norm = settings.pre_norm
        self.words_first = settings.order == "text-visual"

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        memory: Tensor,
        where: Tensor,
        hidden: Tensor | None,
        words: Words | None,
    ) -> Tensor:
        def to_queries(x: Tensor) -> Tensor:
            placed = x + positions
            attended: Tensor = self.to_queries(placed, placed, x)
            return attended

        def to_image(x: Tensor) -> Tensor:
            attended: Tensor = self.to_image(x + positions, memory + where, memory, hidden)
            return attended

        def to_words(x: Tensor) -> Tensor:
            assert words is not None and self.to_words is not None
            attended: Tensor = self.to_words(x + positions, words.embeddings, words.embeddings, words.padding)
            return attended

        blocks: list[Callable[[Tensor], Tensor]] = [to_queries, to_image, self.feedforward]
        if self.to_words is not None:
            blocks.insert(1 if self.words_first else 2, to_words)
        for block, norm in zip(blocks, self.norms, strict=True):
            if self.pre_norm:
                queries = queries + self.drop_path(self.dropout(block(norm(queries))))
            else:
                queries = norm(queries + self.drop_path(self.dropout(block(queries))))
        return queries


def _coarse_padding(padding: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Cells that lie in the padding entirely: those whose first pixel does. Shape: (B, H, W) to (B, h, w) bool."""
    if padding is None:
        return None
    stride = -(-padding.shape[-2] // size[0])
    return padding[:, ::stride, ::stride]


def _sine_positions(hidden: Tensor | None, size: tuple[int, int], like: Tensor) -> Tensor:
    """Sines and cosines of each cell's place in its image, half the channels for either direction (DETR, section A.4):
    periods from 1 to 10,000 times the image's side.

    Shape: (B, h*w, C), or (1, h*w, C) where nothing is padded.
    """
    height, width = size
    quarter = like.shape[-1] // 4
    if hidden is None:
        rows = torch.full((1,), height, device=like.device)
        columns = torch.full((1,), width, device=like.device)
    else:
        rows, columns = (~hidden[:, :, 0]).sum(1), (~hidden[:, 0]).sum(1)
    frequency = 10_000 ** (-torch.arange(quarter, device=like.device) / quarter)

    def waves(length: int, extent: Tensor) -> Tensor:
        place = (torch.arange(length, device=like.device) + 1) / extent.clamp(min=1)[:, None]
        angle = 2 * math.pi * place[..., None] * frequency
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)

    vertical = waves(height, rows)[:, :, None].expand(-1, -1, width, -1)
    horizontal = waves(width, columns)[:, None].expand(-1, height, -1, -1)
    return torch.cat([vertical, horizontal], -1).flatten(1, 2).to(like.dtype)
