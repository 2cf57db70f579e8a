"""What models that hear raw samples share: how those are prepared, and what to say where the checkpoint did not tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmedge.documents import Document
from mmedge.processors.audio import Samples
from mmedge.processors.waveform import WaveformSettings, waveform


class RawSound(Document):
    """From samples to ``input_values``."""

    settings: WaveformSettings
    told: bool
    """Whether the checkpoint brought a preprocessor; without it the settings are a guess, and no text is made."""
    least: int
    """Samples that the model needs to give anything at all; a shorter sound is followed by silence."""

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """float32 [n] -> float32 [1, max(n, least)], as transformers' Wav2Vec2FeatureExtractor gives for one sound."""
        values = waveform(samples, self.settings) if len(samples) else np.zeros((1, 0), np.float32)
        return np.pad(values, ((0, 0), (0, max(0, self.least - len(samples)))))
