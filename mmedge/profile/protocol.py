"""How a latency is measured: warm up until the times have settled, then call in a closed loop or at a pace, for a minimum of time and of calls.

One caller at a time. Between two calls only the clock is read and two numbers are kept: the loop costs microseconds.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmedge.errors import MmedgeError
from mmedge.profile.report import Rules, Samples, WarmUp

Call = Callable[[], object]

LIMIT = 10
"""A row ends after so many times its minimum of seconds, whether or not it has its minimum of samples."""
KEPT = 4096
"""Samples of a closed loop that are kept, at most. Of a longer series every second one is left out, as often as it takes: what stays covers the whole time
evenly, any quantile of it estimates that of all, and at least 2048 stay. Pausing between calls instead would measure a colder machine."""
PATIENCE_S = 1.0
"""A paced call that has waited longer for the one before is given up: nobody wants a second-old frame."""
SPIN_S = 0.0005
"""The end of a wait is spent looking at the clock: a system's timer is late by 0.1 ms or so, which is not the stage's latency."""

WINDOWS, WINDOW_RUNS, WINDOW_S = 3, 5, 0.1
"""Windows that must agree; the calls and the time that each holds, at least."""
WINDOW_MOST_RUNS, WINDOW_MOST_S = 1000, 1.0
"""Either ends a window."""
AGREE = 0.05
SCATTER = 3.31
"""The range of three normal variables is below so many standard deviations in 95 % of draws (studentised range, infinite degrees of freedom)."""
WARM_UP_RUNS, WARM_UP_S = 20_000, 10.0


class Clock(Protocol):
    """Monotonic seconds, and waiting for a moment of them."""

    def now_s(self) -> float: ...

    def sleep_until(self, time_s: float) -> None:
        """Return at ``time_s``, at once where that is past."""
        ...


class RealClock:
    """The machine's monotonic clock of the highest resolution."""

    now_s = staticmethod(time.perf_counter)

    def sleep_until(self, time_s: float) -> None:
        if (left_s := time_s - SPIN_S - time.perf_counter()) > 0:
            time.sleep(left_s)
        while time.perf_counter() < time_s:
            pass


REAL = RealClock()


@dataclass
class Measured:
    """A series of calls."""

    samples: Samples
    warm_up: WarmUp
    calls: int
    """Made after warm-up, also those that are not kept."""
    cpu_s: float
    """CPU time of the process while these calls ran."""
    wall_s: float
    """The time that passed meanwhile."""


def measure(call: Call, rules: Rules, clock: Clock = REAL) -> Measured:
    """Warm up, then call for ``rules.seconds`` and ``rules.samples`` at least, and ten times ``rules.seconds`` at most (but one call).

    ``closed``: the next call when the last has returned. ``paced``: calls are due at a rate whether or not the last has returned, and a latency counts
    from the moment its call was due: a stall falls on every call that it delays, not on one (coordinated omission).

    Raises:
        MmedgeError: paced without a rate, or with a time or a rate that is none.
    """
    if not (math.isfinite(rules.seconds) and rules.seconds >= 0):
        raise MmedgeError(f"{rules.seconds} is no time to measure for", "give --seconds a number, for example --seconds 3")
    if rules.mode == "closed":
        return _closed(call, rules, clock)
    if rules.rate_hz is None or not (math.isfinite(rules.rate_hz) and rules.rate_hz > 0):
        raise MmedgeError("paced calls need a rate", "give --rate HZ, for example --rate 30")
    return _paced(call, rules, clock)


def _closed(call: Call, rules: Rules, clock: Clock) -> Measured:
    warmed = warm_up(call, clock)
    now_s = clock.now_s
    starts_s: list[float] = []
    latencies_s: list[float] = []
    made, every = 0, 1
    cpu_s, first_s = time.process_time(), now_s()
    while True:
        before_s = now_s()
        call()
        after_s = now_s()
        if made % every == 0:
            if len(starts_s) == KEPT:
                del starts_s[1::2], latencies_s[1::2]
                every *= 2
            starts_s.append(before_s)
            latencies_s.append(after_s - before_s)
        made += 1
        spent_s = after_s - first_s
        if spent_s >= LIMIT * rules.seconds or (spent_s >= rules.seconds and made >= rules.samples):
            break
    cpu_s = time.process_time() - cpu_s
    return Measured(Samples(start_ms=_ms(starts_s, starts_s[0]), latency_ms=_ms(latencies_s)), warmed, made, cpu_s, spent_s)


