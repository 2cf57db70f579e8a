"""Speech to text: Whisper (a checkpoint of transformers, or a CTranslate2 folder as faster-whisper uses it), Moonshine, wav2vec2 and HuBERT with a CTC head.

Graphs of ``whisper`` and ``moonshine``: ``encoder``, from sound to what every layer of the decoder listens to
(``cross_key_i`` float32 [batch, heads, head_dim, heard], as columns, and ``cross_value_i`` [batch, heads, heard, head_dim]), and ``decoder``, one graph for
prompt and steps (``mmedge.generate.cache``). Whisper's encoder takes ``input_features`` float32 [1, mels, frames], Moonshine's ``input_values`` float32
[batch, samples].
Graph of ``ctc``: ``encoder``, ``input_values`` float32 [batch, samples] -> ``logits`` float32 [batch, frames, vocabulary].
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, field_validator

from mmedge.documents import Document
from mmedge.families.speech.raw import RawSound
from mmedge.generate.ctc import CtcSettings

ARCHITECTURES = ("WhisperForConditionalGeneration", "MoonshineForConditionalGeneration", "Wav2Vec2ForCTC", "HubertForCTC")
PREFER: dict[str, tuple[str, ...]] = {}
CALLS = ("features", "words", "tokens", "transcribe")

LIKELY_S, LONGEST_S = 4, 30
"""Of a sound that Moonshine, wav2vec2 or HuBERT hears in one piece, in seconds; longer ones are cut."""
MOONSHINE_STEP = 384
"""Samples for each column that Moonshine's decoder hears: the strides of its convolutions, 64 x 3 x 2."""


class Options(Document):
    """What a recipe may set; each is for one kind of model, and refused for the others."""

    language: str = "en"
    """Whisper: the language spoken, as Whisper's token names it; English-only models know just ``en``."""
    windows_s: tuple[int, ...] = Field(default=(10, 30), min_length=1)
    """Whisper: lengths that the encoder listens to, in seconds, ascending; the smallest that holds the utterance is used. See bench/results/speech_window.md.
    Where nothing is set, those that the model was trained for."""
    tokens_per_s: float = Field(default=6.5, gt=0, le=100)
    """Moonshine: at most so many tokens for each second of sound, against texts without an end. Its authors give 6.5 for English and 13 for other languages."""

    @field_validator("windows_s")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or not 1 <= value[0] <= value[-1] <= 30:
            raise ValueError("windows must ascend and lie between 1 and 30 seconds")
        return value


class WhisperConfig(Document):
    """What the session needs to know about a Whisper."""

    kind: Literal["whisper"] = "whisper"
    mels: int
    windows_s: tuple[int, ...] = Field(min_length=1)
    tokenizer: bool
    """Whether the checkpoint brought one; without it there are tokens, but no text."""
    prompt: tuple[int, ...] = Field(min_length=1)
    """Tokens that begin every transcript: start, language and task where the model has several, no timestamps."""
    stop: int
    no_speech: int | None
    """The token whose probability right after the start says that nobody speaks."""
    suppress: tuple[int, ...]
    suppress_first: tuple[int, ...]
    max_tokens: int
    """The decoder's positions, prompt included."""


class MoonshineConfig(Document):
    """What the session needs to know about a Moonshine."""

    kind: Literal["moonshine"] = "moonshine"
    sound: RawSound
    tokenizer: bool
    start: int
    """The token that begins every transcript."""
    stop: tuple[int, ...]
    suppress: tuple[int, ...]
    suppress_first: tuple[int, ...]
    max_tokens: int
    """The start included."""
    tokens_per_s: float


class CtcConfig(Document):
    """What the session needs to know about a wav2vec2 or a HuBERT."""

    kind: Literal["ctc"] = "ctc"
    sound: RawSound
    labels: CtcSettings | None
    """How ``labels.json`` becomes text; null where the checkpoint brought no tokenizer."""


class Config(RootModel[Annotated[WhisperConfig | MoonshineConfig | CtcConfig, Field(discriminator="kind")]]):
    """Of one of the kinds."""


def graphs(config: Config) -> tuple[str, ...]:
    return ("encoder",) if isinstance(config.root, CtcConfig) else ("encoder", "decoder")


def assets(config: Config) -> tuple[str, ...]:
    if isinstance(config.root, CtcConfig):
        return ("labels.json",) if config.root.labels else ()
    return ("tokenizer.json",) if config.root.tokenizer else ()


def lacks(config: Config) -> dict[str, tuple[str, ...]]:
    """What the checkpoint came without -> the verbs that there are not for it."""
    one, verbs = config.root, ("transcribe",)
    made = {} if isinstance(one, WhisperConfig) or one.sound.told else {"preprocessor": verbs}
    words = one.labels if isinstance(one, CtcConfig) else one.tokenizer
    return {**made, **({} if words else {"tokenizer": ("words", *verbs)})}


def ranges(config: Config) -> dict[str, tuple[int, int, int]]:
    """One sound at a time: Whisper hears one of its windows, the others any length that the model was made for."""
    one = config.root
    if isinstance(one, WhisperConfig):
        first, last = one.windows_s[0], one.windows_s[-1]
        # A window gives 100 frames a second, of which the decoder hears half; golden data holds half of the first window.
        heard = {"frames": (100 * first, 100 * first, 100 * last), "heard": (25 * first, 50 * first, 50 * last)}
        return {**heard, "tokens": (1, 1, max(2, len(one.prompt))), "past": _past(one.max_tokens)}
    rate_hz = one.sound.settings.rate_hz
    samples = {"batch": (1, 1, 2), "samples": (one.sound.least, max(one.sound.least, LIKELY_S * rate_hz), LONGEST_S * rate_hz)}
    if isinstance(one, CtcConfig):
        return samples
    heard = {"heard": (1, LIKELY_S * rate_hz // MOONSHINE_STEP, LONGEST_S * rate_hz // MOONSHINE_STEP)}
    return {**samples, **heard, "tokens": (1, 1, 3), "past": _past(one.max_tokens)}


def _past(context: int) -> tuple[int, int, int]:
    return 0, context // 8, context - 1


def takes(folder: Path) -> bool:
    """A CTranslate2 folder has no architecture in its config.json; its model.bin says what it is within the first bytes."""
    try:
        with (folder / "model.bin").open("rb") as file:
            return b"WhisperSpec" in file.read(32)
    except OSError:
        return False
