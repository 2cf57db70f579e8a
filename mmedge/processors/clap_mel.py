"""CLAP's log-mel features in numpy.

Source: Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation" (2023), section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmedge.documents import Document
from mmedge.errors import MmedgeError
from mmedge.processors.audio import Samples
from mmedge.processors.mel import Floats, energies, filters
from mmedge.spans import timed
from mmedge.tensors import Array


class ClapSettings(Document):
    """How a sound becomes the input of CLAP's audio encoder; the defaults are those of transformers' ClapFeatureExtractor."""

    rate_hz: int = 48_000
    mels: int = 64
    hop: int = 480
    fft: int = 1024
    window_s: int = 10
    """What the encoder hears at once."""
    low_hz: float = 0.0
    high_hz: float = 14_000.0
    truncation: Literal["fusion", "rand_trunc"] = "fusion"
    """Of sounds beyond the window: a summary of the whole and three pieces of it, or one piece."""
    padding: Literal["repeatpad", "repeat", "pad"] = "repeatpad"
    """Of shorter ones: said again as often as it fits, or until the window is full, or not at all; then silence."""

    @classmethod
    def from_extractor(cls, config: Mapping[str, Any]) -> ClapSettings:
        """Read a checkpoint's ``preprocessor_config.json``. Raises MmedgeError: it asks for what CLAP does not do."""
        names = {
            "rate_hz": "sampling_rate",
            "mels": "feature_size",
            "hop": "hop_length",
            "fft": "fft_window_size",
            "window_s": "max_length_s",
            "low_hz": "frequency_min",
            "high_hz": "frequency_max",
            "truncation": "truncation",
            "padding": "padding",
        }
        try:
            return cls(**{ours: config[theirs] for ours, theirs in names.items() if config.get(theirs) is not None})
        except ValueError as error:
            raise MmedgeError(f"the feature extractor of this CLAP is of a kind mmedge does not know: {error}", "get an unchanged checkpoint") from error

    @property
    def frames(self) -> int:
        return self.window_s * self.rate_hz // self.hop + 1


class ClapMel:
    """Sound -> CLAP's input features.

    transformers draws the pieces of a sound that is longer than the window at random. Here the same sound gives the same features: of each range that it
    draws from, the middle one is taken (of an even number, the later one).
    """

    def __init__(self, settings: ClapSettings) -> None:
        self.settings = settings
        fused = settings.truncation == "fusion"
        scale: Literal["htk", "slaney"] = "htk" if fused else "slaney"
        self._bank = filters(settings.mels, settings.fft, settings.rate_hz, scale, settings.low_hz, settings.high_hz, equal_area=not fused)
        self._window = np.hanning(settings.fft + 1)[:-1]

    @timed("processors")
    def __call__(self, samples: Samples) -> dict[str, Array]:
        """Features of one sound, float32 [n] at ``rate_hz``.

        Returns:
            ``input_features`` float32 [1, 4 or 1, frames, mels] in dB, as transformers' ClapFeatureExtractor gives; four pictures with fusion: the whole
            squeezed into the window, and three pieces. With fusion also ``is_longer`` bool [1, 1], which is always true: transformers sets it for one sound
            of each batch, and here a batch is one sound.

        Raises:
            MmedgeError: there is no sound.
        """
        if not len(samples):
            raise MmedgeError("the sound has no samples", "give a sound that lasts")
        settings = self.settings
        room = settings.window_s * settings.rate_hz
        if settings.truncation == "rand_trunc":
            begin = max(0, len(samples) - room + 1) // 2
            return {"input_features": self._mel(self._filled(samples[begin : begin + room], room))[None, None]}
        heard = self._mel(self._filled(samples, room))
        views = [heard] * 4 if len(heard) == settings.frames else [_squeezed(heard, settings.frames), *_pieces(heard, settings.frames)]
        return {"input_features": np.stack(views)[None], "is_longer": np.ones((1, 1), np.bool_)}

    def _filled(self, samples: Samples, room: int) -> Samples:
        if len(samples) >= room:
            return samples
        times = {"repeatpad": room // len(samples), "repeat": room // len(samples) + 1, "pad": 1}[self.settings.padding]
        filled = np.tile(samples, times)[:room]
        return np.pad(filled, (0, room - len(filled)))

    def _mel(self, samples: Samples) -> NDArray[np.float32]:
        """[frames, mels], each frame around a multiple of the hop."""
        settings = self.settings
        centred: Floats = np.pad(samples, settings.fft // 2, mode="reflect").astype(np.float64)
        power = energies(centred, settings.fft, settings.hop, settings.fft, self._bank, lambda frames: frames * self._window)
        return (10.0 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)


def _pieces(heard: NDArray[np.float32], frames: int) -> list[NDArray[np.float32]]:
    """One from each third of the places where a piece may begin; the first place where a third is empty."""
    thirds = np.array_split(np.arange(len(heard) - frames + 1), 3)
    begins = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    return [heard[begin : begin + frames] for begin in begins]


def _squeezed(heard: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Linear interpolation in time between the two nearest frames, [n, mels] -> [frames, mels]; places in float32, as torch reckons them."""
    at = np.maximum((np.arange(frames, dtype=np.float32) + np.float32(0.5)) * np.float32(len(heard) / frames) - np.float32(0.5), np.float32(0))
    before = np.minimum(at.astype(np.int64), len(heard) - 1)
    after, part = np.minimum(before + 1, len(heard) - 1), (at - before.astype(np.float32))[:, None]
    return heard[before] * (1 - part) + heard[after] * part
