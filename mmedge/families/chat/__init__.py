"""Causal language models that talk: Llama, Mistral, Qwen2, Qwen3, SmolLM3, Gemma.

One graph, ``language``: input_ids int64 [1, tokens] and the cache (see ``mmedge.generate.cache``) -> logits float32 [1, 1, vocabulary] of what follows the
last token.
"""

from __future__ import annotations

from pydantic import Field

from mmedge.documents import Document

ARCHITECTURES: tuple[str, ...] = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
    "GemmaForCausalLM",
)
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("prompt", "chat")

LARGEST = 4096
"""Tokens that an engine is built for at most: the attention over a prompt takes memory with the square of its length."""


class Options(Document):
    """What a recipe may set."""

    context: int | None = Field(default=None, ge=8)
    """Tokens that fit into a cache of fixed length, prompt included; by default what the model was made for, at most 1024."""


class Config(Document):
    """What the session must know."""

    vocabulary: int
    limit: int
    """The most tokens of one text, prompt included: the model's positions, or its window of attention where that is shorter."""
    stop: tuple[int, ...]
    """Tokens that end an answer; empty where the checkpoint names none."""
    tokenizer: bool
    """Whether the checkpoint brings one: without it there are graphs, but no words."""
    template: bool
    """Whether the checkpoint brings a chat template. Without one a text is continued as it is, and messages are refused."""
    special: dict[str, str] = {}
    """``bos_token`` and so on, for the template."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("language",)


def assets(config: Config) -> tuple[str, ...]:
    return (*(("tokenizer.json",) if config.tokenizer else ()), *(("chat_template.jinja",) if config.template else ()))


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    return {} if config.tokenizer else {"tokenizer": ("chat",)}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """Nearly every run is one token after a long past; a prompt may fill the context."""
    most = min(config.limit, LARGEST)
    return {"tokens": (1, 1, most), "past": (0, most // 8, most - 1)}
