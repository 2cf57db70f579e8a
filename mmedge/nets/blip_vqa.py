"""BLIP for questions about pictures, taken apart: picture, question, answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from mmedge.nets.captioners import ImageEncoder
from mmedge.nets.cross_decoder import BertDecoder, CrossKeys, present, with_cross


def image_encoder(model: Any) -> ImageEncoder:
    """pixel_values float32 [batch, 3, H, W] -> image_key_i, image_value_i [batch, heads, n, head_dim] for every layer of the question encoder."""
    attentions = [layer.crossattention.self for layer in model.text_encoder.encoder.layer]
    return ImageEncoder(model.vision_model, nn.Identity(), CrossKeys([(one.key, one.value) for one in attentions], attentions[0].attention_head_size))


class QuestionEncoder(nn.Module):
    """Questions about one picture -> what the answer's decoder reads of them.

    input_ids, attention_mask int64 [batch, tokens], then image_key_0, image_value_0, ... float32 [1, heads, n, head_dim]
    -> cross_key_0, cross_value_0, ... float32 [batch, heads, tokens, head_dim].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text_encoder, self.cross = model.text_encoder, BertDecoder(model.text_decoder).cross()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        input_ids, attention_mask, *image = tensors
        seen = {f"cross_{part}_{index // 2}": tensor for index, (part, tensor) in enumerate(zip(("key", "value") * (len(image) // 2), image))}
        states = self.text_encoder(
            input_ids,
            attention_mask=(1 - attention_mask.float())[:, None, None, :] * torch.finfo(torch.float32).min,
            encoder_hidden_states=present(seen),
            past_key_values=with_cross(seen, DynamicCache()),
        ).last_hidden_state
        return tuple(self.cross(states))
