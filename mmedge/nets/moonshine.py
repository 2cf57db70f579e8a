"""Moonshine of transformers as an encoder that ends in the decoder's cross-attention, and a decoder's body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.moonshine.modeling_moonshine import apply_rotary_pos_emb

from mmedge.nets.cache import positions as count
from mmedge.nets.decoder import last
from mmedge.nets.listening import cross, heads, mix


def _queries_and_keys(attention: Any, normed: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """[batch, heads, n, head_dim] each, turned by their positions, over the part of each head that Moonshine turns."""
    query, key = (heads(project(normed), attention.head_dim) for project in (attention.q_proj, attention.k_proj))
    turned: tuple[Tensor, Tensor] = apply_rotary_pos_emb(query, key, *rotary)
    return turned[0] * attention.scaling, turned[1]


class Encoder(nn.Module):
    """input_values [batch, samples] -> cross_key_i [batch, heads, head_dim, heard], cross_value_i [batch, heads, heard, head_dim]; heard is samples / 384.

    transformers pads heads to a multiple of 8 for other attentions than this one; zeros add nothing.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder: Any = model.model.encoder
        self.cross = nn.ModuleList(layer.encoder_attn for layer in model.model.decoder.layers)
        self.head_dim: int = model.model.decoder.layers[0].encoder_attn.head_dim

    def forward(self, input_values: Tensor) -> tuple[Tensor, ...]:
        encoder = self.encoder
        states = encoder.groupnorm(torch.tanh(encoder.conv1(input_values.unsqueeze(1))))
        states = F.gelu(encoder.conv3(F.gelu(encoder.conv2(states)))).transpose(1, 2)
        rotary = encoder.rotary_emb(states, position_ids=count(states.shape[1], 0))
        for layer in encoder.layers:
            attention, normed = layer.self_attn, layer.input_layernorm(states)
            query, key = _queries_and_keys(attention, normed, rotary)
            states = states + attention.o_proj(mix(query, key.transpose(2, 3), heads(attention.v_proj(normed), attention.head_dim)))
            states = states + layer.mlp(layer.post_attention_layernorm(states))
        return cross(encoder.layer_norm(states), self.cross, self.head_dim)


class Body(nn.Module):
    """For ``mmedge.nets.decoder``: ``input_ids`` and the encoder's outputs -> logits [1, 1, vocabulary]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.proj_out = model.model.decoder, model.proj_out

    def forward(self, given: Mapping[str, Tensor], cache: Any, mask: Tensor, positions: Tensor) -> Tensor:
        states = self.decoder.embed_tokens(given["input_ids"])
        rotary = self.decoder.rotary_emb(states, position_ids=positions)
        for index, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(states)
            query, key = _queries_and_keys(attention, normed, rotary)
            key, value = cache.update(key, heads(attention.v_proj(normed), attention.head_dim), index)
            states = states + attention.o_proj(mix(query, key.transpose(2, 3), value, mask))
            listen = layer.encoder_attn
            query = heads(listen.q_proj(layer.post_attention_layernorm(states)), listen.head_dim) * listen.scaling
            states = states + listen.o_proj(mix(query, given[f"cross_key_{index}"], given[f"cross_value_{index}"]))
            states = states + layer.mlp(layer.final_layernorm(states))
        logits: Tensor = self.proj_out(last(self.decoder.norm(states)))
        return logits
