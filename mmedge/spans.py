"""Where the time of a call goes: code marks what it is doing, and whoever profiles listens. Costs nothing worth measuring while nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from mmedge.runner import Carried, Runner
from mmedge.tensors import Array, Feeds

P = ParamSpec("P")
R = TypeVar("R")


class Recording:
    """Seconds by the name of a span. A span inside another is taken out of the outer one: the sums never count a moment twice."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.seconds: dict[str, float] = {}
        self._inner_s = [0.0]

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        from_s = self._now_s()
        self._inner_s.append(0.0)
        try:
            yield
        finally:
            took_s = self._now_s() - from_s
            self.seconds[name] = self.seconds.get(name, 0.0) + took_s - self._inner_s.pop()
            self._inner_s[-1] += took_s


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def recording(now_s: Callable[[], float] = time.perf_counter) -> Iterator[Recording]:
    """Listen to the spans of this thread."""
    made = Recording(now_s)
    before = _recording.set(made)
    try:
        yield made
    finally:
        _recording.reset(before)


def timed(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as a span, for whoever listens."""

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            listener = _recording.get()
            if listener is None:
                return function(*args, **kwargs)
            with listener.span(name):
                return function(*args, **kwargs)

        return marked

    return mark


class Watched:
    """A runner whose runs are spans."""

    def __init__(self, name: str, runner: Runner) -> None:
        self._name, self._runner = name, runner
        self.inputs, self.outputs, self.reuses_outputs = runner.inputs, runner.outputs, runner.reuses_outputs
        self.run: Callable[[Feeds], dict[str, Array]] = timed(name)(runner.run)

    def carry(self, pairs: Mapping[str, str], start: Feeds) -> Carried:
        return _WatchedCarry(self._name, timed(self._name)(self._runner.carry)(pairs, start))

    def executed(self) -> dict[str, str]:
        return self._runner.executed()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Whoever opened the runner closes it."""


class _WatchedCarry:
    def __init__(self, name: str, carried: Carried) -> None:
        self.run: Callable[[Feeds], dict[str, Array]] = timed(name)(carried.run)
