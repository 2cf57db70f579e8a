"""Text decoders that look at what an encoder left: bodies for ``mmedge.nets.decoder``.

An encoder's states become keys and values once, in the encoder's own graph: ``cross_key_i``, ``cross_value_i`` float32 [batch, heads, n, head_dim] for every
layer. A decoder only reads them, so no step computes anything over the picture again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache

from mmedge.nets.decoder import last


class CrossLayer(CacheLayerMixin):
    """One layer's share of what the encoder left; a decoder of transformers that finds it there makes no own."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        return None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise RuntimeError("what the encoder left is never added to")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_max_length(), 0

    def get_seq_length(self) -> int:
        return self.get_max_length()

    def get_max_length(self) -> int:
        assert self.keys is not None
        length: int = self.keys.shape[2]  # not int(...), which would make a dynamic length a constant
        return length


def with_cross(inputs: Mapping[str, Tensor], own: Cache) -> EncoderDecoderCache:
    """transformers' cache of both kinds: ``own`` for the text, and ``cross_key_0``, ``cross_value_0``, ... from ``inputs``."""
    layers = sum(name.startswith("cross_key_") for name in inputs)
    return EncoderDecoderCache(own, Cache(layers=[CrossLayer(inputs[f"cross_key_{index}"], inputs[f"cross_value_{index}"]) for index in range(layers)]))


def present(inputs: Mapping[str, Tensor]) -> Tensor:
    """Something to hand over as encoder states: transformers looks at the encoder only where they are given, and reads the cache instead of them."""
    return inputs["cross_key_0"][:, 0]


class Columns(nn.Module):
    """One projection that gives keys and values side by side, as GPT-2 has it, as two."""

    def __init__(self, joined: nn.Module, which: int) -> None:
        super().__init__()
        self.joined, self.which = joined, which

    def forward(self, states: Tensor) -> Tensor:
        part: Tensor = self.joined(states).chunk(2, dim=-1)[self.which]
        return part


