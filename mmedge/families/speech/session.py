"""Whisper in use: a sound in, its words out, and silence rather than inventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmedge.errors import MmedgeError
from mmedge.families.speech import Config
from mmedge.families.speech.pieces import cut
from mmedge.generate.decode import Decoded, Sampling, Step, decode, echoes
from mmedge.processors.audio import Samples, Sound, load_sound
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.resample import resample
from mmedge.runner import Runner
from mmedge.tensors import Array

MARGIN_S = 1.0
"""Silence that must fit behind an utterance: with less the decoder takes its end for a cut."""
NO_SPEECH = 0.8
"""Probability of the no-speech token above which nobody speaks. Over 337 spoken clips it never passed .71, over 40 noises it never fell below .83
(bench/results/speech_window.md); likelihood tells them apart far worse: short words, heard rightly, go down to -1.7."""
DOUBTFUL, UNLIKELY = 0.6, -1.0
"""No-speech probability above which, and mean log-probability of a token below which, together, nobody speaks (Radford et al. 2022, section 4.5)."""
UNBELIEVABLE = -2.0
"""Mean log-probability below which no text is believed."""
TOKENS_PER_S, TOKENS_SPARE = 12, 8
"""The fastest speakers reach 8 tokens a second; what exceeds this is no transcript."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one piece of sound."""

    text: str
    """Empty where nothing was said, or nothing that can be believed."""
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech: float
    """Probability, 0 to 1, that nobody speaks."""
    stopped: str
    """Why the last decode ended: ``stop``, ``length``, ``loop``; ``silence`` where none was needed."""
    window_s: int
    """The window of the last decode."""
    seconds: float
    """Length of the piece."""
    tries: int


class Session:
    """The verbs of a speech recogniser.

    Args:
        runners: ``encoder`` and ``decoder``.
        assets: ``tokenizer.json``.
        config: what export found out.
    """

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self._encoder, self._decoder, self._config = runners["encoder"], runners["decoder"], config
        try:
            self._tokenizer = Tokenizer.from_file(str(assets["tokenizer.json"]))
        except Exception as error:  # tokenizers raises Exception itself
            raise MmedgeError(f"{assets['tokenizer.json']} is no tokenizer: {error}", "export the bundle again") from error
        self._mel = LogMel(config.mels)
        self._cross = [f"cross_{part}_{index}" for index in range(config.layers) for part in ("key", "value")]
        self._cache = [(name.replace("cross", "past"), name.replace("cross", "present")) for name in self._cross]

    def log_mel(self, sound: Sound, window_s: float) -> NDArray[np.float32]:
        """Whisper's features of a sound: float32 [1, mels, 100 x window_s]."""
        return self._mel(_at_16_khz(sound), window_s)

    def transcribe(self, sound: Sound) -> str:
        """The words of a sound of any length; empty where nothing was heard.

        Raises:
            MmedgeError: not a sound.
        """
        return " ".join(heard.text for heard in self.hear(sound) if heard.text)

    def hear(self, sound: Sound) -> list[Heard]:
        """What was heard, piece by piece: a sound beyond the largest window is cut where it is quietest."""
        return [self._hear(piece) for piece in cut(_at_16_khz(sound), RATE_HZ, self._config.windows_s[-1] - MARGIN_S)]

    def _hear(self, samples: Samples) -> Heard:
        seconds = len(samples) / RATE_HZ
        if not np.any(samples):
            return Heard("", (), 0.0, 1.0, "silence", 0, seconds, 0)
        windows = [window_s for window_s in self._config.windows_s if window_s >= seconds + MARGIN_S] or [self._config.windows_s[-1]]
        for tries, window_s in enumerate(windows, 1):  # noqa: B007 (read after the loop)
            decoded, no_speech = self._decode(samples, window_s)
            nobody = no_speech > NO_SPEECH or (no_speech > DOUBTFUL and decoded.avg_logprob < UNLIKELY)
            believed = not nobody and decoded.stopped == "stop" and decoded.avg_logprob >= UNBELIEVABLE
            if nobody or (believed and not echoes(decoded.tokens)):
                break
        text = self._tokenizer.decode(list(decoded.tokens), skip_special_tokens=True).strip() if believed else ""
        return Heard(text, decoded.tokens, decoded.avg_logprob, no_speech, decoded.stopped, window_s, seconds, tries)

    def _decode(self, samples: Samples, window_s: int) -> tuple[Decoded, float]:
        """Listen through one window. Returns what was decoded and the probability that nobody speaks."""
        config = self._config
        cross = self._encoder.run({"input_features": self._mel(samples, window_s)})
        step, first = self._steps(cross)
        decoded = decode(
            step,
            config.prompt,
            stop=frozenset([config.stop]),
            sampling=Sampling(max_tokens=min(config.max_tokens - len(config.prompt), ceil(len(samples) / RATE_HZ * TOKENS_PER_S) + TOKENS_SPARE)),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
        )
        return decoded, first[0]

    def _steps(self, cross: Mapping[str, Array]) -> tuple[Step, list[float]]:
        """A step over a cache of its own. The list receives the probability of no speech when the prompt is run."""
        config, runner = self._config, self._decoder
        empty = np.zeros((1, config.heads, 0, config.head_dim), np.float32)
        cache: dict[str, Array] = {past: empty for past, _ in self._cache}
        listening = {name: cross[name] for name in self._cross}
        first: list[float] = []

        def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
            outputs = runner.run({"input_ids": tokens[None], **cache, **listening})
            cache.update((past, outputs[present].copy() if runner.reuses_outputs else outputs[present]) for past, present in self._cache)
            logits: NDArray[np.float32] = outputs["logits"][0]
            if not first:
                first.append(_probability(logits[0], config.no_speech))
            return logits[-1]

        return step, first


def _probability(logits: NDArray[np.float32], token: int | None) -> float:
    """Of one token, by softmax; 0 where the model has no such token."""
    if token is None:
        return 0.0
    return float(1 / np.exp(logits - logits[token]).sum())


def _at_16_khz(sound: Sound) -> Samples:
    samples, rate_hz = load_sound(sound)
    return resample(samples, rate_hz, RATE_HZ)
