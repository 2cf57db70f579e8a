"""Views of a sound: the changes that leave what it says as it is. The same sound and numbers give the same view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.processors.audio import Samples
from mmedge.processors.resample import resample
from mmedge.training import View

KINDS: tuple[View, ...] = ("noise", "gain", "speed")
QUIETEST_DB, LOUDEST_DB = -18.0, 6.0
"""Of ``gain``."""
NOISIEST_DB, CLEAREST_DB = 5.0, 30.0
"""Signal-to-noise ratios of ``noise``."""
SLOWEST, FASTEST = 0.9, 1.1
"""Of ``speed``, which changes the pitch along (Ko et al. 2015)."""
LOWEST_HZ = 20.0


def hold_views(kinds: Sequence[View]) -> None:
    """Raises MmedgeError: one of them is for pictures."""
    if wrong := [kind for kind in kinds if kind not in KINDS]:
        raise MmedgeError(f"{wrong[0]} is no view of a sound", f"set augment in [models.ROLE.train]: some of {', '.join(KINDS)}")


def sound_view(samples: Samples, rate_hz: int, number: int, kinds: Sequence[View], seed: Sequence[int]) -> Samples:
    """One view of a sound, float32 [n], within full scale. Number 0 is the sound as it is.

    Args:
        samples: float32 [n], full scale 1.0.
        seed: what makes this sound's views differ from others'.
    """
    if number == 0:
        return samples
    random = np.random.default_rng([number, *seed])
    made = samples.astype(np.float64)
    if "speed" in kinds:
        made = resample(samples, round(rate_hz * random.uniform(SLOWEST, FASTEST)), rate_hz).astype(np.float64)
    if "noise" in kinds:
        made += _noise(random, len(made), rate_hz) * np.sqrt(np.square(made).mean() / 10 ** (random.uniform(NOISIEST_DB, CLEAREST_DB) / 10))
    if "gain" in kinds:
        made *= 10 ** (random.uniform(QUIETEST_DB, LOUDEST_DB) / 20)
    return (made / max(1.0, float(np.abs(made).max()))).astype(np.float32)


def _noise(random: np.random.Generator, count: int, rate_hz: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of power 1, between white and brown: it falls by 0 to 6 dB an octave."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    hz = np.maximum(np.fft.rfftfreq(count, 1 / rate_hz), LOWEST_HZ)
    made = np.fft.irfft(spectrum / hz ** random.uniform(0, 1), count)
    return made / np.sqrt(max(1e-12, float(np.square(made).mean())))
