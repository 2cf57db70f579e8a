"""Whether a training fits into memory, before hours are spent on it."""

from __future__ import annotations

import psutil

from mmedge.errors import MmedgeError

HELD = 4 + 2
"""Bytes of a number of a feature: in 32 bits, and as it was read from the cache."""


def hold_features(samples: int, views: int, width: int) -> None:
    """Raises MmedgeError: features of so many pictures do not fit, and what would."""
    needed, free = samples * views * width * HELD, int(psutil.virtual_memory().available)
    if needed <= free:
        return
    said = f"the features of {samples} pictures in {views} views take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    if fits := free // (samples * width * HELD):
        raise MmedgeError(said, f"views = {fits} would fit: set it in [models.ROLE.train], or close other programs")
    raise MmedgeError(said, f"{free // (width * HELD)} pictures in one view would fit: use fewer, or a machine with more memory")


def hold_states(rows: int, states: int, width: int) -> None:
    """Raises MmedgeError: so many states of so many samples do not fit."""
    needed, free = rows * states * width * HELD, int(psutil.virtual_memory().available)
    if needed > free:
        raise MmedgeError(
            f"what an encoder gives of {rows} samples, {states} states each, takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            f"{free // (states * width * HELD)} samples would fit: use fewer, or a fusion that reads one vector of each: concat, weighted_sum or deep",
        )
