"""LMSeg: words in place of numbers for classes, so that any datasets share one model without a common taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiseg.errors import MultisegError
from multiseg.label_space import LabelSpace
from multiseg.methods.base import MaskMethod
from multiseg.networks.class_words import ClassWords, Synonyms, Vocabulary, class_means
from multiseg.networks.mask_decoder import MaskDecoderSettings, Words
from multiseg.networks.segmentation_network import SegmentationNetwork
from multiseg.networks.text_encoder import SentenceText, TextEncoderSpec


class LMSeg(MaskMethod):
    """LMSeg (Zhou et al.: "LMSeg: Language-guided Multi-dataset Segmentation", ICLR 2023).

    The names of dataset k's K_k classes, and "background" for no object, go behind a learnable prompt through a frozen
    text encoder and an adapter: ε_text^k. Queries decoded from the image, ε_query, are classified by

        p^k = ε_query · ε_text^k / τ                                                                             (Eq. 1)

    of which the contrastive loss is the cross-entropy over the K_k + 1 rows (Eq. 2). Category-guided decoding lets the
    queries attend in every layer to the words of the image's own dataset, so the same image can be segmented in any
    taxonomy, whichever it was labelled in (section 3.4). Matching and mask losses are MaskFormer's (`MaskMethod`).

    The embeddings of the training datasets are kept in the model: it needs no text encoder until `add_taxonomy` brings
    new words.

    Args:
        spaces, network, mask_decoder, **common: see `MaskMethod`.
        text: the text encoder.
        prompt_length: of learnt vectors in front of a class name; 0 for none.
        prefix: said in front of both, such as "a photo of".
        temperature: τ.
        learn_temperature: τ is where training starts. (The authors' code learns it; the paper says it is 0.07.)
        normalize: ε_query and ε_text have length 1 in Eq. 1.
        guidance: category-guided decoding; without it words are used in Eq. 1 only.
        synonyms: of the names that a class has in its dataset or in `more_names` only the first is used, or their mean
            embedding, or for each query the most similar.
        more_names: further names of a class, by its name in the dataset.

    Raises:
        MultisegError: a number is out of range, or `more_names` are of a class that no dataset has, or of no use.
    """

    open_vocabulary = True

    def __init__(
        self,
        spaces: list[LabelSpace],
        network: SegmentationNetwork,
        mask_decoder: MaskDecoderSettings = MaskDecoderSettings(),  # noqa: B008  (frozen)
        text: TextEncoderSpec = SentenceText(),  # noqa: B008  (frozen)
        prompt_length: int = 8,
        prefix: str = "",
        temperature: float = 0.07,
        learn_temperature: bool = False,
        normalize: bool = True,
        guidance: bool = True,
        synonyms: Synonyms = "first",
        more_names: dict[str, list[str]] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(spaces, network, mask_decoder, guided=guidance, **common)
        if temperature <= 0 or prompt_length < 0:
            raise MultisegError("lmseg: the temperature must be positive, and prompt_length not negative.")
        self.synonyms, self.normalized, self.more_names = synonyms, normalize, more_names or {}
        known = {name for space in spaces for name in space.names}
        for name in self.more_names:
            if name not in known or synonyms == "first":
                why = "no dataset has" if name not in known else "plays no part with synonyms: first:"
                raise MultisegError(f"lmseg: more_names: {why} the class '{name}'.")
        self.class_words = ClassWords(text, self.width, prompt_length, prefix)
        self.temperature: Tensor
        start = torch.tensor(temperature)
        if learn_temperature:
            self.temperature = nn.Parameter(start)
        else:
            self.register_buffer("temperature", start)
        self.vocabularies: dict[str, Vocabulary] = {}
        self.added: dict[str, LabelSpace] = {}
        for space in spaces:
            self._keep(space, Vocabulary.of(space.names, self.more_names, synonyms))

    @property
    def taxonomies(self) -> Mapping[str, LabelSpace]:
        return {**self.spaces, **self.added}

    # The taxonomy of words

    def words(self, datasets: Sequence[str]) -> Words:
        names = list(dict.fromkeys(datasets))
        rows = {name: self.class_words(entry) for name, entry in self._embeddings(names).items()}
        most = max(map(len, rows.values()))
        # "no object" is the last for all; what lies between is hidden
        padded = {name: torch.cat([F.pad(r[:-1], (0, 0, 0, most - len(r))), r[-1:]]) for name, r in rows.items()}
        places = torch.arange(most, device=self.device)
        hidden = {name: (places >= len(r) - 1) & (places < most - 1) for name, r in rows.items()}
        return Words(torch.stack([padded[n] for n in datasets]), torch.stack([hidden[n] for n in datasets]))

    def class_logits(self, queries: Tensor, datasets: Sequence[str], words: Words | None) -> Tensor:
        assert words is not None
        with torch.autocast(queries.device.type, enabled=False):  # 1/τ would magnify what half precision rounds off
            query, text = queries.float(), words.embeddings.float()
            if self.normalized:
                query, text = F.normalize(query, dim=-1), F.normalize(text, dim=-1)
            # never below 0.01, as CLIP has it
            logits = torch.einsum("lbnc,brc->lbnr", query, text) / self.temperature.clamp(min=0.01)
        logits = logits.masked_fill(words.padding[:, None], -torch.inf)
        return self._best_of_synonyms(logits, datasets) if self.vocabularies[datasets[0]].synonyms == "best" else logits

    def _best_of_synonyms(self, logits: Tensor, datasets: Sequence[str]) -> Tensor:
        """Of a class's texts the most similar, for each query. Shape: (L, B, N, R + 1) to (L, B, N, K + 1)."""
        most = max(len(self.taxonomies[name]) for name in datasets)
        layers, _, count, rows = logits.shape
        # a text beyond a dataset's last is no class's: -inf, whatever column it goes to
        table = torch.full((len(datasets), rows), most, device=logits.device)
        for row, name in zip(table, datasets, strict=True):
            classes = self.vocabularies[name].classes
            row[: len(classes)] = torch.tensor(classes, device=row.device)
        out = logits.new_full((layers, len(datasets), count, most + 1), -torch.inf)
        return out.scatter_reduce(3, table[None, :, None].expand_as(logits), logits, "amax")

    def _embeddings(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Of each taxonomy's texts, as the encoder gives them: in training with a graph, else as they are kept."""
        if not self.training or self.class_words.prompt is None:
            return {name: self.get_buffer(f"text_{name}") for name in names}
        return self._encoded({name: self.vocabularies[name] for name in names})

    def _encoded(self, vocabularies: Mapping[str, Vocabulary]) -> dict[str, Tensor]:
        rows = self.class_words.encode([text for entry in vocabularies.values() for text in entry.rows])
        parts = torch.split(rows, [len(entry.rows) for entry in vocabularies.values()])
        return {
            name: class_means(part, entry) if entry.synonyms == "mean" else part
            for (name, entry), part in zip(vocabularies.items(), parts, strict=True)
        }

    def _keep(self, space: LabelSpace, vocabulary: Vocabulary, embeddings: Tensor | None = None) -> None:
        """Remember a taxonomy; without embeddings, a place for them."""
        self.vocabularies[space.name] = vocabulary
        rows = len(space) + 1 if vocabulary.synonyms == "mean" else len(vocabulary.rows)
        value = torch.zeros(rows, self.class_words.text.width) if embeddings is None else embeddings
        self.register_buffer(f"text_{space.name}", value, persistent=space.name in self.spaces)

    @torch.no_grad()
    def refresh_words(self) -> None:
        """Embed the words of the training datasets with the prompt as it is now."""
        for name, rows in self._encoded({name: self.vocabularies[name] for name in self.spaces}).items():
            self.get_buffer(f"text_{name}").copy_(rows)

    @torch.no_grad()
    def add_taxonomy(self, space: LabelSpace, names: Mapping[str, Sequence[str]] | None = None) -> None:
        """Loads the text encoder where it was trained with a prompt, or does not know the words yet."""
        if space.name in self.spaces:
            raise MultisegError(f"lmseg: '{space.name}' is the taxonomy of a training dataset.")
        several: Synonyms = "mean" if names and self.synonyms == "first" else self.synonyms
        vocabulary = Vocabulary.of(space.names, self.more_names, several)
        if names:
            vocabulary = Vocabulary.said([names.get(name, (name,)) for name in space.names], several)
        self._keep(space, vocabulary, self._encoded({space.name: vocabulary})[space.name])
        self.added[space.name] = space

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.refresh_words()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self.class_words.prompt is not None:
            self.refresh_words()

    def trained_state(self) -> dict[str, Tensor]:
        if self.class_words.prompt is not None:
            self.refresh_words()
        return super().trained_state()
