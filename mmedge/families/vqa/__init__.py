"""Questions about pictures.

BLIP writes its answers. Graphs:
``image_encoder``: pixel_values float32 [batch, 3, H, W] -> image_key_i, image_value_i float32 [batch, heads, n, head_dim], for every layer of the next;
``question_encoder``: input_ids, attention_mask int64 [batch, tokens], image_key_i, image_value_i [1, heads, n, head_dim] (any number of questions about one
picture) -> cross_key_i, cross_value_i float32 [batch, heads, tokens, head_dim];
``decoder``: input_ids int64 [1, tokens], cross_key_i, cross_value_i [1, heads, asked, head_dim] and its own past (see ``mmedge.generate.cache``) ->
logits float32 [1, 1, vocabulary] and the present.

ViLT chooses among the answers that it was trained on. One graph:
``classifier``: input_ids, attention_mask int64 [batch, tokens], pixel_values float32 [batch, 3, height, width], pixel_mask int64 [batch, height, width] ->
logits float32 [batch, labels].
"""

from __future__ import annotations

from pydantic import Field

from mmedge.documents import Document
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.shortest_edge import LONGEST, ShortestEdgeSettings
from mmedge.processors.text import TextSettings

ARCHITECTURES: tuple[str, ...] = ("BlipForQuestionAnswering", "ViltForQuestionAnswering")
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("pixels", "tokens", "answer", "answer_tokens", "scores")


class Options(Document):
    """What a recipe may set."""

    context: int = Field(default=64, ge=8)
    """The longest written answer in tokens, at most what the decoder has positions for. A cache of fixed length is made for so many."""


class Writer(Document):
    """How BLIP's answers begin and end."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    context: int


class Config(Document):
    """What the session must know."""

    architecture: str
    image: ImageSettings | ShortestEdgeSettings | None
    """None where the checkpoint brings no image processor."""
    text: TextSettings | None
    """None where it brings no tokenizer."""
    writer: Writer | None
    """None for a model that chooses its answers."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("image_encoder", "question_encoder", "decoder") if config.writer else ("classifier",)


def assets(config: Config) -> tuple[str, ...]:
    return (*(("tokenizer.json",) if config.text else ()), *(() if config.writer else ("labels.json",)))


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    verbs = ("answer",) if config.writer else ("answer", "scores")
    return {**({} if config.image else {"image processor": verbs}), **({} if config.text else {"tokenizer": verbs})}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """One picture and one question at a time."""
    asked = config.text.length if config.text else 0
    found = {"batch": (1, 1, 2), **({"tokens": (1, min(16, asked), asked), "asked": (1, min(16, asked), asked)} if asked else {})}
    if config.writer:
        context = config.writer.context
        return {**found, "decoder/tokens": (1, 1, context), "past": (0, context // 8, context - 1)}
    if isinstance(config.image, ShortestEdgeSettings) and config.image.shortest_edge:
        shorter, divisor = config.image.shortest_edge, config.image.divisor
        longer = int(shorter * LONGEST)
        return {**found, **dict.fromkeys(("height", "width"), (divisor, shorter // divisor * divisor, longer // divisor * divisor))}
    return found
