"""Whisper's log-mel features in numpy.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022); the mel scale and its normalisation are those of M. Slaney,
"Auditory Toolbox" (1998).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
N_FFT = 400
HOP = 160
FRAMES_PER_S = RATE_HZ // HOP
BLOCK = 16
"""Frames per product. OpenBLAS multiplies larger ones with all cores, and its threads then spin for a tenth of a second: the encoder, which
runs next, took 96 ms instead of 56 on two cores."""

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    edge = _BREAK_HZ / _LINEAR_HZ
    return np.where(mel < edge, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, edge) - edge)))


@lru_cache(maxsize=4)
def mel_filters(mels: int, n_fft: int = N_FFT, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Triangular filters of equal area from 0 Hz to half the rate: [n_fft // 2 + 1, mels]."""
    bins_hz = np.linspace(0, rate_hz / 2, n_fft // 2 + 1)
    top_mel = _hz_to_mel(np.asarray(rate_hz / 2))
    edges_hz = _mel_to_hz(np.linspace(0, float(top_mel), mels + 2))
    widths_hz = np.diff(edges_hz)
    slopes = edges_hz[None, :] - bins_hz[:, None]
    rising = -slopes[:, :-2] / widths_hz[:-1]
    falling = slopes[:, 2:] / widths_hz[1:]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))


class LogMel:
    """Sound -> Whisper's input features.

    Args:
        mels: 80, or 128 from large-v3 on.
    """

    def __init__(self, mels: int) -> None:
        self.mels = mels
        self._filters = mel_filters(mels)
        self._window = np.hanning(N_FFT + 1)[:-1]

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
            strided = np.lib.stride_tricks.sliding_window_view(centred, N_FFT)[::HOP][:heard]
            spectrum = np.fft.rfft(strided * self._window, axis=1)
            power = spectrum.real**2 + spectrum.imag**2
            energy = np.concatenate([power[begin : begin + BLOCK] @ self._filters for begin in range(0, heard, BLOCK)])
            logs[:heard] = np.log10(np.maximum(energy, 1e-10))
        logs = (np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0
        return np.ascontiguousarray(logs.T[None], dtype=np.float32)
