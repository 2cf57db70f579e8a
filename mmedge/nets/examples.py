"""Inputs for a model of transformers that nobody described: from its own processor and real media, or by rule from its config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

from mmedge.nets.checkpoint import tokenizer
from mmedge.processors.audio import load_sound
from mmedge.processors.resample import resample

RATE_HZ = 16_000
PARTS = ("vision_config", "text_config", "audio_config", "encoder", "decoder", "backbone_config", "text_encoder", "audio_encoder")
"""Where a config keeps those of its parts."""
SPECIAL_SPARE = 8
"""Ids at the lower end of a vocabulary are special tokens more often than not."""


def parameters(module: Any) -> list[str]:
    """What ``forward`` takes by name."""
    return [name for name, one in inspect.signature(module.forward).parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def by_rule(model: Any, *, batch: int, tokens: int, seed: int = 0) -> dict[str, Tensor]:
    """What ``forward`` needs, drawn at random in the shapes that the config names.

    Args:
        tokens: length of texts. Pictures and sounds have the one size that the config names.
    """
    generator = torch.Generator().manual_seed(seed)
    taken, main = parameters(model), getattr(model, "main_input_name", "input_ids")
    made: dict[str, Tensor] = {}
    for name in dict.fromkeys([main, *(name for name in RULES if name in taken and name in REQUIRED)]):
        if name in RULES:
            made[name] = RULES[name](model.config, batch, tokens, generator)
    if main == "input_ids" and "attention_mask" in taken:
        made["attention_mask"] = torch.ones(batch, tokens, dtype=torch.int64)
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in taken:
        made["decoder_input_ids"] = _ids(model.config, batch, max(tokens // 2, 1), generator)
    return made


def from_media(folder: Path, model: Any, media: Mapping[str, Any], texts: list[str], pictures: list[str], sounds: list[str]) -> dict[str, Tensor]:
    """What the checkpoint's own processor makes of real media: as many of each as are named. Empty where it has none, or one that this machine cannot run."""
    taken = parameters(model)
    # Asked for what is not there, transformers makes a tokenizer of nothing.
    words, others = tokenizer(folder) is not None, any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    for there, kind, given in (
        (words and others, "AutoProcessor", {"text": texts, "images": pictures, "audio": sounds}),
        (words, "AutoTokenizer", {"text": texts}),
        (others, "AutoImageProcessor", {"images": pictures}),
        (others, "AutoFeatureExtractor", {"raw_speech": sounds}),
    ):
        if not there:
            continue
        try:
            processor = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            feeds = {key: values for key, values in given.items() if key in inspect.signature(processor.__call__).parameters}
            keywords: dict[str, Any] = {"padding": True} if "text" in feeds else {"sampling_rate": RATE_HZ} if "raw_speech" in feeds else {}
            found = processor(**{key: [_medium(key, media[name]) for name in values] for key, values in feeds.items()}, return_tensors="pt", **keywords)
            made = {name: value for name, value in found.items() if name in taken and isinstance(value, Tensor)}
            made = {name: value.float() if value.is_floating_point() else value for name, value in made.items()}
            if getattr(model, "main_input_name", "input_ids") in made:
                return made
        except Exception:  # there is none of this kind, or it lacks a package or a token: the next one, or the rule
            continue
    return {}


REQUIRED = {"pixel_values", "input_values", "input_features", "bbox"}
"""Asked for beside the main input wherever ``forward`` takes them."""


def _medium(kind: str, medium: Any) -> Any:
    if kind == "text":
        return medium
    if kind == "images":
        return Image.open(medium).convert("RGB")
    samples, rate_hz = load_sound(medium)
    return resample(samples, rate_hz, RATE_HZ)


def find(config: Any, *names: str, default: int) -> int:
    """The first of some sizes that a config or one of its parts has."""
    for one in (config, *(getattr(config, part, None) for part in PARTS)):
        for name in names:
            value = getattr(one, name, None)
            if isinstance(value, (list, tuple)) and value and all(isinstance(size, int) for size in value):
                value = value[0]
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return default


def _ids(config: Any, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    vocabulary = find(config, "vocab_size", default=100)
    return torch.randint(min(SPECIAL_SPARE, vocabulary - 1), vocabulary, (batch, tokens), generator=generator)


def _pixels(config: Any, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    side = find(config, "image_size", default=64)
    return torch.randn(batch, find(config, "num_channels", default=3), side, side, generator=generator)


def _values(config: Any, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    if getattr(config, "max_length", None) and getattr(config, "num_mel_bins", None):  # a spectrogram, as AST takes it
        return torch.randn(batch, config.max_length, config.num_mel_bins, generator=generator)
    return torch.randn(batch, RATE_HZ, generator=generator)


def _features(config: Any, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    if positions := find(config, "max_source_positions", default=0):  # Whisper's: channels first, two frames per position
        return torch.randn(batch, find(config, "num_mel_bins", default=80), 2 * positions, generator=generator)
    return torch.randn(batch, 100, find(config, "feature_projection_input_dim", "num_mel_bins", "input_feat_per_channel", default=80), generator=generator)


def _boxes(config: Any, batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    corners = torch.randint(0, 400, (batch, tokens, 2), generator=generator)
    return torch.cat([corners, corners + torch.randint(1, 400, (batch, tokens, 2), generator=generator)], dim=-1)


RULES: dict[str, Callable[[Any, int, int, torch.Generator], Tensor]] = {
    "input_ids": _ids,
    "pixel_values": _pixels,
    "input_values": _values,
    "input_features": _features,
    "bbox": _boxes,
}
