"""Word error rates of two recognisers on the same utterances; ratios of medians are ``mmedge.profile.estimates``'s."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mmedge.evaluate.metrics.bootstrap import Draft, Samples, measure, paired, ratio
from mmedge.evaluate.metrics.speech import edits


def plain(text: str) -> str:
    """Lower case, words only: what is compared is what was said, not how it is written."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower().replace("’", "'")))


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words said)."""
    return edits("word", plain(said), plain(heard))


def word_error_rates(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> tuple[float, float, tuple[float, float]]:
    """(our rate, their rate, interval of the difference ours - theirs): utterances are drawn with both results."""
    a, b = measure([Draft("wer", Samples(np.array(errors, dtype=np.float64), ratio)) for errors in (ours, theirs)])
    assert a.estimate and b.estimate, "nothing was said"
    difference = paired(a, b)
    return a.estimate.value, b.estimate.value, (difference.low, difference.high)
