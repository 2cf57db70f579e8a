"""A loudspeaker, through PortAudio."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from mmedge.assistant.clock import Clock
from mmedge.assistant.portaudio import portaudio
from mmedge.assistant.sinks import Samples
from mmedge.errors import MmedgeError
from mmedge.processors.resample import resample


class Loudspeaker:
    """Plays through PortAudio at the device's own rate, without blocking the loop. Unproven on real devices by this project's tests: they open none.

    Raises:
        MmedgeError: sounddevice is missing, there is no such loudspeaker, or it cannot be opened.
    """

    aloud = True

    def __init__(self, name: str, clock: Clock) -> None:
        sd = portaudio()
        self._clock = clock
        device = None if name == "default" else name
        fix = "name a WAV file to write, none, or one of the loudspeakers that python -m sounddevice lists"
        try:
            info = sd.query_devices(device, "output")
        except (ValueError, sd.PortAudioError) as error:
            raise MmedgeError("there is no loudspeaker" if device is None else f"there is no loudspeaker called {name!r}", fix) from error
        self._rate_hz = int(info["default_samplerate"])
        self._lock = threading.Lock()
        self._queue: list[Samples] = []
        self._until_s = 0.0
        try:
            self._stream = sd.OutputStream(samplerate=self._rate_hz, device=device, channels=1, dtype="float32", callback=self._on_block)
        except sd.PortAudioError as error:
            raise MmedgeError(f"the loudspeaker {info['name']} cannot be opened: {error}", fix) from error

    def __enter__(self) -> Loudspeaker:
        self._stream.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def play(self, samples: Samples, rate_hz: int) -> float:
        ready = resample(samples, rate_hz, self._rate_hz)
        with self._lock:
            self._queue.append(ready)
        self._until_s = max(self._until_s, self._clock.now_s() + self._stream.latency) + len(ready) / self._rate_hz
        return self._until_s

    def finish(self) -> None:
        pass

    def _on_block(self, block: Any, frames: int, time: Any, status: Any) -> None:
        filled = 0
        with self._lock:
            while self._queue and filled < frames:
                piece = self._queue[0][: frames - filled]
                block[filled : filled + len(piece), 0] = piece
                filled += len(piece)
                if len(piece) == len(self._queue[0]):
                    self._queue.pop(0)
                else:
                    self._queue[0] = self._queue[0][len(piece) :]
        block[filled:, 0] = 0
