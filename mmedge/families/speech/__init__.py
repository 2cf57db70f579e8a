"""Whisper: speech to text, from a transformers checkpoint or from a CTranslate2 folder as faster-whisper uses it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

ARCHITECTURES = ("WhisperForConditionalGeneration",)
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("log_mel", "transcribe")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(_Frozen):
    """What a recipe may set."""

    language: str = "en"
    """The language spoken, as Whisper's token names it; English-only models know just ``en``."""
    windows_s: tuple[int, ...] = Field(default=(10, 30), min_length=1)
    """Lengths that the encoder listens to, in seconds, ascending; the smallest that holds the utterance is used. See bench/results/speech_window.md."""

    @field_validator("windows_s")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or not 1 <= value[0] <= value[-1] <= 30:
            raise ValueError("windows must ascend and lie between 1 and 30 seconds")
        return value


class Config(_Frozen):
    """What the session needs to know about the exported model."""

    mels: int
    layers: int
    """Decoder layers: each has a cache."""
    heads: int
    head_dim: int
    windows_s: tuple[int, ...]
    prompt: tuple[int, ...]
    """Tokens that begin every transcript: start, language and task where the model has several, no timestamps."""
    stop: int
    no_speech: int | None
    """The token whose probability right after the start says that nobody speaks."""
    suppress: tuple[int, ...]
    suppress_first: tuple[int, ...]
    max_tokens: int
    """The decoder's positions, prompt included."""


def graphs(config: Config) -> tuple[str, ...]:
    """``encoder``: sound to what the decoder listens to; ``decoder``: the next tokens, with a past that may be empty."""
    return ("encoder", "decoder")


def assets(config: Config) -> tuple[str, ...]:
    return ("tokenizer.json",)


def takes(folder: Path) -> bool:
    """A CTranslate2 folder has no architecture in its config.json; its model.bin says what it is within the first bytes."""
    try:
        with (folder / "model.bin").open("rb") as file:
            return b"WhisperSpec" in file.read(32)
    except OSError:
        return False
