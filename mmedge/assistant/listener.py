"""From chunks of any rate to events of speech: resample, cut into the detector's blocks, ask it, find the ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.endpoint import Endpointer, Endpointing, Event
from mmedge.assistant.sources import AudioChunk
from mmedge.processors.resample import Resampler


class Detector(Protocol):
    """What the ``vad`` session's ``stream()`` gives."""

    rate_hz: int
    chunk_samples: int

    def reset(self) -> None: ...
    def __call__(self, chunk: NDArray[np.float32]) -> float: ...


class Listener:
    """Finds the utterances of one running sound. How it was cut into chunks makes no difference to what is found."""

    def __init__(self, detector: Detector, endpointing: Endpointing) -> None:
        self._detector = detector
        self._endpointer = Endpointer(endpointing, detector.chunk_samples, detector.rate_hz)
        self._resampler: Resampler | None = None
        self._from_hz = 0
        self._rest = np.zeros(0, np.float32)
        self._end_s = 0.0

    @property
    def passed_over_samples(self) -> int:
        """Sound from the end of a longest utterance to the next silence, in samples at the detector's rate."""
        return self._endpointer.passed_over_samples

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        """Events of a chunk, in order."""
        if self._resampler is None or chunk.rate_hz != self._from_hz:
            self._resampler, self._from_hz = Resampler(chunk.rate_hz, self._detector.rate_hz), chunk.rate_hz
        delay_s = self._resampler.delay_samples / chunk.rate_hz if chunk.rate_hz != self._detector.rate_hz else 0.0
        self._end_s = chunk.end_s - delay_s
        yield from self._blocks(self._resampler.push(chunk.samples))

    def flush(self) -> Iterator[Event]:
        """Events of the end of the sound; the last block is filled up with silence."""
        if self._resampler is not None:
            last = self._resampler.flush()
            self._end_s += len(last) / self._detector.rate_hz
            missing = -(len(self._rest) + len(last)) % self._detector.chunk_samples
            self._end_s += missing / self._detector.rate_hz
            yield from self._blocks(np.pad(last, (0, missing)))
        event = self._endpointer.flush()
        if event is not None:
            yield event

    def reset(self) -> None:
        """Forget what was heard: it was not meant for us, or there is a hole in it."""
        self._detector.reset()
        self._endpointer.reset()
        self._rest = self._rest[:0]
        self._resampler = None

    def _blocks(self, samples: NDArray[np.float32]) -> Iterator[Event]:
        self._rest = np.concatenate([self._rest, samples])
        size = self._detector.chunk_samples
        while len(self._rest) >= size:
            block, self._rest = self._rest[:size], self._rest[size:]
            event = self._endpointer.push(block, self._detector(block), self._end_s - len(self._rest) / self._detector.rate_hz)
            if event is not None:
                yield event
