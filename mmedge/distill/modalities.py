"""The encoders of a recipe's fusion, with what prepares their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from mmedge.distill.networks import encoder_folder, image_encoder, text_encoder
from mmedge.errors import MmedgeError
from mmedge.evaluate.samples import Sample
from mmedge.families.speech import Options
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.nets.encoders import wrapped
from mmedge.nets.multimodal_config import MODALITIES, AudioEncoder, FusionConfig, ImageEncoder, Modality, TextEncoder
from mmedge.processors.audio import sound_at
from mmedge.processors.log_mel import RATE_HZ, LogMel, LogMelSettings
from mmedge.processors.pixels import ImageProcessor
from mmedge.processors.text import TextProcessor
from mmedge.tensors import Array
from mmedge.training import FusionNetwork, Training


@dataclass(frozen=True, eq=False)
class Modalities:
    """Encoders that stay as they are."""

    encoders: Mapping[Modality, Any]
    told: Mapping[Modality, ImageEncoder | TextEncoder | AudioEncoder]
    """What a checkpoint's config says of each."""
    words: bytes | None
    """tokenizer.json."""
    tokens: TextProcessor | None

    def feeds(self, modality: Modality, samples: list[Sample]) -> dict[str, Array]:
        """What the encoder of pictures or sounds takes. Raises Unreadable: one cannot be decoded."""
        told = self.told[modality]
        if isinstance(told, ImageEncoder):
            return {"pixel_values": ImageProcessor(told.prepared)([np.asarray(one.picture()) for one in samples])}
        assert isinstance(told, AudioEncoder)
        mel = LogMel(told.prepared.mels)
        return {"input_features": np.concatenate([mel(sound_at(one.sound(), RATE_HZ), told.prepared.window_s) for one in samples])}

    def config(self, training: Training, labels: tuple[str, ...]) -> FusionConfig:
        """Of the modalities that the training names. Raises MmedgeError: they do not make a fusion."""
        asked = network_of(training)
        settings: dict[str, Any] = {name: getattr(asked, name) for name in ("fusion", "head", "width", "layers", "heads")}
        settings |= {name: self.told[name] for name in MODALITIES if getattr(asked, name)}
        try:
            return FusionConfig(**settings, dropout=training.dropout, labels=labels)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise MmedgeError(f"the recipe's network is no fusion: {said}", "correct [models.ROLE.train.network]") from error


def network_of(training: Training) -> FusionNetwork:
    """Of a training that ``mmedge.distill.subject`` gave to fusions."""
    assert isinstance(training.network, FusionNetwork)
    return training.network


def modalities(training: Training, folder: Path) -> Modalities:
    """Raises MmedgeError: no encoder is named, or one is damaged or of an unknown kind."""
    asked = network_of(training)
    encoders: dict[Modality, Any] = {}
    told: dict[Modality, ImageEncoder | TextEncoder | AudioEncoder] = {}
    words = tokens = None
    if asked.image:
        encoders["image"], picture = image_encoder(asked, folder)
        told["image"] = ImageEncoder(network=encoders["image"].config, prepared=picture)
    if asked.text:
        encoders["text"], words, read = text_encoder(asked, folder)
        told["text"] = TextEncoder(network=encoders["text"].config, prepared=read)
        tokens = TextProcessor(folder / asked.text / "tokenizer.json", read)
    if asked.audio:
        encoders["audio"], heard = _listener(asked, folder)
        told["audio"] = AudioEncoder(network=encoders["audio"].config, prepared=heard)
    for one in encoders.values():
        one.requires_grad_(False).eval()
    return Modalities(encoders, told, words, tokens)


def _listener(asked: FusionNetwork, folder: Path) -> tuple[Any, LogMelSettings]:
    """Whisper's encoder, cut to the window: it hears no more than its first positions."""
    network = read_checkpoint(encoder_folder(asked, "audio", folder), Options()).model.model.encoder
    heard = LogMelSettings(mels=network.config.num_mel_bins, window_s=asked.audio_s)
    positions = heard.frames // 2
    if positions > network.config.max_source_positions:
        raise MmedgeError(
            f"audio_s = {asked.audio_s:g} is more than the {network.config.max_source_positions / 50:g} s that {asked.audio} hears", "set a smaller audio_s"
        )
    network.embed_positions = nn.Embedding.from_pretrained(torch.clone(network.embed_positions.weight[:positions]))
    network.config.max_source_positions = network.max_source_positions = positions
    network.config._attn_implementation = "eager"
    return wrapped(network), heard
