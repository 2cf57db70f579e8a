"""Small fusions of image, text and audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checkpoints import spread
from mmedge.nets.encoders import PAD, byte_bert, byte_tokenizer, listener, vit
from mmedge.nets.multimodal import Fusion
from mmedge.nets.multimodal_checkpoint import save_checkpoint
from mmedge.nets.multimodal_config import AudioEncoder, FusionConfig, ImageEncoder, TextEncoder
from mmedge.processors.log_mel import LogMelSettings
from mmedge.processors.pixels import ImageSettings
from mmedge.processors.text import TextSettings

SIZES = {"width": 16, "layers": 1, "heads": 2}
TOKENS = 64
LABELS = ("animal", "drink", "tool", "sound", "other")
TEXT = TextEncoder(network=byte_bert(TOKENS, **SIZES), prepared=TextSettings(length=TOKENS, pad_id=0, pad_token=PAD))
HEARD = LogMelSettings(mels=16, window_s=0.5)
ENCODERS = {
    "image": ImageEncoder(network=vit(32, 8, **SIZES), prepared=ImageSettings(resize=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)),
    "text": TEXT,
    "audio": AudioEncoder(network=listener(HEARD, **SIZES), prepared=HEARD),
}


def small(fusion: str = "cross_attention", head: str = "classify", modalities: tuple[str, ...] = ("image", "text", "audio"), **options: Any) -> Fusion:
    labels = LABELS if head == "classify" else ()
    encoders = {name: ENCODERS[name] for name in modalities}
    return spread(Fusion(FusionConfig(**encoders, fusion=fusion, head=head, labels=labels, **SIZES, **options)), scale=0.6)


def make_fusion(folder: Path, complete: bool = True, **options: Any) -> Fusion:
    model = small(**options)
    save_checkpoint(folder, model, byte_tokenizer() if complete and "text" in model.config.modalities else None)
    return model


CHECKPOINTS = {"MmedgeFusion": make_fusion}
