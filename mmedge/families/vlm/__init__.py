"""Models that talk about pictures: SmolVLM, Idefics3, LLaVA, Qwen3-VL, from transformers checkpoints.

Graphs. What stands between them (which token a picture's features replace, where they stand) is worked out on the host, so that no graph holds an operator
whose output's size depends on values.

- ``image_encoder``: pixel_values -> image_states (float32 [batch, patches, width]). Of Qwen3-VL: one picture as patches, see ``mmedge.nets.qwen_vision``.
- ``connector``: image_states -> image_features, as wide as the language model.
- ``token_embedding``: input_ids int64 [1, tokens] -> inputs_embeds float32 [1, tokens, width].
- ``language``: inputs_embeds after a past that may be empty -> logits of the last token [1, 1, vocabulary]; see ``mmedge.generate.cache``.
  Of Qwen3-VL also position_ids int64 [3, 1, tokens], and deepstack_0, ... float32 [1, tokens, width].
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedge.documents import Document
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.qwen_pixels import QwenSettings
from mmedge.processors.tiles import TileSettings

Kind = Literal["idefics3", "llava", "qwen3_vl"]

KINDS: dict[str, Kind] = {
    "SmolVLMForConditionalGeneration": "idefics3",
    "Idefics3ForConditionalGeneration": "idefics3",
    "LlavaForConditionalGeneration": "llava",
    "Qwen3VLForConditionalGeneration": "qwen3_vl",
}
ARCHITECTURES: tuple[str, ...] = tuple(KINDS)
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "tokens", "caption", "answer", "chat")

LARGEST, LARGEST_PATCHES = 4096, 4096
"""Tokens, and of Qwen3-VL patches of a picture, that an engine is built for at most: attention takes memory with the square of their number."""


class Options(Document):
    """What a recipe may set."""

    context: int = Field(default=2048, ge=16)
    """The most tokens of prompt and answer together, where a target's cache has a fixed length."""
    caption_prompt: str = "Can you describe this image?"
    """What ``caption`` asks."""
    image_splitting: bool | None = None
    """Idefics3, SmolVLM: cut pictures into tiles, which see more and take many times as long; left out: as the checkpoint says."""
    max_pixels: int | None = Field(default=None, ge=1)
    """Qwen3-VL: make pictures no larger than this; left out: as the checkpoint says."""


class Config(Document):
    """What the session must know."""

    kind: Kind
    tokenizer: bool
    """Whether the checkpoint brought one; without it there are graphs, but no words."""
    template: bool
    """Whether it brought a chat template."""
    processor: bool
    """Whether it brought an image processor; without it the settings below are what the model's own sizes suggest, and no verb uses them."""
    tiles: TileSettings | None = None
    """Of Idefics3 and SmolVLM."""
    picture: ImageSettings | None = None
    """Of LLaVA."""
    patches: QwenSettings | None = None
    """Of Qwen3-VL."""
    image_token: str
    """What stands for a picture in a prompt, as text and as a token."""
    image_token_id: int
    around_token: str = "<fake_token_around_image>"
    """Idefics3: begins and ends a picture."""
    whole_token: str = "<global-img>"
    """Idefics3: says that the whole picture follows."""
    image_tokens: int = 0
    """Tokens of a tile or a picture; 0 where that depends on the picture."""
    grid_side: int = 0
    """Qwen3-VL: the learned positions are a square grid of so many a side."""
    deepstack: int = 0
    """Qwen3-VL: so many layers of the language model take features besides the first."""
    special_tokens: dict[str, str] = {}
    """What the chat template calls them."""
    stop: tuple[int, ...]
    suppress: tuple[int, ...] = ()
    """Tokens that are never said."""
    positions: int
    """The most tokens of prompt and answer together that the model was made for."""
    caption_prompt: str


def graphs(config: Config) -> tuple[str, ...]:
    return ("image_encoder", "connector", "token_embedding", "language")


def assets(config: Config) -> tuple[str, ...]:
    return (*(("tokenizer.json",) if config.tokenizer else ()), *(("chat_template.jinja",) if config.template else ()))


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    verbs = ("caption", "answer", "chat")
    found = {"tokenizer": config.tokenizer, "chat template": config.template}
    return {**{part: verbs for part, there in found.items() if not there}, **({} if config.processor else {"image processor": verbs[:2]})}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """Tiles go one by one; nearly every run of the language model is one token, and a prompt with a picture may fill the context."""
    most = min(config.positions, LARGEST)
    found = {"batch": (1, 1, 2), "tokens": (1, 1, most), "past": (0, most // 8, most - 1)}
    if config.patches is None:
        return found
    area, block = config.patches.patch**2, config.patches.merge**2
    least, largest = max(config.patches.min_pixels // area, block), min(config.patches.max_pixels // area, LARGEST_PATCHES)
    return {**found, "patches": (least, largest, largest), "connector/tokens": (least // block, largest // block, largest // block)}
