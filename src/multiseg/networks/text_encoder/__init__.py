"""Frozen text encoders: class names as vectors (LMSeg, section 3.2)."""

from multiseg.networks.text_encoder.base import TextEncoder, TextEncoderSpec
from multiseg.networks.text_encoder.cached import encode_cached
from multiseg.networks.text_encoder.clip import ClipText
from multiseg.networks.text_encoder.sentence import SentenceText
from multiseg.networks.text_encoder.words import spoken, synonyms_in

__all__ = [
    "ClipText",
    "SentenceText",
    "TextEncoder",
    "TextEncoderSpec",
    "encode_cached",
    "spoken",
    "synonyms_in",
]
