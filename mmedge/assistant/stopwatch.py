"""What a turn spent its time on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mmedge.assistant.clock import Clock
from mmedge.turn import Span

Kind = Literal["model", "wait"]


KEPT = 64
"""Spans of other turns that may reach into this one: bounded."""


class Stopwatch:
    """Collects spans in the clock's seconds; a turn holds them in milliseconds from the end of speech."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: deque[tuple[str, float, float, Kind]] = deque(maxlen=KEPT)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a computation."""
        from_s = self._clock.now_s()
        yield
        self.computed(name, from_s)

    def computed(self, name: str, from_s: float) -> None:
        """Note a computation that ends now."""
        self._taken.append((name, from_s, self._clock.now_s(), "model"))

    def catching_up(self, name: str, from_s: float) -> None:
        """Note one of many short computations in a row as the continuation of the one before: together they count for exactly as long as they took."""
        length_s = self._clock.now_s() - from_s
        if not length_s:
            return
        if self._taken and self._taken[-1][0] == name:
            first_s, reached_s = self._taken[-1][1:3]
            self._taken[-1] = (name, first_s, reached_s + length_s, "model")
        else:
            self._taken.append((name, from_s, from_s + length_s, "model"))

    def waited(self, name: str, from_s: float, to_s: float) -> None:
        """Note a wait that is policy, not work."""
        if to_s > from_s:
            self._taken.append((name, from_s, to_s, "wait"))

    def note(self, why: str) -> None:
        """Say of all spans so far that they belong to something else: they may still have kept this turn waiting."""
        self._taken = deque(((name if "(" in name else f"{name} ({why})", from_s, to_s, kind) for name, from_s, to_s, kind in self._taken), maxlen=KEPT)

    def spans(self, zero_s: float) -> list[Span]:
        """What was not over before ``zero_s``, in the order of beginning."""
        return [
            Span(name=name, start_ms=ms(from_s - zero_s), duration_ms=ms(to_s - from_s), kind=kind)
            for name, from_s, to_s, kind in sorted(self._taken, key=lambda span: span[1])
            if to_s > zero_s
        ]


def ms(seconds: float) -> float:
    """To milliseconds, by the microsecond."""
    return round(seconds * 1e3, 3)
