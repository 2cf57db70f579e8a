"""Whisper in use: words, and silence rather than inventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.families.speech import WhisperConfig
from mmedge.families.speech.heard import Heard, lacking, silence
from mmedge.generate.cache import Cache
from mmedge.generate.decode import Decoded, Sampling, Step, decode, echoes
from mmedge.processors.audio import Samples
from mmedge.processors.log_mel import RATE_HZ, LogMel
from mmedge.processors.tokenizer import read_tokenizer
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


class Whisper:
    """``encoder`` and ``decoder``, and ``tokenizer.json`` where the checkpoint brought it."""

    rate_hz = RATE_HZ

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: WhisperConfig) -> None:
        self._encoder, self._decoder, self._config = runners["encoder"], runners["decoder"], config
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None
        self._mel = LogMel(config.mels)

    @property
    def longest_s(self) -> float:
        return self._config.windows_s[-1] - MARGIN_S

    def features(self, samples: Samples) -> NDArray[np.float32]:
        """float32 [1, mels, 100 x window in seconds], in the smallest window."""
        return self._mel(samples, self._config.windows_s[0])

    def tokens(self, samples: Samples, max_tokens: int) -> list[int]:
        """Through the largest window; what does not fit into it is not heard."""
        return list(self.listen(samples, self._config.windows_s[-1], max_tokens)[0].tokens)

    def words(self, tokens: Sequence[int]) -> str:
        if self._tokenizer is None:
            lacking("a tokenizer", "tokenizer.json")
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def hear(self, samples: Samples) -> Heard:
        seconds = len(samples) / RATE_HZ
        if self._tokenizer is None:
            lacking("a tokenizer", "tokenizer.json")
        if not np.any(samples):
            return silence(seconds)
        windows = [window_s for window_s in self._config.windows_s if window_s >= seconds + MARGIN_S] or [self._config.windows_s[-1]]
        for tries, window_s in enumerate(windows, 1):  # noqa: B007 (read after the loop)
            decoded, no_speech = self.listen(samples, window_s)
            nobody = no_speech > NO_SPEECH or (no_speech > DOUBTFUL and decoded.avg_logprob < UNLIKELY)
            believed = not nobody and decoded.stopped == "stop" and decoded.avg_logprob >= UNBELIEVABLE
            if nobody or (believed and not echoes(decoded.tokens)):
                break
        text = self.words(decoded.tokens).strip() if believed else ""
        return Heard(text, decoded.tokens, seconds, decoded.stopped, decoded.avg_logprob, no_speech, window_s, tries)

    def listen(self, samples: Samples, window_s: int, max_tokens: int | None = None) -> tuple[Decoded, float]:
        """Through one window, without guards; ``max_tokens`` is what anybody could say in that time, unless given.

        Returns:
            What was decoded, and the probability that nobody speaks.
        """
        config = self._config
        max_tokens = max_tokens or ceil(len(samples) / RATE_HZ * TOKENS_PER_S) + TOKENS_SPARE
        step, first = self._steps(self._encoder.run({"input_features": self._mel(samples, window_s)}))
        decoded = decode(
            step,
            config.prompt,
            stop=frozenset([config.stop]),
            sampling=Sampling(max_tokens=min(max_tokens, config.max_tokens - len(config.prompt))),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
        )
        return decoded, first[0]

    def _steps(self, cross: Mapping[str, Array]) -> tuple[Step, list[float]]:
        """A step over a cache of its own. The list receives the probability of no speech when the prompt is run."""
        cache, no_speech = Cache(self._decoder, cross), self._config.no_speech
        first: list[float] = []

        def step(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = cache(len(tokens), {"input_ids": tokens[None]})["logits"][0]
            if not first:
                first.append(_probability(logits[0], no_speech))
            return logits[-1]

        return step, first


def _probability(logits: NDArray[np.float32], token: int | None) -> float:
    """Of one token, by softmax; 0 where the model has no such token."""
    if token is None:
        return 0.0
    return float(1 / np.exp(logits - logits[token]).sum())
