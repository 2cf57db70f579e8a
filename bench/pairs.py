"""How two series compare that were measured in turns on a machine whose speed changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmedge.profile.estimates import interval


def ratio_in_pairs(mine: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The median of the pairs' ratios with its 95 % interval by order statistics.

    Two blocks of a pair follow each other within a second: where a shared host runs at another speed a few seconds later, that falls on both, and not on their
    ratio, while it does move the median of either.
    """
    ratios = np.sort(np.array(mine) / np.array(theirs))
    low, high = interval(ratios, 0.5) or (0.0, float("inf"))
    return float(np.median(ratios)), low, high
