"""Vision towers of transformers that take pictures of one size, and what makes their features the language model's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TileEncoder(nn.Module):
    """Idefics3's and SmolVLM's SigLIP: pixel_values float32 [batch, 3, side, side] -> image_states float32 [batch, patches, width].

    The model looks up a position for each patch by its place within the part of the picture that is no filling. A tile has no filling, so the positions are
    always the same: they are looked up once, here.
    """

    def __init__(self, tower: Any, side: int) -> None:
        super().__init__()
        self.tower = tower
        found: list[Tensor] = []
        hook = tower.embeddings.position_embedding.register_forward_hook(lambda module, inputs, output: found.append(output))
        patches = side // tower.patch_size
        try:
            with torch.no_grad():
                tower.embeddings(pixel_values=torch.zeros(1, 3, side, side), patch_attention_mask=torch.ones(1, patches, patches, dtype=torch.bool))
        finally:
            hook.remove()
        self.register_buffer("positions", found[0].detach().clone(), persistent=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        states = self.tower.embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2) + self.positions
        for layer in self.tower.encoder.layers:
            states = layer(states, None)
        normed: Tensor = self.tower.post_layernorm(states)
        return normed


class LayerEncoder(nn.Module):
    """LLaVA's tower, CLIP or another: pixel_values float32 [batch, 3, H, W] -> image_states float32 [batch, patches, width x layers].

    Args:
        layer: which hidden states are taken: one, or several side by side; counted as transformers does, 0 before the first layer, -1 after the last.
        skip_first: leave out the first state, which stands for the whole picture and for no patch.
    """

    def __init__(self, tower: nn.Module, layer: int | list[int], skip_first: bool) -> None:
        super().__init__()
        self.tower = tower
        self.layers, self.skip_first = [layer] if isinstance(layer, int) else list(layer), skip_first

    def forward(self, pixel_values: Tensor) -> Tensor:
        hidden = self.tower(pixel_values, output_hidden_states=True).hidden_states
        states = [hidden[layer][:, 1:] if self.skip_first else hidden[layer] for layer in self.layers]
        return torch.cat(states, dim=-1) if len(states) > 1 else states[0]


class Connector(nn.Module):
    """image_states [batch, patches, width] -> image_features float32 [batch, tokens, width of the language model]."""

    def __init__(self, connector: nn.Module) -> None:
        super().__init__()
        self.connector = connector

    def forward(self, image_states: Tensor) -> Tensor:
        features: Tensor = self.connector(image_states)
        return features
