"""The halves of image-text and audio-text models, each as one module whose output has length 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MASKED = -1e4
"""Added to the scores of what must not be seen: nothing is left of it, in half precision too."""


class ImageTower(nn.Module):
    """pixel_values float32 [batch, 3, H, W] -> image_embedding float32 [batch, D], of a CLIP, Chinese-CLIP or SigLIP model of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixel_values: Tensor) -> Tensor:
        return nn.functional.normalize(self.projection(self.tower(pixel_values=pixel_values).pooler_output), dim=-1)


class TextTower(nn.Module):
    """input_ids (but for SigLIP: and attention_mask) int64 [batch, tokens] -> text_embedding float32 [batch, D].

    SigLIP was trained on padded texts without a mask. The BERT of Chinese-CLIP has no pooler: its first state is taken.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, getattr(model, "text_projection", nn.Identity())
        self.has_kinds = hasattr(model.text_model.embeddings, "token_type_embeddings")

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        # See SentenceEncoder for the kinds.
        kinds = {"token_type_ids": torch.zeros_like(input_ids)} if self.has_kinds else {}
        found = self.tower(input_ids=input_ids, attention_mask=attention_mask, **kinds)
        pooled = found.last_hidden_state[:, 0] if found.pooler_output is None else found.pooler_output
        return nn.functional.normalize(self.projection(pooled), dim=-1)


class PatchTower(nn.Module):
    """The image tower of SigLIP 2, which takes pictures of any shape as patches.

    pixel_values float32 [batch, patches, patch x patch x 3], pixel_attention_mask int64 [batch, patches] and spatial_shapes int64 [batch, 2], as
    ``mmedge.processors.patches`` gives them -> image_embedding float32 [batch, D].

    transformers resizes the positions of each picture in a loop over the batch, which no graph can hold; see ``positions``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        tower = model.vision_model
        self.patches, self.encoder, self.norm, self.head = tower.embeddings.patch_embedding, tower.encoder, tower.post_layernorm, tower.head
        self.places, self.side = tower.embeddings.position_embedding, int(tower.embeddings.position_embedding_size)

    def forward(self, pixel_values: Tensor, pixel_attention_mask: Tensor, spatial_shapes: Tensor) -> Tensor:
        states = self.patches(pixel_values) + self.positions(spatial_shapes, pixel_values.shape[1])
        mask = ((1 - pixel_attention_mask.to(states.dtype)) * MASKED)[:, None, None, :]
        states = self.norm(self.encoder(inputs_embeds=states, attention_mask=mask).last_hidden_state)
        probe, heads = self.head.probe.expand(states.shape[0], -1, -1), self.head.num_heads
        pooled, _ = self.head.attention(probe, states, states, attn_mask=mask.expand(-1, heads, -1, -1).flatten(0, 1))
        pooled = pooled + self.head.mlp(self.head.layernorm(pooled))
        return nn.functional.normalize(pooled[:, 0], dim=-1)

    def positions(self, shapes: Tensor, count: int) -> Tensor:
        """The square of learned positions, resized to each picture's shape by ``interpolate(mode="bilinear", antialias=True)``: a product of two matrices
        of weights, one for rows and one for columns, looked up for each patch. Patches behind the last take the first one's, as in transformers.

        Args:
            shapes: int64 [batch, 2].

        Returns:
            [batch, count, width].
        """
        at = torch.arange(count, dtype=torch.float32)[None].expand(shapes.shape[0], -1)
        high, wide = shapes[:, :1].to(torch.float32), shapes[:, 1:].to(torch.float32)
        at = torch.where(at < high * wide, at, torch.zeros_like(at))
        row = torch.floor((at + 0.5) / wide)  # half a step away from where rounding matters
        weights = self._weights(row, high)[..., :, None] * self._weights(at - row * wide, wide)[..., None, :]
        return weights.flatten(2) @ self.places.weight

    def _weights(self, at: Tensor, size: Tensor) -> Tensor:
        """How much each of ``side`` learned places counts for place ``at`` of ``size``: a triangle as wide as the step. [batch, count] -> [..., side]."""
        step = self.side / size
        centre = (at + 0.5) * step
        distance = (torch.arange(self.side, dtype=torch.float32) + 0.5 - centre[..., None]).abs()
        triangle = (1 - distance / step.clamp(min=1.0)[..., None]).clamp(min=0.0)
        return triangle / triangle.sum(-1, keepdim=True)


class AudioTower(nn.Module):
    """input_features float32 [batch, 1, frames, mels] -> audio_embedding float32 [batch, D], of a CLAP model of transformers.

    With feature fusion four pictures instead of one, and is_longer bool [batch, 1]: where it is false, the three pieces are not heard. transformers picks the
    sounds for which it is true by their number, which needs NonZero; here pieces are fused for all, and left out where they do not count.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.projection = model.audio_model.audio_encoder, model.audio_projection

    def forward(self, input_features: Tensor, is_longer: Tensor | None = None) -> Tensor:
        encoder = self.encoder
        views = encoder.reshape_mel2img(encoder.batch_norm(input_features.transpose(1, 3)).transpose(1, 3))
        patches = encoder.patch_embed
        states = patches.proj(views[:, :1])
        if is_longer is not None:
            states = torch.where(is_longer[:, :, None, None], self._fused(states, views[:, 1:]), states)
        states = patches.norm(states.flatten(2).transpose(1, 2))
        for layer, size in zip(encoder.layers, encoder.input_resolutions):
            states = layer(states, size)[0]
        # transformers sorts the states into bands of frequency first; the mean over all is the same.
        return nn.functional.normalize(self.projection(encoder.norm(states).mean(1)), dim=-1)

    def _fused(self, whole: Tensor, pieces: Tensor) -> Tensor:
        """whole [batch, D, h, w], pieces [batch, 3, H, W] -> [batch, D, h, w]: the pieces side by side, fused with the whole by attention."""
        parts = self.encoder.patch_embed.mel_conv2d(pieces.flatten(0, 1)[:, None]).unflatten(0, (-1, pieces.shape[1]))
        beside = parts.permute(0, 2, 3, 1, 4).flatten(3)
        return self.encoder.patch_embed.fusion_model(whole, nn.functional.pad(beside, (0, whole.shape[-1] - beside.shape[-1])))


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
