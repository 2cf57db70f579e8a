"""The two halves of image-text models, each as one module whose output has length 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ImageTower(nn.Module):
    """pixel_values float32 [batch, 3, H, W] -> image_embedding float32 [batch, D], of a CLIP or SigLIP model of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixel_values: Tensor) -> Tensor:
        return nn.functional.normalize(self.projection(self.tower(pixel_values=pixel_values).pooler_output), dim=-1)


class TextTower(nn.Module):
    """input_ids (CLIP: and attention_mask) int64 [batch, tokens] -> text_embedding float32 [batch, D]. SigLIP was trained on padded texts without a mask."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, getattr(model, "text_projection", nn.Identity())

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return nn.functional.normalize(self.projection(self.tower(input_ids=input_ids, attention_mask=attention_mask).pooler_output), dim=-1)


class SentenceEncoder(nn.Module):
    """input_ids, attention_mask int64 [batch, tokens] -> text_embedding float32 [batch, D]: BERT and the mean over its tokens (Reimers and Gurevych 2019)."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        # Without its kind a token's is looked up through GatherElements, which fewer runtimes get right than have it.
        kinds = torch.zeros_like(input_ids)
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=kinds).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
