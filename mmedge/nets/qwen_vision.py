"""Qwen3-VL's vision tower: one picture of any size as a list of patches. What depends on its shape alone is worked out by ``mmedge.families.vlm.grid``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class PatchEncoder(nn.Module):
    """pixel_values float32 [patches, 3 x frames x side x side], position_ids int64 [patches, 2], grid_indices int64 [patches, 4], grid_weights float32
    [patches, 4] -> image_states float32 [patches, width], then deepstack_states_0, ... of the same shape: what the layers gave that DeepStack takes.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.heads = tower.config.num_heads
        self.taken: list[int] = list(tower.deepstack_visual_indexes)
        rotary = tower.rotary_pos_emb
        self.register_buffer("frequencies", rotary.inv_freq.float().clone(), persistent=False)
        self.scale = float(rotary.attention_scaling)
        projection = tower.patch_embed.proj
        # A convolution whose stride is its size is a product with a matrix: patches do not overlap.
        self.register_buffer("embedding", projection.weight.detach().flatten(1).t().contiguous(), persistent=False)
        self.bias = projection.bias

    def forward(self, pixel_values: Tensor, position_ids: Tensor, grid_indices: Tensor, grid_weights: Tensor) -> tuple[Tensor, ...]:
        embedding: Any = self.embedding
        states = pixel_values @ embedding + self.bias
        states = states + (self.tower.pos_embed(grid_indices) * grid_weights[:, :, None]).sum(1)
        frequencies: Any = self.frequencies
        angles = (position_ids.float()[:, :, None] * frequencies).flatten(1)
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        cosine, sine = angles.cos() * self.scale, angles.sin() * self.scale
        deepstack = {}
        for index, block in enumerate(self.tower.blocks):
            states = states + self._attend(block.attn, block.norm1(states), cosine, sine)
            states = states + block.mlp(block.norm2(states))
            if index in self.taken:
                deepstack[index] = states
        return (states, *(deepstack[index] for index in self.taken))

    def _attend(self, attention: Any, states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        query, key, value = attention.qkv(states).unflatten(-1, (3, self.heads, -1)).unbind(1)  # each [patches, heads, head_dim]
        query, key = query * cosine + _half_turned(query) * sine, key * cosine + _half_turned(key) * sine
        scores = (query * attention.scaling).transpose(0, 1) @ key.permute(1, 2, 0)
        mixed: Tensor = attention.proj((scores.softmax(-1) @ value.transpose(0, 1)).transpose(0, 1).flatten(1))
        return mixed


class Mergers(nn.Module):
    """image_states, deepstack_states_0, ... float32 [tokens, merge x merge, width] -> image_features, deepstack_0, ... [tokens, width of the language].

    The patches come block by block, so the caller only views them in another shape.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.mergers = nn.ModuleList([tower.merger, *tower.deepstack_merger_list])

    def forward(self, *states: Tensor) -> tuple[Tensor, ...]:
        merged = []
        merger: Any
        for merger, state in zip(self.mergers, states):
            joined = merger.norm(state.flatten(1)) if merger.use_postshuffle_norm else merger.norm(state).flatten(1)
            merged.append(merger.linear_fc2(merger.act_fn(merger.linear_fc1(joined))))
        return tuple(merged)


def _half_turned(states: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
