"""Moonshine in use. It was trained on sounds of up to half a minute, each as long as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.families.speech import MoonshineConfig
from mmedge.families.speech.heard import Heard, lacking, silence
from mmedge.generate.cache import Cache
from mmedge.generate.decode import Decoded, Sampling, decode
from mmedge.processors.audio import Samples
from mmedge.processors.tokenizer import read_tokenizer
from mmedge.runner import Runner

LONGEST_S = 30.0
"""Of the sounds that it was trained on (Jeffries et al. 2024, section 3.2)."""


class Moonshine:
    """``encoder`` and ``decoder``, and ``tokenizer.json`` where the checkpoint brought it."""

    longest_s = LONGEST_S

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: MoonshineConfig) -> None:
        self._encoder, self._decoder, self._config = runners["encoder"], runners["decoder"], config
        self._tokenizer = read_tokenizer(assets["tokenizer.json"]) if config.tokenizer else None
        self.rate_hz = config.sound.settings.rate_hz

    def features(self, samples: Samples) -> NDArray[np.float32]:
        return self._config.sound(samples)

    def tokens(self, samples: Samples, max_tokens: int) -> list[int]:
        return list(self._listen(samples, min(max_tokens, self._config.max_tokens - 1)).tokens)

    def words(self, tokens: Sequence[int]) -> str:
        if self._tokenizer is None:
            lacking("a tokenizer", "tokenizer.json")
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def hear(self, samples: Samples) -> Heard:
        """No more tokens than the sound has time for, the start counted as one of them; a text that goes in circles is not said."""
        config, seconds = self._config, len(samples) / self.rate_hz
        if not config.sound.told:
            lacking("a preprocessor", "preprocessor_config.json")
        if self._tokenizer is None:
            lacking("a tokenizer", "tokenizer.json")
        if not np.any(samples):
            return silence(seconds)
        decoded = self._listen(samples, max(1, most_tokens(config, len(samples)) - 1))
        text = "" if decoded.stopped == "loop" else self.words(decoded.tokens).strip()
        return Heard(text, decoded.tokens, seconds, decoded.stopped, decoded.avg_logprob)

    def _listen(self, samples: Samples, max_tokens: int) -> Decoded:
        config = self._config
        cache = Cache(self._decoder, self._encoder.run({"input_values": self.features(samples)}))
        return decode(
            lambda tokens: cache(len(tokens), {"input_ids": tokens[None]})["logits"][0, -1],
            [config.start],
            stop=frozenset(config.stop),
            sampling=Sampling(max_tokens=max_tokens),
            suppress=config.suppress,
            suppress_first=config.suppress_first,
        )


def most_tokens(config: MoonshineConfig, samples: int) -> int:
    """The longest text for a sound of so many samples, its start included, by the rule that Moonshine's authors publish with its weights."""
    return min(config.max_tokens, int(samples * config.tokens_per_s / config.sound.settings.rate_hz))
