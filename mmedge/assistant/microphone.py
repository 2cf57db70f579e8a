"""A microphone, through PortAudio."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.clock import Clock
from mmedge.assistant.portaudio import portaudio
from mmedge.assistant.sources import AudioChunk
from mmedge.errors import MmedgeError

BLOCK_S = 0.032
BACKLOG_S = 10.0
"""How much sound may wait while an answer is worked out. Beyond it the oldest is lost, and counted."""
SILENT_AFTER_S = 3.0
"""A device that delivers nothing for so long is gone."""
STEADY = 0.002
"""How fast the time of a sample follows its arrival: blocks arrive in bursts, the device's clock drifts by parts in a thousand at most."""


class Backlog:
    """Between a device's callback, which only copies and leaves, and the loop. Bounded; every loss is counted."""

    def __init__(self, rate_hz: int, clock: Clock) -> None:
        self._rate_hz, self._clock = rate_hz, clock
        self._blocks: deque[AudioChunk] = deque()
        self._waiting = 0
        self._ready = threading.Condition()
        self._lost = 0
        self._end_s: float | None = None

    def put(self, samples: NDArray[np.float32], missed: bool) -> None:
        """Called for every block. ``missed``: the driver dropped an unknown number of samples before it; counted as one block."""
        arrived_s, length_s = self._clock.now_s(), len(samples) / self._rate_hz
        with self._ready:
            if missed:
                self._lost += len(samples)
            self._end_s = arrived_s if self._end_s is None or missed else self._end_s + length_s
            late_s = arrived_s - self._end_s
            self._end_s += late_s * STEADY if 0 <= late_s < 0.2 else late_s
            self._blocks.append(AudioChunk(samples, self._rate_hz, self._end_s, self._lost))
            self._lost = 0
            self._waiting += len(samples)
            while self._waiting > BACKLOG_S * self._rate_hz:
                oldest = self._blocks.popleft()
                self._waiting -= len(oldest.samples)
                first = self._blocks[0]
                self._blocks[0] = AudioChunk(first.samples, first.rate_hz, first.end_s, first.lost_samples + oldest.lost_samples + len(oldest.samples))
            self._ready.notify()

    def get(self, timeout_s: float) -> AudioChunk | None:
        """The oldest block, or None after the timeout."""
        with self._ready:
            if not self._blocks:
                self._ready.wait(timeout_s)
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._waiting -= len(block.samples)
            return block


class Microphone:
    """Records one channel at the device's own rate. Unproven on real devices by this project's tests: they open none.

    Raises:
        MmedgeError: sounddevice is missing, there is no such microphone, or it cannot be opened.
    """

    live = True

    def __init__(self, name: str, clock: Clock, stop: threading.Event) -> None:
        self._sd = portaudio()
        self._stop = stop
        device = None if name == "default" else name
        fix = "name a sound file, or one of the microphones that python -m sounddevice lists"
        try:
            info = self._sd.query_devices(device, "input")
        except (ValueError, self._sd.PortAudioError) as error:
            raise MmedgeError("there is no microphone" if device is None else f"there is no microphone called {name!r}", fix) from error
        self._name = str(info["name"])
        rate_hz = int(info["default_samplerate"])
        self._backlog = Backlog(rate_hz, clock)
        try:
            self._stream = self._sd.InputStream(
                samplerate=rate_hz, blocksize=round(BLOCK_S * rate_hz), device=device, channels=1, dtype="float32", callback=self._on_block
            )
        except self._sd.PortAudioError as error:
            raise MmedgeError(f"the microphone {self._name} cannot be opened: {error}", fix) from error

    def _on_block(self, samples: Any, frames: int, time: Any, status: Any) -> None:
        self._backlog.put(samples[:, 0].copy(), bool(status.input_overflow))

    def __enter__(self) -> Microphone:
        self._stream.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[AudioChunk]:
        silent_s = 0.0
        while not self._stop.is_set():
            chunk = self._backlog.get(timeout_s=0.1)
            if chunk is not None:
                silent_s = 0.0
                yield chunk
            elif (silent_s := silent_s + 0.1) >= SILENT_AFTER_S:
                raise MmedgeError(f"the microphone {self._name} stopped delivering sound", "see that it is still connected, then run again")
