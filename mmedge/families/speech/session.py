"""A speech recogniser in use: a sound in, its words out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmedge.families.speech import Config
from mmedge.families.speech.ctc.session import Ctc
from mmedge.families.speech.heard import Heard, Recogniser
from mmedge.families.speech.moonshine.session import Moonshine
from mmedge.families.speech.pieces import cut
from mmedge.families.speech.whisper.session import Whisper
from mmedge.processors.audio import Sound, sound_at
from mmedge.runner import Runner
from mmedge.tensors import Array

KINDS: dict[str, Callable[..., Recogniser]] = {"whisper": Whisper, "moonshine": Moonshine, "ctc": Ctc}


class Session:
    """The verbs of a speech recogniser.

    Args:
        runners: ``encoder``, and ``decoder`` where the model has one.
        assets: ``tokenizer.json`` or ``labels.json``, where the checkpoint brought them.
        config: what export found out.
    """

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.recogniser: Any = KINDS[config.root.kind](runners, assets, config.root)

    def transcribe(self, sound: Sound) -> str:
        """The words of a sound of any length; empty where nothing was heard.

        Raises:
            MmedgeError: not a sound, or the checkpoint lacked what text needs.
        """
        return " ".join(heard.text for heard in self.hear(sound) if heard.text)

    def hear(self, sound: Sound) -> list[Heard]:
        """What was heard, piece by piece: a long sound is cut where it is quietest. Raises MmedgeError as ``transcribe`` does."""
        recogniser = self.recogniser
        return [recogniser.hear(piece) for piece in cut(sound_at(sound, recogniser.rate_hz), recogniser.rate_hz, recogniser.longest_s)]

    def tokens(self, sound: Sound, max_tokens: int = 20) -> list[int]:
        """The likeliest tokens of a sound's beginning as the model gives them, without prompt and stop token, whether they can be believed or not."""
        tokens: list[int] = self.recogniser.tokens(sound_at(sound, self.recogniser.rate_hz), max_tokens)
        return tokens

    def words(self, tokens: Sequence[int]) -> str:
        """What tokens say. Raises MmedgeError: the checkpoint lacked what text needs."""
        text: str = self.recogniser.words(tokens)
        return text

    def features(self, sound: Sound) -> Array:
        """What the encoder is given for a sound: its samples as the model wants them, float32 [1, n], or log-mel features float32 [1, mels, frames]."""
        features: Array = self.recogniser.features(sound_at(sound, self.recogniser.rate_hz))
        return features
