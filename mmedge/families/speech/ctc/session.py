"""wav2vec2 and HuBERT in use: one pass over the sound, the likeliest label of every frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.speech import CtcConfig
from mmedge.families.speech.heard import Heard, lacking, silence
from mmedge.generate.ctc import ctc_text
from mmedge.processors.audio import Samples
from mmedge.runner import Runner

LONGEST_S = 30.0
"""Every frame attends to every other: twice the length is four times the memory."""


class Ctc:
    """``encoder``, and ``labels.json`` where the checkpoint brought a tokenizer."""

    longest_s = LONGEST_S

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: CtcConfig) -> None:
        self._encoder, self._config = runners["encoder"], config
        self._labels = _read_labels(assets["labels.json"]) if config.labels else []
        self.rate_hz = config.sound.settings.rate_hz

    def features(self, samples: Samples) -> NDArray[np.float32]:
        return self._config.sound(samples)

    def tokens(self, samples: Samples, max_tokens: int) -> list[int]:
        """One for each of the first ``max_tokens`` frames, as they are."""
        return [int(index) for index in self._encoder.run({"input_values": self.features(samples)})["logits"][0, :max_tokens].argmax(-1)]

    def words(self, tokens: Sequence[int]) -> str:
        """Of one token for each frame."""
        if self._config.labels is None:
            lacking("a tokenizer for CTC", "vocab.json and tokenizer_config.json of a Wav2Vec2CTCTokenizer")
        return ctc_text(np.asarray(tokens), self._labels, self._config.labels)

    def hear(self, samples: Samples) -> Heard:
        config, seconds = self._config, len(samples) / self.rate_hz
        if not config.sound.told:
            lacking("a preprocessor", "preprocessor_config.json")
        if config.labels is None:
            lacking("a tokenizer for CTC", "vocab.json and tokenizer_config.json of a Wav2Vec2CTCTokenizer")
        if not np.any(samples):
            return silence(seconds)
        logits = self._encoder.run({"input_values": self.features(samples)})["logits"][0]
        best = logits.argmax(-1)
        scores = logits - logits.max(-1, keepdims=True)
        surely = -float(np.log(np.exp(scores).sum(-1)).mean())
        return Heard(self.words(best.tolist()), tuple(int(index) for index in best), seconds, avg_logprob=surely)


def _read_labels(path: Path) -> list[str]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MmedgeError(f"{path} holds no labels: {error}", "export the bundle again") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise MmedgeError(f"{path} holds no labels", "export the bundle again")
    return labels
