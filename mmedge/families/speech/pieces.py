"""Cut a long sound where nobody speaks."""

from __future__ import annotations

import numpy as np

from mmedge.processors.audio import Samples

QUIET_S = 0.2
"""A pause between words is at least this long."""


def cut(samples: Samples, rate_hz: int, longest_s: float) -> list[Samples]:
    """Pieces [n] of at most ``longest_s``, cut in the middle of the quietest fifth of a second of each piece's second half."""
    longest, quiet = round(longest_s * rate_hz), round(QUIET_S * rate_hz)
    pieces: list[Samples] = []
    while len(samples) > longest:
        total = np.cumsum(np.square(samples[longest // 2 : longest], dtype=np.float64))
        energy = total[quiet:] - total[:-quiet]
        at = longest // 2 + int(energy.argmin()) + quiet // 2
        pieces.append(samples[:at])
        samples = samples[at:]
    return [*pieces, samples]
