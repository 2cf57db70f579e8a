"""Whisper's log-mel features in numpy.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mmedge.documents import Document
from mmedge.processors.mel import energies, filters
from mmedge.spans import timed

RATE_HZ = 16_000
N_FFT = 400
HOP = 160
FRAMES_PER_S = RATE_HZ // HOP


class LogMelSettings(Document):
    """Of an encoder that hears one window."""

    mels: int = Field(default=80, ge=1)
    window_s: float = Field(default=5.0, gt=0)
    """A shorter sound is followed by silence, a longer one is cut."""

    @property
    def frames(self) -> int:
        """Of the window."""
        return round(self.window_s * RATE_HZ) // HOP


def mel_filters(mels: int, n_fft: int = N_FFT, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Triangular filters of equal area from 0 Hz to half the rate: [n_fft // 2 + 1, mels]."""
    return filters(mels, n_fft, rate_hz, "slaney", equal_area=True)


class LogMel:
    """Sound -> Whisper's input features.

    Args:
        mels: 80, or 128 from large-v3 on.
    """

    def __init__(self, mels: int) -> None:
        self.mels = mels
        self._filters = mel_filters(mels)
        self._window = np.hanning(N_FFT + 1)[:-1]

    @timed("processors")
    def __call__(self, samples: NDArray[np.float32], window_s: float) -> NDArray[np.float32]:
        """Features of a sound followed by silence up to the window's length; what is longer is cut off.

        Args:
            samples: float32 [n] at 16 kHz.
            window_s: length in seconds; Whisper was trained on 30.

        Returns:
            float32 [1, mels, 100 x window_s], as transformers' WhisperFeatureExtractor gives with chunk_length = window_s.
        """
        total = round(window_s * RATE_HZ)
        frames = total // HOP
        used = min(len(samples), total)
        # Frames that reach into the sound; all later ones hear only silence and need no transform.
        heard = min(frames, -(-(used + N_FFT // 2) // HOP)) if used else 0
        logs = np.full((frames, self.mels), -10.0)
        if heard:
            span = (heard - 1) * HOP + N_FFT // 2  # samples reached by the last of them
            sound = np.zeros(min(span, total))
            sound[:used] = samples[:used]
            centred = np.pad(sound, (N_FFT // 2, max(0, span - total)), mode="reflect")
            energy = energies(centred[: (heard - 1) * HOP + N_FFT], N_FFT, HOP, N_FFT, self._filters, lambda frames: frames * self._window)
            logs[:heard] = np.log10(np.maximum(energy, 1e-10))
        logs = (np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0
        return np.ascontiguousarray(logs.T[None], dtype=np.float32)
