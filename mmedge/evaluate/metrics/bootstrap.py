"""A metric's value with its interval, and the difference of two models on the same units.

The percentile bootstrap over the sampling unit (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): units (pictures, clips, questions)
are drawn with replacement. A metric is computed anew from how often each unit was drawn, so that ratios of sums, medians and areas get theirs as means do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Reduce = Callable[[Values, Values], Values]
"""(weights [resamples, units], rows [units, statistics]) -> the metric of each resample [resamples]; NaN where that resample has none."""

RESAMPLES = 1000
SEED = 0
AT_ONCE = 2_000_000
"""Weights held at a time: 16 MB."""
MIDDLE = (2.5, 97.5)
ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A figure of ``n`` units with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    note: str = ""
    """Why the interval says less than it seems to: no spread among the units, or resamples without a value."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What each unit adds to a metric, and how the metric comes from that: enough to resample it, alone or paired with another model's.

    ``rows``: float64 [units, statistics]; ``reduce``: see ``Reduce``.
    """

    rows: Values
    reduce: Reduce


@dataclass(frozen=True)
class Metric:
    """A named metric, or the reason for which there is none; never a zero instead."""

    name: str
    estimate: Estimate | None
    why: str = ""
    higher_is_better: bool = True
    how: str = ""
    """What the figure depends on beside the data: a tokenizer, a normalizer, an averaging rule."""
    samples: Samples | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Draft:
    """A metric that still wants its figures. ``why``: the reason to give where it has no value."""

    name: str
    samples: Samples
    why: str = "there are no samples"
    higher_is_better: bool = True
    how: str = ""


def measure(drafts: Sequence[Draft]) -> list[Metric]:
    """The metrics with their intervals; those over equally many units share their resamples, which saves most of the time."""
    estimates: dict[int, Estimate | None] = {}
    sizes = [len(draft.samples.rows) for draft in drafts]
    for n in set(sizes):
        alike = [index for index, size in enumerate(sizes) if size == n]
        estimates.update(zip(alike, _estimates([drafts[index].samples for index in alike], n)))
    return [
        Metric(draft.name, estimate, "" if estimate else draft.why, draft.higher_is_better, draft.how, draft.samples if estimate else None)
        for draft, estimate in zip(drafts, (estimates[index] for index in range(len(drafts))))
    ]


def paired(ours: Metric, theirs: Metric) -> Estimate:
    """ours - theirs, with the interval of that difference: every resample draws the same units for both.

    Raises:
        ValueError: one of them has no value, or they are of different metrics or numbers of units.
    """
    a, b = ours.samples, theirs.samples
    if a is None or b is None or (ours.name, len(a.rows)) != (theirs.name, len(b.rows)):
        raise ValueError(f"{ours.name} and {theirs.name} are not of the same metric and units")
    one = np.ones((1, len(a.rows)))
    drawn = [a.reduce(weights, a.rows) - b.reduce(weights, b.rows) for weights in resamples(len(a.rows))]
    return _estimate(float((a.reduce(one, a.rows) - b.reduce(one, b.rows))[0]), np.concatenate(drawn), len(a.rows))


def resamples(n: int) -> Iterator[Values]:
    """How often each of ``n`` units was drawn: float64 [at most what fits, n], 1000 rows in all, the same ones each time."""
    random = np.random.default_rng(SEED)
    size = max(1, min(RESAMPLES, AT_ONCE // n))
    for start in range(0, RESAMPLES, size):
        rows = min(size, RESAMPLES - start)
        drawn = random.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def mean(weights: Values, rows: Values) -> Values:
    """Of the units' first statistic."""
    return weights @ rows[:, 0] / weights.sum(axis=1)


def ratio(weights: Values, rows: Values) -> Values:
    """The sum of the first statistic over that of the second."""
    return divide(weights @ rows[:, 0], weights @ rows[:, 1])


def divide(over: Values, under: Values) -> Values:
    """NaN where the divisor is 0."""
    return np.divide(over, under, out=np.full_like(under, np.nan), where=under != 0)


def _estimates(many: Sequence[Samples], n: int) -> list[Estimate | None]:
    if not n:
        return [None] * len(many)
    one = np.ones((1, n))
    values = [float(samples.reduce(one, samples.rows)[0]) for samples in many]
    drawn: list[list[Values]] = [[] for _ in many]
    for weights in resamples(n):
        for samples, found in zip(many, drawn):
            found.append(samples.reduce(weights, samples.rows))
    return [_estimate(value, np.concatenate(found), n) if np.isfinite(value) else None for value, found in zip(values, drawn)]


def _estimate(value: float, drawn: Values, n: int) -> Estimate:
    found = drawn[np.isfinite(drawn)]
    if not len(found):
        return Estimate(value, value, value, n, "no resample has a value")
    low, high = (float(edge) for edge in np.percentile(found, MIDDLE))
    notes = [f"{len(drawn) - len(found)} of {len(drawn)} resamples have no value"] if len(found) < len(drawn) else []
    if np.ptp(found) <= ROUNDING * max(1, abs(value)):
        notes.append("a single unit" if n == 1 else f"the {n} units show no spread: nothing is known of others")
    return Estimate(value, low, high, n, "; ".join(notes))
