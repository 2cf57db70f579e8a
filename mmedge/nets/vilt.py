"""ViLT (Kim et al. 2021) as one graph, for pictures of any shape and batches of unequal ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ViltAnswers(nn.Module):
    """input_ids, attention_mask int64 [batch, tokens], pixel_values float32 [batch, 3, H, W], pixel_mask int64 [batch, H, W] -> logits float32 [batch, labels].

    transformers picks the patches that are no filling one by one, and in random order, which no graph can; here all are kept, and the filling is masked.
    It also stretches the learned positions for every picture; bilinear stretching is two matrix products, whose matrices follow from the picture's size.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vilt, self.classifier = model.vilt, model.classifier
        config = model.config
        self.patch, self.side = int(config.patch_size), int(config.image_size) // int(config.patch_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor, pixel_mask: Tensor) -> Tensor:
        embed, words = self.vilt.embeddings, self.vilt.embeddings.text_embeddings
        tokens = input_ids.shape[1]
        text = words.word_embeddings(input_ids) + words.token_type_embeddings.weight[0] + words.position_embeddings.weight[:tokens]
        text = words.LayerNorm(text) + embed.token_type_embeddings.weight[0]

        patches = embed.patch_embeddings(pixel_values)
        valid = F.max_pool2d(pixel_mask.float()[:, None], self.patch, self.patch)[:, 0]
        placed = patches.flatten(2).transpose(1, 2) + self._positions(valid)
        whole = (embed.cls_token + embed.position_embeddings[:, :1]).expand(pixel_values.shape[0], -1, -1)
        image = torch.cat([whole, placed], dim=1) + embed.token_type_embeddings.weight[1]

        seen = torch.cat([attention_mask.float(), torch.ones(pixel_values.shape[0], 1), valid.flatten(1)], dim=1)
        mask = (1 - seen)[:, None, None, :] * torch.finfo(torch.float32).min
        states = torch.cat([text, image], dim=1)
        for layer in self.vilt.encoder.layer:
            states = layer(states, mask)[0]
        logits: Tensor = self.classifier(self.vilt.pooler(self.vilt.layernorm(states)))
        return logits

    def _positions(self, valid: Tensor) -> Tensor:
        """valid [batch, rows, columns], 1 on a picture's patches -> [batch, rows x columns, width]; what lies beyond a picture means nothing."""
        grid = self.vilt.embeddings.position_embeddings[0, 1:]
        down, across = (_stretch(count, size, self.side) for count, size in ((valid[:, :, 0].sum(1), valid.shape[1]), (valid[:, 0].sum(1), valid.shape[2])))
        rows = (down @ grid.reshape(self.side, -1)).unflatten(-1, (self.side, -1))
        return (across[:, None] @ rows).flatten(1, 2)


def _stretch(count: Tensor, size: int, side: int) -> Tensor:
    """Bilinear interpolation with aligned corners from ``side`` places to ``count`` [batch]: [batch, size, side], each row's weights."""
    at = torch.arange(size)[None, :] * ((side - 1) / (count - 1).clamp(min=1))[:, None]
    return (1 - (at[:, :, None] - torch.arange(side)).abs()).clamp(min=0)
