"""What samples say: percentiles with their intervals, and ratios of medians. No distribution is assumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.profile.report import Latency

Values = NDArray[np.float64]

CONFIDENCE = 0.95
CLAIMABLE = {90: 64, 99: 662}
"""Percentile -> the samples it takes: MLPerf's early-stopping rule at 99 % confidence, with one query allowed to be late."""
RESAMPLES, AT_ONCE = 2000, 250
SHORTEST = 6
"""The fewest samples whose extremes hold the median with 95 % confidence (1 - 2 / 2^6)."""
LEAST_MS = 1e-6
"""Below what a clock resolves: keeps ratios finite."""


def summarise(samples_ms: Sequence[float] | Values) -> Latency:
    """The figures of a series.

    Raises:
        MmedgeError: it is empty.
    """
    values = np.sort(np.asarray(samples_ms, dtype=np.float64))
    if not len(values):
        raise MmedgeError("there are no samples to summarise", "measure again, for longer: --seconds")
    figures: dict[str, float | tuple[float, float] | None] = {}
    for percent in (50, 90, 99):
        claimable = len(values) >= CLAIMABLE.get(percent, 1)
        figures[f"p{percent}_ms"] = round(float(np.percentile(values, percent)), 4) if claimable else None
        figures[f"p{percent}_interval_ms"] = interval(values, percent / 100) if claimable else None
    return Latency.model_validate({"n": len(values), "min_ms": round(values[0], 4), "max_ms": round(values[-1], 4), **figures})


def interval(ordered: Values, quantile: float) -> tuple[float, float] | None:
    """The two order statistics that hold a quantile with 95 % confidence, 2.5 % outside on either side; null where there are too few samples.

    The number of samples below the quantile is binomial whatever their distribution, if they are independent (David and Nagaraja, Order Statistics, 7.1).
    """
    below = binomial_cdf(len(ordered), quantile)
    outside = (1 - CONFIDENCE) / 2
    low = int(np.searchsorted(below, outside, side="right"))  # 1-based: P(B < low) <= 2.5 %
    high = int(np.searchsorted(below, 1 - outside, side="left")) + 1  # P(B >= high) <= 2.5 %
    if low < 1 or high > len(ordered):
        return None
    return round(float(ordered[low - 1]), 4), round(float(ordered[high - 1]), 4)


def binomial_cdf(n: int, p: float) -> Values:
    """P(B <= k) for k = 0 ... n, of a binomial with ``n`` draws that each succeed with 0 < ``p`` < 1."""
    k = np.arange(n)
    steps = np.log(n - k) - np.log(k + 1.0) + np.log(p / (1 - p))  # of log P(B = k + 1) over log P(B = k)
    return np.cumsum(np.exp(n * np.log1p(-p) + np.concatenate([[0.0], np.cumsum(steps)])))


def ratio_of_medians(ours: Sequence[float] | Values, theirs: Sequence[float] | Values, *, paired: bool) -> tuple[float, float, float]:
    """(ratio, low, high): the ratio of the medians and its 95 % interval by a seeded bootstrap.

    ``paired``: samples of one round are drawn together. Otherwise each series is drawn in blocks as long as its autocorrelation asks for, so that slow
    changes of the machine do not pass for precision. Below six samples a median has no such interval: (ratio, 0, infinity).
    """
    a, b = (np.maximum(np.asarray(series, dtype=np.float64), LEAST_MS) for series in (ours, theirs))
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} samples are not paired with {len(b)}")
    ratio = float(np.median(a) / np.median(b))
    if min(len(a), len(b)) < SHORTEST:
        return ratio, 0.0, float("inf")
    seeds = (0, 0) if paired else (0, 1)
    blocks = (1, 1) if paired else (block_length(a), block_length(b))
    drawn = [_medians(series, length, seed) for series, length, seed in zip((a, b), blocks, seeds)]
    low, high = np.percentile(drawn[0] / drawn[1], [2.5, 97.5])
    return ratio, float(low), float(high)


def median_interval(samples: Sequence[float] | Values) -> tuple[float, float]:
    """The 95 % interval of a median when successive samples may depend on each other: by blocks, as in ``ratio_of_medians``."""
    values = np.asarray(samples, dtype=np.float64)
    low, high = np.percentile(_medians(values, block_length(values), 0), [2.5, 97.5])
    return float(low), float(high)


def _medians(values: Values, length: int, seed: int) -> Values:
    """Of resamples made of blocks of ``length``, from anywhere, around the end (circular block bootstrap, Politis and Romano 1992)."""
    random, n = np.random.default_rng(seed), len(values)
    around = np.concatenate([values, values[: length - 1]])
    found = []
    for _ in range(0, RESAMPLES, AT_ONCE):  # all at once would be gigabytes
        starts = random.integers(0, n, (AT_ONCE, -(-n // length)))
        drawn = around[starts[:, :, None] + np.arange(length)].reshape(AT_ONCE, -1)[:, :n]
        found.append(np.median(drawn, axis=1))
    return np.concatenate(found)


def block_length(values: Values) -> int:
    """The length of blocks for the median of a series: Politis and White 2004, with the correction of 2009, on whether each sample is above the median.

    That indicator is what moves a median; samples without autocorrelation get 1.
    """
    n = len(values)
    above = (values > np.median(values)) - np.mean(values > np.median(values))
    if not above.any():
        return 1
    longest = int(np.ceil(min(3 * np.sqrt(n), n / 3)))
    in_a_row = max(5, int(np.ceil(np.log10(n))))
    lags = min(int(np.ceil(np.sqrt(n))) + in_a_row, n - 1)
    covariance = np.array([above[: n - lag] @ above[lag:] / n for lag in range(lags + 1)])
    significant = np.flatnonzero(np.abs(covariance[1:] / covariance[0]) >= 2 * np.sqrt(np.log10(n) / n)) + 1
    # The last lag before a row of insignificant ones; the kernel is flat up to it, and gone at twice it.
    gaps = np.flatnonzero(np.diff(np.concatenate([[0], significant, [lags + in_a_row + 1]])) > in_a_row)
    last = int(np.concatenate([[0], significant])[gaps[0]])
    lag = np.arange(1, min(2 * max(last, 1), lags) + 1)
    weight = np.minimum(1, 2 * (1 - lag / (2 * max(last, 1))))
    spectrum = covariance[0] + 2 * float(weight @ covariance[lag])
    slope = 2 * float((weight * lag) @ covariance[lag])
    if last == 0 or spectrum <= 0:
        return 1 if last == 0 else longest
    return int(np.clip(round((2 * slope**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * n ** (1 / 3)), 1, longest))
