"""How a latency is measured: warm up, then repeat until there are enough samples or the time is up. One caller at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mmedge.documents import Document

WARM_UP_RUNS = 3
ENOUGH, FEWEST = 64, 5
"""Samples wanted; and those taken even when the time is up. A 90th percentile needs 64 to be claimed (MLPerf's early-stopping rule)."""
BUDGET_S = 8.0


class Latency(Document):
    """Milliseconds over ``n`` calls, after warm-up. A percentile that ``n`` cannot carry is null."""

    n: int
    p50_ms: float
    p90_ms: float | None
    min_ms: float
    max_ms: float


def measure(call: Callable[[], object]) -> Latency:
    """Time ``call`` on the monotonic clock."""
    for _ in range(WARM_UP_RUNS):
        call()
    samples_ms: list[float] = []
    start = time.perf_counter()
    while len(samples_ms) < FEWEST or (len(samples_ms) < ENOUGH and time.perf_counter() - start < BUDGET_S):
        before = time.perf_counter()
        call()
        samples_ms.append((time.perf_counter() - before) * 1e3)
    return summarise(samples_ms)


def summarise(samples_ms: Sequence[float]) -> Latency:
    """The figures of a list of samples, at least one."""
    values = np.asarray(samples_ms)
    p90_ms = round(float(np.percentile(values, 90)), 3) if len(values) >= ENOUGH else None
    return Latency(
        n=len(values), p50_ms=round(float(np.median(values)), 3), p90_ms=p90_ms, min_ms=round(float(values.min()), 3), max_ms=round(float(values.max()), 3)
    )
