"""How far a build is, as NVIDIA's builder tells it, and the way to stop it."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

Progress = Callable[[str, float], None]
"""Takes the innermost phase of the build, and how much of the whole is done: 0 to 1, never less than before. The phases take unequal time."""

EVERY_S = 10.0
"""Between two lines where no terminal shows them."""


class Steps:
    """The phases of one build that are under way. The builder writes to it from threads of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, list[Any]] = {}  # name -> [the phase around it, steps done, steps in all], outermost first
        self._done = 0.0
        self._stopped = False

    def stop(self) -> None:
        """End the build at its next step."""
        self._stopped = True

    def now(self) -> tuple[str, float] | None:
        """As ``Progress`` takes it; None before the first phase."""
        with self._lock:
            if self._phases:
                self._done = max(self._done, self._of(next(iter(self._phases))))
            return (next(reversed(self._phases)), self._done) if self._phases else None

    def monitor(self, trt: Any) -> Any:
        """The ``IProgressMonitor`` to give to a builder's configuration. It must live as long as that."""
        methods = {
            "phase_start": lambda _, name, parent, steps: self._start(name, parent, steps),
            "step_complete": lambda _, name, step: self._step(name, step),
            "phase_finish": lambda _, name: self._finish(name),
        }
        return types.new_class("Monitor", (trt.IProgressMonitor,), exec_body=lambda body: body.update(methods))()

    def _start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = [parent, 0, steps]

    def _step(self, name: str, step: int) -> bool:
        with self._lock:
            if name in self._phases:
                self._phases[name][1] = step + 1
        return not self._stopped

    def _finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def _of(self, name: str) -> float:
        """How much of a phase is done; those inside it count as parts of its step."""
        _, done, steps = self._phases[name]
        inside = sum(self._of(other) for other, (parent, _, _) in self._phases.items() if parent == name)
        return min((done + min(inside, 1.0)) / steps, 1.0) if steps else 0.0


class Shown:
    """Progress on stderr: one line that is written over where that is a terminal, otherwise a line now and then."""

    def __init__(self, title: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._title, self._now_s = title, now_s
        self._last_s = now_s()
        self._width = 0

    def __call__(self, phase: str, done: float) -> None:
        text = f"{self._title}: {phase}, {done:.0%}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text.ljust(self._width)}")
            self._width = len(text)
        elif self._now_s() - self._last_s >= EVERY_S:
            self._last_s = self._now_s()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal's line empty."""
        if self._width:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