class CrossKeys(nn.Module):
    """Encoder states [batch, n, width] -> key 0, value 0, key 1, ... [batch, heads, n, head_dim], one pair for every layer of the decoder."""

    def __init__(self, projections: Iterable[tuple[nn.Module, nn.Module]], head_dim: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(one for pair in projections for one in pair)
        self.head_dim = head_dim

    def forward(self, states: Tensor) -> list[Tensor]:
        return [split_heads(project(states), self.head_dim) for project in self.projections]


def _predict(body: Any, head: Any, inputs: Mapping[str, Tensor], cache: Cache, mask: Tensor, positions: Tensor, **told: Any) -> Tensor:
    """The logits of what follows, by a body of transformers that takes encoder states."""
    states = body(
        input_ids=inputs["input_ids"],
        attention_mask=mask,
        position_ids=positions,
        encoder_hidden_states=present(inputs),
        past_key_values=with_cross(inputs, cache),
        use_cache=True,
        **told,
    ).last_hidden_state
    logits: Tensor = head(last(states))
    return logits


class BertDecoder(nn.Module):
    """BLIP's text decoder, and BERT as a decoder: ``BlipTextLMHeadModel``, ``BertLMHeadModel``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.bert, self.cls = model.bert, model.cls
        self.is_blip = "Blip" in type(model).__name__

    def cross(self) -> CrossKeys:
        attentions = [layer.crossattention.self for layer in self.bert.encoder.layer]
        return CrossKeys([(one.key, one.value) for one in attentions], attentions[0].attention_head_size)

    def forward(self, inputs: Mapping[str, Tensor], cache: Cache, mask: Tensor, positions: Tensor) -> Tensor:
        told = {"is_decoder": True} if self.is_blip else {"token_type_ids": torch.zeros_like(inputs["input_ids"])}
        return _predict(self.bert, self.cls, inputs, cache, mask, positions, **told)


class Gpt2Decoder(nn.Module):
    """``GPT2LMHeadModel`` with cross-attention."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.transformer, self.lm_head = model.transformer, model.lm_head

    def cross(self) -> CrossKeys:
        attentions = [block.crossattention for block in self.transformer.h]
        return CrossKeys([(Columns(one.c_attn, 0), Columns(one.c_attn, 1)) for one in attentions], attentions[0].head_dim)

    def forward(self, inputs: Mapping[str, Tensor], cache: Cache, mask: Tensor, positions: Tensor) -> Tensor:
        return _predict(self.transformer, self.lm_head, inputs, cache, mask, positions)


class TrOcrDecoder(nn.Module):
    """``TrOCRForCausalLM``, layer by layer: its own forward counts positions from the cache's length, which a fixed cache does not tell it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.output_projection = model.model.decoder, model.output_projection
        config = model.config
        if config.use_learned_position_embeddings:
            positions = self.decoder.embed_positions
            self.table, self.first, self.pad = positions.weight, int(positions.offset), -1
        else:  # sinusoidal: the first position comes after the padding token's row, which is zeros
            self.pad = int(config.pad_token_id)
            self.first = self.pad + 1
            self.table = type(self.decoder.embed_positions).get_embedding(config.max_position_embeddings + self.first, config.hidden_size, self.pad)
            self.decoder.embed_positions.weights = self.table  # from_pretrained leaves it without data (transformers 5.23)

    def cross(self) -> CrossKeys:
        attentions = [layer.encoder_attn for layer in self.decoder.layers]
        return CrossKeys([(one.k_proj, one.v_proj) for one in attentions], attentions[0].head_dim)

    def forward(self, inputs: Mapping[str, Tensor], cache: Cache, mask: Tensor, positions: Tensor) -> Tensor:
        tokens = inputs["input_ids"]
        rows = positions + self.first
        if self.pad >= 0:
            rows = torch.where(tokens == self.pad, self.pad, rows)
        states = self.decoder.embed_tokens(tokens) + nn.functional.embedding(rows, self.table)
        if self.decoder.layernorm_embedding is not None:
            states = self.decoder.layernorm_embedding(states)
        both = with_cross(inputs, cache)
        for layer in self.decoder.layers:
            states = layer(states, mask, present(inputs), past_key_values=both)[0]
        logits: Tensor = self.output_projection(last(states))
        return logits


class GitDecoder(nn.Module):
    """``GitForCausalLM``, whose text sees the picture as a prefix of itself: attention over the picture's keys and the text's own, under one softmax.

    The picture's part is no past: it is never copied, and positions and cache count the text alone.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embeddings, self.layers, self.output = model.git.embeddings, model.git.encoder.layer, model.output

    def forward(self, inputs: Mapping[str, Tensor], cache: Cache, mask: Tensor, positions: Tensor) -> Tensor:
        states = self.embeddings(inputs["input_ids"], position_ids=positions)
        for index, layer in enumerate(self.layers):
            attention: Any = layer.attention.self
            seen_key, seen_value = inputs[f"cross_key_{index}"], inputs[f"cross_value_{index}"]
            query, key, value = (split_heads(project(states), attention.attention_head_size) for project in (attention.query, attention.key, attention.value))
            key, value = cache.update(key, value, index)
            query = query * attention.attention_head_size**-0.5
            weights = torch.cat([query @ seen_key.transpose(2, 3), query @ key.transpose(2, 3) + mask], dim=-1).softmax(-1)
            seen = seen_key.shape[2]
            mixed = weights[..., :seen] @ seen_value + weights[..., seen:] @ value
            attended = layer.attention.output(mixed.transpose(1, 2).flatten(2), states)
            states = layer.feed_forward_chunk(attended)
        logits: Tensor = self.output(last(states))
        return logits


def split_heads(states: Tensor, head_dim: int) -> Tensor:
    """[batch, n, width] -> [batch, heads, n, head_dim]."""
    return states.unflatten(-1, (-1, head_dim)).transpose(1, 2)
