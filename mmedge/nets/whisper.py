"""Whisper of transformers as an encoder that ends in the decoder's cross-attention, and a decoder's body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmedge.nets.listening import cross, heads, mix


class Encoder(nn.Module):
    """input_features [1, mels, frames] -> cross_key_i [1, heads, head_dim, frames / 2], cross_value_i [1, heads, frames / 2, head_dim].

    A window shorter than the 30 s of training takes the first frames / 2 positions.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder: Any = model.model.encoder
        self.cross = nn.ModuleList(layer.encoder_attn for layer in model.model.decoder.layers)
        self.head_dim: int = model.model.decoder.layers[0].encoder_attn.head_dim

    def forward(self, input_features: Tensor) -> tuple[Tensor, ...]:
        encoder = self.encoder
        states = F.gelu(encoder.conv2(F.gelu(encoder.conv1(input_features)))).transpose(1, 2)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        for layer in encoder.layers:
            attention, normed = layer.self_attn, layer.self_attn_layer_norm(states)
            query = heads(attention.q_proj(normed) * attention.scaling, attention.head_dim)
            key = heads(attention.k_proj(normed), attention.head_dim).transpose(2, 3)
            states = states + attention.out_proj(mix(query, key, heads(attention.v_proj(normed), attention.head_dim)))
            states = states + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
        return cross(encoder.layer_norm(states), self.cross, self.head_dim)


class Body(nn.Module):
    """For ``mmedge.nets.decoder``: ``input_ids`` and the encoder's outputs -> logits [1, tokens, vocabulary].

    Logits of all tokens: a prompt is short, and what follows its first token tells whether anyone speaks.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.proj_out = model.model.decoder, model.proj_out

    def forward(self, given: Mapping[str, Tensor], cache: Any, mask: Tensor, positions: Tensor) -> Tensor:
        states = self.decoder.embed_tokens(given["input_ids"]) + self.decoder.embed_positions.weight[positions]
        for index, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.self_attn_layer_norm(states)
            query = heads(attention.q_proj(normed) * attention.scaling, attention.head_dim)
            key, value = cache.update(heads(attention.k_proj(normed), attention.head_dim), heads(attention.v_proj(normed), attention.head_dim), index)
            states = states + attention.out_proj(mix(query, key.transpose(2, 3), value, mask))
            listen = layer.encoder_attn
            query = heads(listen.q_proj(layer.encoder_attn_layer_norm(states)) * listen.scaling, listen.head_dim)
            states = states + listen.out_proj(mix(query, given[f"cross_key_{index}"], given[f"cross_value_{index}"]))
            states = states + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
        logits: Tensor = self.proj_out(self.decoder.layer_norm(states))
        return logits
