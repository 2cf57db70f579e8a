"""Whisper -> two graphs: an encoder that ends in the decoder's cross-attention, and one decoder for prefill and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmedge.families.speech import Config, Options
from mmedge.families.speech.cases import golden_cases
from mmedge.families.speech.checkpoint import read_checkpoint
from mmedge.family import Allow, Exported, Media, TorchGraph
from mmedge.processors.audio import load_sound
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.resample import resample


def _heads(states: Tensor, head_dim: int) -> Tensor:
    """[batch, n, width] -> [batch, heads, n, head_dim]."""
    return states.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def _attend(query: Tensor, key_columns: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention; keys come as columns [batch, heads, head_dim, n]. Returns [batch, queries, width].

    Written out, because the exporter turns scaled_dot_product_attention into a form that guards against fully masked rows, which cannot occur here.
    """
    scores = query @ key_columns
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class Encoder(nn.Module):
    """input_features [batch, mels, frames] -> cross_key_i [batch, heads, head_dim, frames / 2], cross_value_i [batch, heads, frames / 2, head_dim].

    Keys are given as columns: the decoder multiplies by them in every step, and would otherwise transpose them in every step.
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
            query = _heads(attention.q_proj(normed) * attention.scaling, attention.head_dim)
            key = _heads(attention.k_proj(normed), attention.head_dim).transpose(2, 3)
            states = states + attention.out_proj(_attend(query, key, _heads(attention.v_proj(normed), attention.head_dim)))
            states = states + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
        heard = encoder.layer_norm(states)
        outputs: list[Tensor] = []
        cross: Any
        for cross in self.cross:
            outputs += [_heads(cross.k_proj(heard), self.head_dim).transpose(2, 3), _heads(cross.v_proj(heard), self.head_dim)]
        return tuple(outputs)


class Decoder(nn.Module):
    """input_ids [batch, tokens] after a past of any length, 0 included -> logits [batch, tokens, vocabulary] and the longer past.

    ``caches`` are past_key_0, past_value_0, ... [batch, heads, past, head_dim], then cross_key_0, cross_value_0, ... as the encoder gives them.
    Logits of all tokens: a prompt is short, and what follows its first token tells whether anyone speaks.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.proj_out = model.model.decoder, model.proj_out
        self.layers = len(self.decoder.layers)

    def forward(self, input_ids: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        past, cross = caches[: 2 * self.layers], caches[2 * self.layers :]
        begin, tokens = past[0].shape[2], input_ids.shape[1]
        at = torch.arange(tokens) + begin
        states = self.decoder.embed_tokens(input_ids) + self.decoder.embed_positions.weight[at]
        later = torch.arange(begin + tokens)[None, :] > at[:, None]
        mask = torch.zeros(later.shape).masked_fill(later, -1e9)
        present: list[Tensor] = []
        for index, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.self_attn_layer_norm(states)
            query = _heads(attention.q_proj(normed) * attention.scaling, attention.head_dim)
            key = torch.cat([past[2 * index], _heads(attention.k_proj(normed), attention.head_dim)], dim=2)
            value = torch.cat([past[2 * index + 1], _heads(attention.v_proj(normed), attention.head_dim)], dim=2)
            present += [key, value]
            states = states + attention.out_proj(_attend(query, key.transpose(2, 3), value, mask))
            listen = layer.encoder_attn
            query = _heads(listen.q_proj(layer.encoder_attn_layer_norm(states)) * listen.scaling, listen.head_dim)
            states = states + listen.out_proj(_attend(query, cross[2 * index], cross[2 * index + 1]))
            states = states + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
        return (self.proj_out(self.decoder.layer_norm(states)), *present)


def names(kind: str, layers: int) -> list[str]:
    """``cross`` -> cross_key_0, cross_value_0, cross_key_1, ..."""
    return [f"{kind}_{part}_{index}" for index in range(layers) for part in ("key", "value")]


def export(folder: Path, options: Options, media: Media, allow: Allow = Allow()) -> Exported:
    """Read a checkpoint and lay out its graphs.

    Raises:
        MmedgeError: not a Whisper checkpoint, incomplete, damaged, or it does not know the language.
    """
    checkpoint = read_checkpoint(folder, options)
    config, model = checkpoint.config, checkpoint.model
    encoder, decoder = Encoder(model).eval(), Decoder(model).eval()
    features = [_features(config, media[name], window_s) for name, window_s in (("question", config.windows_s[0]), ("remark", config.windows_s[-1]))]
    return Exported(
        graphs={
            "encoder": TorchGraph(
                encoder,
                inputs={"input_features": features[0]},
                outputs=tuple(names("cross", config.layers)),
                dynamic={"input_features": {2: "frames"}},
                other={"input_features": features[1]},
            ),
            "decoder": _decoder_graph(config, encoder, decoder, features[0]),
        },
        assets={"tokenizer.json": folder / "tokenizer.json"},
        config=config,
        cases=golden_cases(checkpoint, media),
    )


def _features(config: Config, sound: Path, window_s: float) -> Tensor:
    samples, rate_hz = load_sound(sound)
    return torch.from_numpy(LogMel(config.mels)(resample(samples, rate_hz, RATE_HZ), window_s))


def _decoder_graph(config: Config, encoder: Encoder, decoder: Decoder, features: Tensor) -> TorchGraph:
    """Examples: two tokens after a real past, and the prompt after an empty one."""
    with torch.no_grad():
        cross = encoder(features)
        prompt = torch.tensor([config.prompt])
        empty = [torch.zeros(1, config.heads, 0, config.head_dim)] * (2 * config.layers)
        logits, *past = decoder(prompt, *empty, *cross)
        best = logits[:, -1:].argmax(-1)
    after = torch.cat([best, best], dim=1)
    keys = ["input_ids", *names("past", config.layers), *names("cross", config.layers)]
    dynamic = {"input_ids": {1: "tokens"}, **{name: {2: "past"} for name in names("past", config.layers)}}
    dynamic |= {name: {3 if "key" in name else 2: "heard"} for name in names("cross", config.layers)}
    shorter = [tensor.narrow(3 if index % 2 == 0 else 2, 0, tensor.shape[3 if index % 2 == 0 else 2] // 2).contiguous() for index, tensor in enumerate(cross)]
    return TorchGraph(
        decoder,
        inputs=dict(zip(keys, [after, *past, *cross])),
        outputs=("logits", *names("present", config.layers)),
        dynamic=dynamic,
        other=dict(zip(keys, [prompt[:, :1], *empty, *shorter])),
    )
