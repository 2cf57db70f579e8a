"""The language half of a vision-language model of transformers: embeddings in, the logits of the last token out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.nets.decoder import last


class TokenEmbedding(nn.Module):
    """input_ids int64 [1, tokens] -> inputs_embeds float32 [1, tokens, width]."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(input_ids)
        return embedded


class Language(nn.Module):
    """A body for ``mmedge.nets.decoder``: any text model of transformers that takes ``inputs_embeds``, and its head."""

    def __init__(self, text_model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.text_model, self.head = text_model, head

    def forward(self, inputs: Mapping[str, Tensor], cache: Any, mask: Tensor, positions: Tensor) -> Tensor:
        states = self.text_model(
            inputs_embeds=inputs["inputs_embeds"], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        logits: Tensor = self.head(last(states))
        return logits


class DeepstackLanguage(nn.Module):
    """A body for Qwen3-VL. Inputs besides ``inputs_embeds``: ``position_ids`` int64 [3, 1, tokens] (time, row, column; Wang et al. 2024, M-RoPE), and
    ``deepstack_0``, ... float32 [1, tokens, width], added to what the first layers give (Meng et al. 2024, DeepStack): zeros where there is no picture.
    """

    def __init__(self, text_model: Any, head: nn.Module, deepstack: int) -> None:
        super().__init__()
        self.text_model, self.head, self.deepstack = text_model, head, deepstack
        rotary = text_model.rotary_emb
        section = rotary.mrope_section
        half = rotary.inv_freq.shape[0]
        axes = torch.zeros(half, dtype=torch.int64)
        for axis in (1, 2):  # time, row, column, time, row, column, ..., and time alone for what is left
            axes[axis : section[axis] * 3 : 3] = axis
        self.register_buffer("axes", axes, persistent=False)
        self.register_buffer("frequencies", rotary.inv_freq.float().clone(), persistent=False)
        self.scale = float(rotary.attention_scaling)

    def forward(self, inputs: Mapping[str, Tensor], cache: Any, mask: Tensor, positions: Tensor) -> Tensor:
        axes: Any = self.axes
        frequencies: Any = self.frequencies
        angles = inputs["position_ids"].float()[axes].permute(1, 2, 0) * frequencies  # [1, tokens, half]
        angles = torch.cat([angles, angles], dim=-1)
        rotary = angles.cos() * self.scale, angles.sin() * self.scale
        states = inputs["inputs_embeds"]
        model: Any = self.text_model
        for index, layer in enumerate(model.layers):
            states = layer(states, attention_mask=mask, position_ids=None, past_key_values=cache, position_embeddings=rotary, use_cache=True)
            if index < self.deepstack:
                states = states + inputs[f"deepstack_{index}"]
        logits: Tensor = self.head(model.norm(last(states)))
        return logits
