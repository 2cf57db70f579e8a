"""Which operations must stay in float for a candidate to hold its gate, found with few evaluations of the metric: each of them runs the user's data.

Operations are ranked beforehand by something cheap (the signal-to-noise ratio that quantizing them leaves; Dong et al. 2019, "HAWQ", rank by the Hessian).
The shortest prefix of the ranking that holds is bisected; what it has too much of is given back in halves (delta debugging, Zeller and Hildebrandt 2002),
because a ranking is only a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST = 12
"""Evaluations, where the caller does not say."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """Operations that stay in float, in the order of the ranking; and how often the metric was evaluated."""

    kept_float: tuple[str, ...]
    evaluations: int


def repair(ranked: Sequence[str], holds: Callable[[frozenset[str]], bool], *, most: int = MOST) -> Repaired | None:
    """Find few operations that let a candidate hold its gate when they stay in float.

    Args:
        ranked: operations, those first whose quantization does most harm.
        holds: whether the candidate with these operations in float holds: makes it, and evaluates the metric.
        most: evaluations, at most.

    Returns:
        None where not even all of them in float hold, or where ``most`` ended before any set that does was found.
    """
    told: dict[frozenset[str], bool] = {}

    def asked(kept: Sequence[str]) -> bool:
        key = frozenset(kept)
        if key not in told:
            if len(told) == most:
                return False  # not known, so not taken
            told[key] = holds(key)
        return told[key]

    shortest = _prefix(ranked, asked)
    if shortest is None:
        return None
    kept = _given_back(list(ranked[:shortest]), asked, lambda: len(told) < most)
    return Repaired(tuple(kept), len(told))


def _prefix(ranked: Sequence[str], asked: Callable[[Sequence[str]], bool]) -> int | None:
    """Length of the shortest prefix that holds: doubled until one does, since most models need few, then bisected."""
    high = 1
    while high < len(ranked) and not asked(ranked[:high]):
        high *= 2
    low, high = high // 2, min(high, len(ranked))
    if not asked(ranked[:high]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if asked(ranked[:middle]) else (middle, high)
    return high


def _given_back(kept: list[str], asked: Callable[[Sequence[str]], bool], more: Callable[[], bool]) -> list[str]:
    """Without what is not needed: the last is, so pieces before it are tried from the end, and smaller ones where a piece is needed."""
    piece, end = max(1, len(kept) // 4), len(kept) - 1
    while end > 0 and more():
        begin = max(0, end - piece)
        rest = kept[:begin] + kept[end:]
        if asked(rest):
            kept = rest
        elif end - begin > 1:
            piece = max(1, piece // 2)
            continue
        end = begin
    return kept
