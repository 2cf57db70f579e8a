"""Silero VAD: the probability that somebody speaks, every 32 ms.

Checkpoint: ``silero_vad_openvino_16k.onnx`` of the package silero-vad (MIT). Of its six ONNX files this one computes the same bits as the full one at 16 kHz
in onnxruntime, and has fixed shapes and no If: every runtime and the reference evaluator take it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

ARCHITECTURES: tuple[str, ...] = ()
PREFER: dict[str, tuple[str, ...]] = {"vad": ("ort",)}
"""A 1 MB LSTM, called 31 times a second: other runtimes cost more per call than they save."""
CALLS = ("probabilities",)

RATE_HZ = 16_000
CHUNK = 512
"""New samples per call: 32 ms."""
CONTEXT = 64
"""Samples of the call before that are put in front of them."""
STATE_SHAPE = (2, 1, 128)


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def graphs(config: Config) -> tuple[str, ...]:
    return ("vad",)


def assets(config: Config) -> tuple[str, ...]:
    return ()


def takes(folder: Path) -> bool:
    return any(folder.glob("silero_vad*.onnx"))
