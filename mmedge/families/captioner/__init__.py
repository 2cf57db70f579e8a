"""Image to text: BLIP, GIT, and vision encoder-decoders such as ViT-GPT2 and TrOCR, which reads printed lines.

Graphs:
``image_encoder``: pixel_values float32 [batch, 3, H, W] -> cross_key_i, cross_value_i float32 [batch, heads, n, head_dim], one pair for every layer of the
decoder: all that it will ever need of the picture. For GIT, whose text sees the picture as a prefix, these are the prefix's keys and values.
``decoder``: input_ids int64 [1, tokens], cross_key_i, cross_value_i [1, heads, n, head_dim] and its own past (see ``mmedge.generate.cache``) ->
logits float32 [1, 1, vocabulary] and the present.
"""

from __future__ import annotations

from pydantic import Field

from mmedge.documents import Document
from mmedge.processors.pixels import ImageSettings

ARCHITECTURES: tuple[str, ...] = ("BlipForConditionalGeneration", "GitForCausalLM", "VisionEncoderDecoderModel")
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "words", "caption_tokens", "caption")


class Options(Document):
    """What a recipe may set."""

    context: int = Field(default=128, ge=8)
    """The longest text in tokens, prompt included, at most what the decoder has positions for. A cache of fixed length is made for so many."""


class Config(Document):
    """What the session must know."""

    architecture: str
    image: ImageSettings | None
    """None where the checkpoint brings no image processor."""
    tokenizer: bool
    """Whether the checkpoint brings a tokenizer."""
    start: tuple[int, ...]
    """Tokens that every text begins with, as transformers' ``generate`` gives them."""
    stop: tuple[int, ...]
    suppress: tuple[int, ...] = ()
    """Tokens that are never chosen."""
    suppress_first: tuple[int, ...] = ()
    """Tokens that are not chosen right after the prompt."""
    context: int


def graphs(config: Config) -> tuple[str, ...]:
    return ("image_encoder", "decoder")


def assets(config: Config) -> tuple[str, ...]:
    return ("tokenizer.json",) if config.tokenizer else ()


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    return {**({} if config.image else {"image processor": ("caption",)}), **({} if config.tokenizer else {"tokenizer": ("words", "caption")})}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """One picture at a time; a prompt may fill the context."""
    return {"batch": (1, 1, 2), "tokens": (1, 1, config.context), "past": (0, config.context // 8, config.context - 1)}
