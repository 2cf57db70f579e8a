"""Word error rates with intervals; ratios of medians are ``mmedge.profile.estimates``'s."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.need import need

RESAMPLES = 10_000


def interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of a bootstrap."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def plain(text: str) -> str:
    """Lower case, words only: what is compared is what was said, not how it is written."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower().replace("’", "'")))


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words said)."""
    reference, hypothesis = plain(said), plain(heard)
    result = need("jiwer", extra="eval").process_words(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference.split())


def word_error_rates(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> tuple[float, float, tuple[float, float]]:
    """(our rate, their rate, interval of the difference ours - theirs): utterances are drawn with both results, 10 000 times."""
    a, b, words = (np.array(column) for column in ([e for e, _ in ours], [e for e, _ in theirs], [w for _, w in ours]))
    draw = np.random.default_rng(0).integers(0, len(a), (RESAMPLES, len(a)))
    difference = (a[draw].sum(axis=1) - b[draw].sum(axis=1)) / words[draw].sum(axis=1)
    return float(a.sum() / words.sum()), float(b.sum() / words.sum()), interval(difference)
