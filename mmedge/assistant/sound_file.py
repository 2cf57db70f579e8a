"""A recording in the place of a microphone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

from mmedge.assistant.clock import Clock
from mmedge.assistant.sources import AudioChunk
from mmedge.processors.audio import Sound, load_sound

CHUNK_S = 0.032
"""As a microphone delivers it, and what the voice activity detector takes at once."""


class SoundFile:
    """Plays a sound at the pace of the clock.

    Args:
        sound: a file of any format, rate and number of channels; or samples with their rate.
        true_speech_ends_s: where in the recording speech ends, for those who know: latency can then be counted from there.

    Raises:
        MmedgeError: no such file, or not a sound.
    """

    live = False

    def __init__(self, sound: Sound, clock: Clock, stop: threading.Event, *, chunk_s: float = CHUNK_S, true_speech_ends_s: Sequence[float] = ()) -> None:
        self._samples, self._rate_hz = load_sound(sound)
        self._clock, self._stop = clock, stop
        self._step = max(1, round(chunk_s * self._rate_hz))
        self._ends_s = tuple(true_speech_ends_s)

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[AudioChunk]:
        start_s = self._clock.now_s()
        for begin in range(0, len(self._samples), self._step):
            samples = self._samples[begin : begin + self._step]
            from_s, to_s = begin / self._rate_hz, (begin + len(samples)) / self._rate_hz
            self._clock.wait_until(start_s + to_s, self._stop)
            if self._stop.is_set():
                return
            yield AudioChunk(samples, self._rate_hz, start_s + to_s, 0, tuple(start_s + end_s for end_s in self._ends_s if from_s < end_s <= to_s))
