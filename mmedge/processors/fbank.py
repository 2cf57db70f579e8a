"""Kaldi's log-mel filter bank in numpy, as the Audio Spectrogram Transformer takes it.

Sources: Povey et al., "The Kaldi Speech Recognition Toolkit" (2011), its compute-fbank-feats without dither; Gong et al., "AST: Audio Spectrogram
Transformer" (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.audio import Samples
from mmedge.processors.mel import Floats, energies, filters
from mmedge.spans import timed

FRAME, HOP, FFT = 400, 160, 512
"""In samples: 25 ms and 10 ms at 16 kHz."""
LOW_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = 1.192092955078125e-07
"""float32's epsilon: the least power whose logarithm is taken."""


class FbankSettings(Document):
    """The defaults are those of transformers' ASTFeatureExtractor: AudioSet's mean and deviation."""

    rate_hz: int = 16_000
    mels: int = 128
    frames: int = 1024
    """What the model hears; what is longer is cut off, what is shorter is filled with zeros."""
    mean: float = -4.2677393
    std: float = 4.5689974
    normalise: bool = True

    @classmethod
    def from_extractor(cls, config: Mapping[str, Any]) -> FbankSettings:
        """Read a checkpoint's ``preprocessor_config.json``. Raises MmedgeError: a value is none."""
        names = {"rate_hz": "sampling_rate", "mels": "num_mel_bins", "frames": "max_length", "mean": "mean", "std": "std", "normalise": "do_normalize"}
        try:
            return cls(**{ours: config[theirs] for ours, theirs in names.items() if config.get(theirs) is not None})
        except ValueError as error:
            raise MmedgeError(f"the feature extractor of this AST cannot be read: {error}", "get an unchanged checkpoint") from error


class Fbank:
    """Sound -> log-mel features, as transformers' ASTFeatureExtractor computes them without torchaudio."""

    def __init__(self, settings: FbankSettings) -> None:
        self.settings = settings
        self._bank = filters(settings.mels, FFT, settings.rate_hz, "kaldi", LOW_HZ, float(settings.rate_hz // 2))
        self._window = np.hanning(FRAME)

    @timed("processors")
    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """float32 [n] at ``rate_hz`` -> float32 [1, frames, mels]; silence follows a sound shorter than one frame. Raises MmedgeError: there is none."""
        settings = self.settings
        if not len(samples):
            raise MmedgeError("the sound has no samples", "give a sound that lasts")
        heard = samples[: (settings.frames - 1) * HOP + FRAME].astype(np.float64)
        heard = np.pad(heard, (0, max(0, FRAME - len(heard))))
        power = energies(heard, FRAME, HOP, FFT, self._bank, self._shaped)
        features = np.zeros((settings.frames, settings.mels), np.float32)
        features[: len(power)] = np.log(np.maximum(power, FLOOR))
        if settings.normalise:
            features = (features - settings.mean) / (2 * settings.std)
        return features[None].astype(np.float32, copy=False)

    def _shaped(self, frames: Floats) -> Floats:
        """Without its mean, with its high notes raised, through Hann's window."""
        centred = frames - frames.mean(axis=1, keepdims=True)
        before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
        return (centred - PREEMPHASIS * before) * self._window
