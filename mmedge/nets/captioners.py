"""Captioners of transformers, taken apart: an image encoder that ends in what the text decoder needs, and the decoder's body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache

from mmedge.errors import MmedgeError
from mmedge.nets.cache import flat
from mmedge.nets.cross_decoder import BertDecoder, CrossKeys, GitDecoder, Gpt2Decoder, TrOcrDecoder

DECODERS: dict[str, Any] = {"gpt2": Gpt2Decoder, "trocr": TrOcrDecoder, "bert": BertDecoder}
"""Decoders of a VisionEncoderDecoderModel by their model_type."""


@dataclass(frozen=True)
class Parts:
    """A captioner, taken apart."""

    encoder: nn.Module
    """pixel_values float32 [batch, 3, H, W] -> cross_key_0, cross_value_0, cross_key_1, ..."""
    body: nn.Module
    """See ``mmedge.nets.decoder.Decoder``."""
    layers: int
    heads: int
    head_dim: int
    positions: int
    """The longest text that the decoder was trained on, prompt included."""
    vocabulary: int
    size: tuple[int, int]
    """(height, width) of the pictures that the encoder takes."""
    start: int | None
    """The token that every text begins with, as ``generate`` takes it; None where the checkpoint names none."""
    stop: tuple[int, ...]


class ImageEncoder(nn.Module):
    """pixel_values [batch, 3, H, W] -> what a cross-attending decoder reads of it."""

    def __init__(self, tower: nn.Module, project: nn.Module, cross: CrossKeys) -> None:
        super().__init__()
        self.tower, self.project, self.cross = tower, project, cross

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.cross(self.project(self.tower(pixel_values=pixel_values).last_hidden_state)))


class GitPrefix(nn.Module):
    """pixel_values [batch, 3, H, W] -> the keys and values that GIT's layers make of the picture, which attends to itself alone."""

    def __init__(self, git: Any) -> None:
        super().__init__()
        self.tower, self.project, self.layers = git.image_encoder, git.visual_projection, git.encoder

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        cache = DynamicCache()
        self.layers(self.project(self.tower(pixel_values=pixel_values).last_hidden_state), attention_mask=None, past_key_values=cache)
        return tuple(flat(cache))


def take_apart(model: Any) -> Parts:
    """By the model's class. Raises MmedgeError: a VisionEncoderDecoderModel with a decoder that mmedge does not know."""
    return {"BlipForConditionalGeneration": _blip, "GitForCausalLM": _git, "VisionEncoderDecoderModel": _encoder_decoder}[type(model).__name__](model)


def _blip(model: Any) -> Parts:
    text, body = model.config.text_config, BertDecoder(model.text_decoder)
    return Parts(
        encoder=ImageEncoder(model.vision_model, nn.Identity(), body.cross()),
        body=body,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        head_dim=text.hidden_size // text.num_attention_heads,
        positions=text.max_position_embeddings,
        vocabulary=text.vocab_size,
        size=_square(model.config.vision_config.image_size),
        # BLIP's own generate begins with the text config's bos and stops at its sep, whatever generation_config.json says.
        start=text.bos_token_id,
        stop=(text.sep_token_id,),
    )


def _git(model: Any) -> Parts:
    config = model.config
    return Parts(
        encoder=GitPrefix(model.git),
        body=GitDecoder(model),
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        positions=config.max_position_embeddings,
        vocabulary=config.vocab_size,
        size=_square(config.vision_config.image_size),
        start=model.generation_config.bos_token_id,
        stop=_stops(model),
    )


def _encoder_decoder(model: Any) -> Parts:
    text, settings = model.decoder.config, model.generation_config
    if text.model_type not in DECODERS:
        raise MmedgeError(f"the checkpoint's decoder is a {text.model_type}", f"decoders of a VisionEncoderDecoderModel may be: {', '.join(sorted(DECODERS))}")
    if text.model_type != "trocr" and not text.add_cross_attention:
        raise MmedgeError("the checkpoint's decoder has no cross-attention, so it never sees the picture", "correct add_cross_attention in its config.json")
    size = getattr(model.encoder.config, "image_size", None)
    if size is None:
        raise MmedgeError(f"the checkpoint's encoder, a {model.encoder.config.model_type}, names no image_size", "use one that takes pictures of one size")
    body = DECODERS[text.model_type](model.decoder)
    heads = text.num_attention_heads
    project = getattr(model, "enc_to_dec_proj", None)
    return Parts(
        encoder=ImageEncoder(model.encoder, nn.Identity() if project is None else project, body.cross()),
        body=body,
        layers=text.num_hidden_layers,
        heads=heads,
        head_dim=text.hidden_size // heads,
        positions=text.max_position_embeddings,
        vocabulary=text.vocab_size,
        size=_square(size),
        start=settings.bos_token_id if settings.decoder_start_token_id is None else settings.decoder_start_token_id,
        stop=_stops(model),
    )


def _stops(model: Any) -> tuple[int, ...]:
    ends = model.generation_config.eos_token_id
    return () if ends is None else tuple(ends) if isinstance(ends, (list, tuple)) else (ends,)


def _square(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
