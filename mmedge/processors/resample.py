"""Change the rate of a sound: polyphase windowed-sinc interpolation, whole or in chunks.

Method: J. O. Smith, "Digital Audio Resampling", and Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983), section 3.3.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from mmedge.spans import timed

Samples = NDArray[np.float32]

CROSSINGS = 24
"""Zero crossings of the sinc on either side: with the window below, 80 dB down from 1.12 x the cut-off."""
KAISER_BETA = 8.0
BLOCK = 8192
"""Outputs computed at once: bounds the memory of long sounds to a few MB."""


@lru_cache(maxsize=16)
def low_pass(up: int, down: int) -> NDArray[np.float64]:
    """The prototype filter for a rate changed by ``up / down`` (coprime): odd length, unit gain at 0 Hz after zero stuffing."""
    widest = max(up, down)
    half = CROSSINGS * widest
    at = np.arange(-half, half + 1)
    taps: NDArray[np.float64] = np.sinc(at / widest) * np.kaiser(2 * half + 1, KAISER_BETA)
    taps *= up / taps.sum()
    return taps


@lru_cache(maxsize=16)
def _phases(up: int, down: int) -> NDArray[np.float32]:
    """The prototype as [up, taps]: row p weighs consecutive inputs (oldest first) for an output that falls p/up after an input sample."""
    prototype = low_pass(up, down)
    half = len(prototype) // 2
    reach = half // up  # inputs on either side that the filter touches
    offsets = np.arange(-reach, reach + 2)
    index = half + np.arange(up)[:, None] - offsets[None, :] * up
    inside = (index >= 0) & (index < len(prototype))
    return np.where(inside, prototype[np.clip(index, 0, len(prototype) - 1)], 0).astype(np.float32)


class Resampler:
    """Changes the rate of a sound that arrives in chunks. However it is cut, the result is that of the whole sound, sample for sample.

    Args:
        from_hz, to_hz: rates in Hz, positive.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        if from_hz <= 0 or to_hz <= 0:
            raise ValueError(f"rates must be positive: {from_hz} Hz to {to_hz} Hz")
        common = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._taps = _phases(self._up, self._down)
        self._reach: int = len(self._taps[0]) // 2 - 1
        self._kept = np.zeros(self._reach, np.float32)  # the silence before the first sample
        self._first = -self._reach  # index of the first kept input
        self._got = 0
        self._next = 0  # index of the next output

    @property
    def delay_samples(self) -> int:
        """How many input samples a result waits for beyond its own time."""
        return self._reach + 1

    def push(self, samples: Samples) -> Samples:
        """Take a chunk [n] and return what can be computed by now, [m] with m >= 0."""
        if self._up == self._down:
            return np.asarray(samples, np.float32)
        self._got += len(samples)
        return self._advance(np.asarray(samples, np.float32), self._output_count(self._got - self._reach - 1))

    def flush(self) -> Samples:
        """The sound is over: return the rest. In all, n samples become ceil(n x to_hz / from_hz). Then use a new one."""
        if self._up == self._down:
            return np.zeros(0, np.float32)
        return self._advance(np.zeros(self._reach + 1, np.float32), self._output_count(self._got))

    def _output_count(self, inputs: int) -> int:
        """How many outputs lie before the time of input number ``inputs``."""
        return max(0, -(-inputs * self._up // self._down))

    def _advance(self, samples: Samples, until: int) -> Samples:
        kept = np.concatenate([self._kept, samples])
        width = self._taps.shape[1]
        out = np.empty(max(0, until - self._next), np.float32)
        for begin in range(0, len(out), BLOCK):
            at = (np.arange(begin, min(begin + BLOCK, len(out)), dtype=np.int64) + self._next) * self._down
            windows = np.lib.stride_tricks.sliding_window_view(kept, width)[at // self._up - self._reach - self._first]
            out[begin : begin + len(at)] = np.einsum("ij,ij->i", windows, self._taps[at % self._up])
        self._next += len(out)
        drop = self._next * self._down // self._up - self._reach - self._first
        self._first += drop
        self._kept = kept[drop:].copy()
        return out


@timed("processors")
def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Change the rate of a whole sound: float32 [n] at ``from_hz`` -> float32 [ceil(n x to_hz / from_hz)] at ``to_hz``."""
    if from_hz == to_hz:
        return np.asarray(samples, np.float32)
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.flush()])