def _paced(call: Call, rules: Rules, clock: Clock) -> Measured:
    """Every call that is due within the time is made or given up, also when the last of them are late: the end hides no stall."""
    warmed = warm_up(call, clock)
    dues_s: list[float] = []
    latencies_s: list[float] = []
    dropped_s: list[float] = []
    cpu_s = wall_s = 0.0
    first_s = clock.now_s()
    for due_s in arrivals(rules):
        if dues_s and (due_s >= LIMIT * rules.seconds or (due_s >= rules.seconds and len(dues_s) >= rules.samples)):
            break
        clock.sleep_until(first_s + due_s)
        if (before_s := clock.now_s()) - first_s - due_s > PATIENCE_S:
            dropped_s.append(due_s)
            continue
        before_cpu_s = time.process_time()
        call()
        after_s = clock.now_s()
        cpu_s += time.process_time() - before_cpu_s
        wall_s += after_s - before_s
        dues_s.append(due_s)
        latencies_s.append(after_s - first_s - due_s)
    return Measured(Samples(start_ms=_ms(dues_s), latency_ms=_ms(latencies_s), dropped_ms=_ms(dropped_s)), warmed, len(dues_s), cpu_s, wall_s)


def arrivals(rules: Rules) -> Iterator[float]:
    """When calls are due, in seconds from the first: evenly, or with exponential gaps (a Poisson process) of that mean rate."""
    assert rules.rate_hz is not None
    gaps = random.Random(rules.seed)
    due_s, number = 0.0, 0
    while True:
        yield due_s
        number += 1
        due_s = number / rules.rate_hz if rules.arrivals == "fixed" else due_s + gaps.expovariate(rules.rate_hz)


def warm_up(call: Call, clock: Clock = REAL) -> WarmUp:
    """Call until the times have settled: the medians of three successive windows lie within 5 % of the least, or within what their scatter explains.

    A rule on the last windows instead of a number of runs follows Georges et al. 2007 ("Statistically rigorous Java performance evaluation"), who ask for
    a small coefficient of variation; medians, because one stall spoils that. A window of 0.1 s (trtexec warms up for 0.2 s) gives the clocks time to rise.
    Ends unsettled after 10 seconds or 20 000 runs, but not before three runs.
    """
    windows: list[list[float]] = [[]]
    runs, settled = 0, False
    start_s = opened_s = before_s = clock.now_s()
    while not settled and (runs < WINDOWS or (before_s - start_s < WARM_UP_S and runs < WARM_UP_RUNS)):
        call()
        after_s = clock.now_s()
        windows[-1].append(after_s - before_s)
        before_s, runs = after_s, runs + 1
        count, open_s = len(windows[-1]), after_s - opened_s
        if (count >= WINDOW_RUNS and open_s >= WINDOW_S) or count >= WINDOW_MOST_RUNS or open_s >= WINDOW_MOST_S:
            settled = len(windows) >= WINDOWS and _agree(windows[-WINDOWS:])
            windows.append([])
            opened_s = after_s
    return WarmUp(runs=runs, seconds=round(before_s - start_s, 3), stable=settled)


def _agree(windows: Sequence[Sequence[float]]) -> bool:
    medians = [float(np.median(window)) for window in windows]
    spread = [float(np.median(np.abs(np.asarray(window) - median))) for window, median in zip(windows, medians)]
    # Normal theory: a standard deviation is 1.4826 median absolute deviations, and a median's standard error 1.2533 of it over the root of n.
    error = 1.2533 * 1.4826 * float(np.mean(spread)) / math.sqrt(min(map(len, windows)))
    return max(medians) - min(medians) <= max(AGREE * min(medians), SCATTER * error)


def interleave(calls: Sequence[Call], *, rounds: int, fewest: int = 0, budget_s: float = math.inf, clock: Clock = REAL) -> list[list[float]]:
    """Time several calls in turn, A B B A A B: whatever else the machine does falls on all of them, and a steady drift favours none.

    Args:
        rounds: at most; one call of each.
        fewest: rounds that are made even when ``budget_s`` is used up.

    Returns:
        Milliseconds of each call, round by round: pairs, for ``estimates.ratio_of_medians``.
    """
    samples_ms: list[list[float]] = [[] for _ in calls]
    turns = list(zip(calls, samples_ms))
    start_s = clock.now_s()
    for made in range(rounds):
        if made >= fewest and clock.now_s() - start_s > budget_s:
            break
        for call, times_ms in turns:
            before_s = clock.now_s()
            call()
            times_ms.append((clock.now_s() - before_s) * 1e3)
        turns.reverse()
    return samples_ms


def _ms(times_s: Sequence[float], from_s: float = 0.0) -> tuple[float, ...]:
    """To a tenth of a microsecond: no clock is better, and the report stays small."""
    return tuple(round((time_s - from_s) * 1e3, 4) for time_s in times_s)
