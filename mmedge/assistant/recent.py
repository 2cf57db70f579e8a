"""The newest frames of a camera, by their time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from mmedge.assistant.sources import Frame, Source
from mmedge.errors import MmedgeError

KEPT = 12
SPACING_S = 0.1
LOOK_BACK_S = 0.5
"""Frames this much older than the newest one are no second look at the same scene."""
LOOKS = 4
"""How many frames are looked at together: averaging more adds little."""


class RecentFrames:
    """Keeps about a second of frames. The latest always wins; what nobody looked at is counted in ``dropped``.

    A device is read by a thread of its own, so that it never waits for the loop. A recording is read up to the moment asked for.
    """

    def __init__(self, source: Source[Frame]) -> None:
        self._source = source
        self._kept: deque[Frame] = deque()
        self._looked_at: set[float] = set()
        self._lock = threading.Lock()
        self._error: MmedgeError | None = None
        self.dropped = 0

    def __enter__(self) -> RecentFrames:
        self._source.__enter__()
        self._frames: Iterator[Frame] = iter(self._source)
        self._ahead: Frame | None = None
        if self._source.live:
            self._thread = threading.Thread(target=self._pump, name="mmedge-camera", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._source.__exit__(kind, error, trace)
        if self._source.live:
            self._thread.join(timeout=1.0)  # a read that hangs in the driver ends with the process

    def advance(self, time_s: float) -> None:
        """Read a recording up to a moment, little by little: at the end of speech there is no time for it."""
        if not self._source.live:
            self._read_until(time_s)

    def at(self, time_s: float) -> list[Frame]:
        """The newest frame at or before a moment, with up to three shortly before it, oldest first; the oldest there is where all came later; else none.

        Raises:
            MmedgeError: the camera failed.
        """
        self.advance(time_s)
        with self._lock:
            if self._error:
                raise self._error
            before = [frame for frame in self._kept if frame.captured_s <= time_s] or list(self._kept)[:1]
            seen = [frame for frame in before if before[-1].captured_s - frame.captured_s <= LOOK_BACK_S][-LOOKS:]
            self._looked_at.update(frame.captured_s for frame in seen)
            return seen

    def _read_until(self, time_s: float) -> None:
        while True:
            if self._ahead is None:
                self._ahead = next(self._frames, None)
            if self._ahead is None or (self._ahead.captured_s > time_s and self._kept):
                return
            self._add(self._ahead)
            self._ahead = None

    def _pump(self) -> None:
        try:
            for frame in self._frames:
                self._add(frame)
        except MmedgeError as error:
            with self._lock:
                self._error = error

    def _add(self, frame: Frame) -> None:
        with self._lock:
            if len(self._kept) >= 2 and frame.captured_s - self._kept[-2].captured_s < SPACING_S:
                self._drop(self._kept.pop())
            self._kept.append(frame)
            if len(self._kept) > KEPT:
                self._drop(self._kept.popleft())

    def _drop(self, frame: Frame) -> None:
        if frame.captured_s in self._looked_at:
            self._looked_at.discard(frame.captured_s)
        else:
            self.dropped += 1
