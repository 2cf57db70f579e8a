"""Time as the loop knows it: of the day, or of a recording that is played faster than it was made."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and waiting for a moment of them."""

    def now_s(self) -> float: ...

    def wait_until(self, time_s: float, stop: threading.Event) -> None:
        """Return at ``time_s``, or as soon as ``stop`` is set."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait_until(self, time_s: float, stop: threading.Event) -> None:
        while (left_s := time_s - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(left_s)


class ReplayClock:
    """Runs with the machine's, and jumps over every wait.

    Computation takes as long as it takes, so the moments of a replayed recording, relative to each other, are those of a run in real time.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now_s(self) -> float:
        return time.monotonic() + self._ahead_s

    def wait_until(self, time_s: float, stop: threading.Event) -> None:
        self._ahead_s += max(0.0, time_s - self.now_s())
