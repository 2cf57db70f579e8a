"""Banks of triangular filters on the mel scale, and sounds through them.

Three scales are in use: M. Slaney's, "Auditory Toolbox" (1998); O'Shaughnessy's (1987), as HTK writes it and as Kaldi does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["slaney", "htk", "kaldi"]
Floats = NDArray[np.float64]

PRODUCT = 262_144
"""Multiplications in one product. OpenBLAS hands larger ones to all cores, and its threads then spin for a tenth of a second: the encoder, which
runs next, took 96 ms instead of 56 on two cores."""
CHUNK = 1000
"""Frames transformed at once: bounds the memory of long sounds to some MB."""

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: Floats, scale: Scale) -> Floats:
    """Slaney's scale is linear below 1 kHz and logarithmic above; the others are logarithmic throughout."""
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    if scale == "kaldi":
        return 1127.0 * np.log(1.0 + hz / 700.0)
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP)


def mel_to_hz(mel: Floats, scale: Scale) -> Floats:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    if scale == "kaldi":
        return 700.0 * (np.exp(mel / 1127.0) - 1.0)
    edge = _BREAK_HZ / _LINEAR_HZ
    return np.where(mel < edge, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, edge) - edge)))


@lru_cache(maxsize=8)
def filters(mels: int, fft: int, rate_hz: int, scale: Scale, low_hz: float = 0.0, high_hz: float | None = None, equal_area: bool = False) -> Floats:
    """Triangles that overlap by half, evenly spaced on the scale.

    Args:
        fft: length of the transform.
        low_hz, high_hz: where the first begins and the last ends; half the rate where none is given.
        equal_area: wide filters are lower (Slaney), instead of all being 1 high.

    Returns:
        [fft // 2 + 1, mels]. Kaldi's triangles are straight over mels, the others over Hz.
    """
    top_hz = rate_hz / 2 if high_hz is None else high_hz
    low, top = (float(hz_to_mel(np.asarray(float(hz)), scale)) for hz in (low_hz, top_hz))
    edges, bins = np.linspace(low, top, mels + 2), np.linspace(0, rate_hz / 2, fft // 2 + 1)
    if scale == "kaldi":
        bins = hz_to_mel(bins, scale)
    else:
        edges = mel_to_hz(edges, scale)
    widths, slopes = np.diff(edges), edges[None, :] - bins[:, None]
    triangles = np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    return triangles * (2 / (edges[2:] - edges[:-2])) if equal_area else triangles


def energies(sound: Floats, frame: int, hop: int, fft: int, bank: Floats, shape: Callable[[Floats], Floats]) -> Floats:
    """Power in each band, frame by frame; the first frame begins with the first sample, the last ends within the sound.

    Args:
        sound: [n].
        frame, hop: length of a frame and the distance to the next, in samples.
        bank: [fft // 2 + 1, mels].
        shape: what happens to frames [m, frame] before the transform, such as a window.

    Returns:
        [frames, mels].
    """
    count, (bins, mels) = max(0, 1 + (len(sound) - frame) // hop), bank.shape
    found, rows = np.empty((count, mels)), max(1, PRODUCT // (bins * mels))
    strided = np.lib.stride_tricks.sliding_window_view(sound, frame)[::hop] if count else np.empty((0, frame))
    for begin in range(0, count, CHUNK):
        spectrum = np.fft.rfft(shape(strided[begin : begin + CHUNK]), fft, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        found[begin : begin + CHUNK] = np.concatenate([power[at : at + rows] @ bank for at in range(0, len(power), rows)])
    return found
