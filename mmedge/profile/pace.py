"""How fast the machine is at a moment, by fixed pieces of work.

What the other guests of a host take, a busy sibling of a core or a lower clock stand in no counter that a guest can read; a known piece of work that takes
longer than it can shows them. Microbenchmarks of clouds do the same (Iosup et al. 2011, "On the performance variability of production cloud services").
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import numpy as np
from pydantic import Field

from mmedge.profile.kept import Kept, keep, recall
from mmedge.profile.machine import SYSTEM, affinity, machine, text

ARITHMETIC, EVERYWHERE, MEMORY = "arithmetic", "arithmetic on every core", "memory"
EDITION = "2"
"""Of the pieces: another one, and the best times start anew."""
PERIOD_S = 30 * 86400.0
"""For how long a best time is believed at least, and for twice that at most: paste dries, fans clog, hosts change, and none of that is for a moment."""
REPEATS = 5
VALUES, LOOPS = 1 << 14, 30
"""Sines of as many numbers (128 KB, within a core's own cache), as often: some milliseconds."""
COPIED_BYTES = 16 << 20
"""More than most caches of small computers."""

Ms = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Best(Kept):
    """The least time that each piece took on this machine, as it is set, in this period and in the one before."""

    since_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """When this period began, seconds since 1970."""
    ms: dict[str, Ms]
    earlier_ms: dict[str, Ms] = {}

    def at(self, now_s: float) -> Best:
        """As it is to be read then: a period that has ended is the one before, and what lies further back is forgotten.

        A clock that was set back says nothing about age: boards without one begin each day in the past.
        """
        periods = int(max(0.0, now_s - self.since_s) // PERIOD_S)
        if not periods:
            return self
        return self.model_copy(update={"since_s": self.since_s + periods * PERIOD_S, "ms": {}, "earlier_ms": self.ms if periods == 1 else {}})


def slowdown(taken: Callable[[], dict[str, float]] | None = None, now_s: Callable[[], float] = time.time) -> dict[str, float]:
    """Piece of work -> how many times as long it takes now as at this machine's best: 1.0 or more. A better time is kept as the best, for a month or two.

    Args:
        taken: measures the pieces, in milliseconds; ``pieces`` otherwise.
    """
    now_ms = (taken or pieces)()
    key, at_s = _identity(), now_s()
    kept = recall("pace", key, Best)
    known = kept.at(at_s) if kept else Best(key=key, since_s=max(0.0, at_s), ms={})
    best = known.model_copy(update={"ms": {work: min(ms, known.ms.get(work, ms)) for work, ms in now_ms.items()}})
    if best != kept:
        keep("pace", best)
    best_ms = {work: min(ms, best.earlier_ms.get(work, ms)) for work, ms in best.ms.items()}
    return {work: round(ms / best_ms[work], 3) for work, ms in now_ms.items()}


def pieces() -> dict[str, float]:
    """Milliseconds of each piece of work, medians of ``REPEATS``; 70 ms in all.

    Arithmetic on one core and, which notices that somebody else has one of them, the same on every core at once; a copy in memory by one core.
    """
    cores = len(affinity()) or 1
    values = np.linspace(0.0, 1.0, VALUES)
    source = np.ones(COPIED_BYTES // 8)
    to = source.copy()  # its pages exist before it is timed
    return {
        ARITHMETIC: _median_ms(lambda: _sines(values)),
        EVERYWHERE: _median_ms(lambda: _on_all(cores, lambda: _sines(values))),
        MEMORY: _median_ms(lambda: np.copyto(to, source)),
    }


def _sines(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    out = np.empty_like(values)
    for _ in range(LOOPS):
        np.sin(values, out=out)  # numpy lets other threads run meanwhile


def _on_all(cores: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _median_ms(work: Callable[[], None]) -> float:
    times_s = []
    for _ in range(REPEATS):
        before_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - before_s)
    return round(median(times_s) * 1e3, 4)


def _host() -> str:
    """Which of several machines of one kind: a cache may be shared between them, or copied from one to the other with its disk."""
    return text(SYSTEM / "etc/machine-id") or platform.node()


def _identity() -> dict[str, str]:
    facts = machine()
    said = {
        "edition": EDITION,
        "host": _host(),
        "kernel": facts.kernel,
        "memory": facts.memory_mb,
        "container": facts.container,
        "cpu": facts.cpu,
        "board": facts.board,
        "cores": facts.affinity or facts.cores,
        "quota": facts.quota,
        "governor": facts.governor,
        "power mode": facts.power_mode,
        "clocks locked": facts.clocks_locked,
        "python": facts.python,
        "numpy": np.__version__,
    }
    return {name: str(value) for name, value in said.items()}
