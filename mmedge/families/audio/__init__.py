"""Classifiers of sounds: AST, and wav2vec 2.0, HuBERT, WavLM and UniSpeech-SAT with a classifying head.

One graph, ``classifier``: input_values -> logits float32 [batch, labels]. For AST input_values are log-mel features float32 [batch, frames, mels] of a fixed
length; for the others samples float32 [batch, samples], any number of them. All sounds of a batch have one length: nothing is masked.
"""

from __future__ import annotations

from typing import Literal

from mmedge.documents import Document
from mmedge.processors.fbank import FbankSettings
from mmedge.processors.waveform import WaveformSettings

ARCHITECTURES: tuple[str, ...] = (
    "ASTForAudioClassification",
    "Wav2Vec2ForSequenceClassification",
    "HubertForSequenceClassification",
    "WavLMForSequenceClassification",
    "UniSpeechSatForSequenceClassification",
)
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("features", "classify")

LIKELY_S, LONGEST_S = 4, 30
"""Of a sound, in seconds, that engines are built for."""


class Options(Document):
    """Nothing is left to choose: the checkpoint says it all."""


class Config(Document):
    """What the session must know."""

    kind: Literal["fbank", "waveform"]
    """What the model hears: log-mel features, or samples."""
    fbank: FbankSettings | None = None
    waveform: WaveformSettings | None = None
    """Both None where the checkpoint had no feature extractor."""
    least: int
    """Samples that the model needs to give anything at all; a shorter sound is followed by silence."""
    labels: tuple[str, ...]
    activation: Literal["softmax", "sigmoid", "none"]
    """What makes logits into probabilities: of labels against each other, or each for itself; a regression has none."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("classifier",)


def assets(config: Config) -> tuple[str, ...]:
    return ()


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    return {} if config.fbank or config.waveform else {"feature extractor": ("classify",)}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """One sound at a time. Nothing cuts a longer one: on a runtime that must know the largest size it is refused."""
    batch = {"batch": (1, 1, 2)}
    if config.waveform is None:
        return batch
    rate_hz = config.waveform.rate_hz
    return {**batch, "samples": (config.least, max(config.least, LIKELY_S * rate_hz), LONGEST_S * rate_hz)}
