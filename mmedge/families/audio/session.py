"""A sound classifier in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.families.audio import Config
from mmedge.processors.audio import Sound, sound_at
from mmedge.processors.fbank import Fbank
from mmedge.processors.waveform import waveform
from mmedge.runner import Runner


class Session:
    """Not safe for two threads at once, as its runner is not."""

    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self.config = config
        self._classifier = runners["classifier"]
        self._fbank = None if config.fbank is None else Fbank(config.fbank)

    def features(self, sound: Sound) -> NDArray[np.float32]:
        """What ``classifier`` takes of a sound: float32 [1, frames, mels] for AST, [1, samples] for the others.

        Raises:
            MmedgeError: not a sound, an empty one, or the checkpoint had no feature extractor.
        """
        if self._fbank is not None:
            return self._fbank(sound_at(sound, self._fbank.settings.rate_hz))
        if self.config.waveform is None:
            raise MmedgeError(
                "the checkpoint had no feature extractor: this verb needs one", "add its preprocessor_config.json to the checkpoint, and export again"
            )
        values = waveform(sound_at(sound, self.config.waveform.rate_hz), self.config.waveform)
        return np.pad(values, ((0, 0), (0, max(0, self.config.least - values.shape[1]))))

    def classify(self, sound: Sound, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest labels with their probabilities: of all labels against each other, or each for itself where a sound may have several.

        A model that was trained to give numbers (``problem_type`` regression) gives those. Raises MmedgeError as ``features``.
        """
        logits = np.asarray(self._classifier.run({"input_values": self.features(sound)})["logits"][0], np.float64)
        if self.config.activation == "softmax":
            powers = np.exp(logits - logits.max())
            scores = powers / powers.sum()
        elif self.config.activation == "sigmoid":
            scores = 1 / (1 + np.exp(-logits))
        else:
            scores = logits
        return [(self.config.labels[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")[: max(0, top)]]
