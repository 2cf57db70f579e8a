"""Samples as wav2vec 2.0 and its kin take them (Baevski et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.audio import Samples
from mmedge.spans import timed


class WaveformSettings(Document):
    """The defaults are those of transformers' Wav2Vec2FeatureExtractor."""

    rate_hz: int = 16_000
    normalise: bool = True
    """To mean 0 and variance 1 over the whole sound."""

    @classmethod
    def from_extractor(cls, config: Mapping[str, Any]) -> WaveformSettings:
        """Read a checkpoint's ``preprocessor_config.json``. Raises MmedgeError: a value is none."""
        names = {"rate_hz": "sampling_rate", "normalise": "do_normalize"}
        try:
            return cls(**{ours: config[theirs] for ours, theirs in names.items() if config.get(theirs) is not None})
        except ValueError as error:
            raise MmedgeError(f"the feature extractor cannot be read: {error}", "get an unchanged checkpoint") from error


@timed("processors")
def waveform(samples: Samples, settings: WaveformSettings) -> NDArray[np.float32]:
    """float32 [n] at ``rate_hz`` -> float32 [1, n], as transformers' Wav2Vec2FeatureExtractor gives. Raises MmedgeError: there is no sound."""
    if not len(samples):
        raise MmedgeError("the sound has no samples", "give a sound that lasts")
    heard = np.asarray(samples, np.float32)
    return ((heard - heard.mean()) / np.sqrt(heard.var() + 1e-7) if settings.normalise else heard)[None]
