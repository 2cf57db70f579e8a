"""A stage for the loop: time that moves only when somebody waits or computes, and actors with a script."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmedge.assistant.endpoint import Endpointing
from mmedge.assistant.loop import converse
from mmedge.assistant.parts import Parts, Summary
from mmedge.assistant.sources import AudioChunk, Frame
from mmedge.processors.wav import write_wav
from mmedge.turn import Seen, Turn

RATE_HZ = 16_000


class Clock:
    """Stands still unless somebody waits or works."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_s(self) -> float:
        return self.at_s

    def wait_until(self, time_s: float, stop: threading.Event) -> None:
        self.at_s = max(self.at_s, time_s)

    def work(self, length_s: float) -> None:
        self.at_s += length_s


class Detector:
    """Loud is speech."""

    rate_hz = RATE_HZ
    chunk_samples = 512

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, chunk: np.ndarray) -> float:
        assert chunk.shape == (512,) and chunk.dtype == np.float32
        return 0.95 if np.sqrt((chunk**2).mean()) > 0.1 else 0.02


class Ears:
    """Hears its script, one entry a call."""

    def __init__(self, clock: Clock, script: Iterable[str], cost_s: float) -> None:
        self._clock, self._script, self._cost_s = clock, iter(script), cost_s
        self.sounds: list[np.ndarray] = []

    def transcribe(self, sound: tuple[np.ndarray, int]) -> str:
        assert sound[1] == RATE_HZ
        self._clock.work(self._cost_s)
        self.sounds.append(sound[0])
        return next(self._script)


class Skills:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.looked: list[Sequence[Frame]] = []

    def look(self, frames: Sequence[Frame]) -> Any:
        self._clock.work(0.03)
        self.looked.append(frames)
        return SimpleNamespace(seen=[Seen(label="brightness", score=float(np.mean([frame.pixels.mean() for frame in frames])) / 255)])

    def answer(self, heard: str, view: Any) -> str:
        self._clock.work(0.002)
        return f"You said {heard}. I see {'nothing' if view is None else view.seen[0].label}."


class Voice:
    """A tenth of a second of compute and half a second of sound a sentence."""

    rate_hz = 22_050

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def stream(self, text: str) -> Iterable[np.ndarray]:
        for _ in text.strip(".").split(". "):
            self._clock.work(0.1)
            yield np.full(11_025, 0.25, np.float32)


class Speaker:
    def __init__(self, clock: Clock, aloud: bool) -> None:
        self._clock, self.aloud = clock, aloud
        self.pieces: list[tuple[float, int]] = []
        self.answers = 0
        self._until_s = 0.0

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def play(self, samples: np.ndarray, rate_hz: int) -> float:
        self.pieces.append((self._clock.now_s(), len(samples)))
        self._until_s = max(self._until_s, self._clock.now_s()) + len(samples) / rate_hz
        return self._until_s if self.aloud else self._clock.now_s()

    def finish(self) -> None:
        self.answers += 1


class Records:
    """A source of given records, each at its moment."""

    def __init__(self, records: Iterable[Any], clock: Clock, live: bool = False) -> None:
        self._records, self._clock, self.live = records, clock, live

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Any:
        for record in self._records:
            if isinstance(record, AudioChunk):
                self._clock.wait_until(record.end_s, threading.Event())
            yield record


class Stage:
    def __init__(self, tmp_path: Any) -> None:
        self.clock = Clock()
        self.stop = threading.Event()
        self.detector = Detector()
        self.ears = Ears(self.clock, iter(lambda: "hello", None), 0.1)
        self.skills = Skills(self.clock)
        self.voice: Voice | None = Voice(self.clock)
        self.speaker = Speaker(self.clock, aloud=False)
        self.endpointing = Endpointing()
        self.turns: list[Turn] = []
        self._tmp_path = tmp_path

    def hears(self, *script: str, cost_s: float = 0.1) -> None:
        self.ears = Ears(self.clock, script, cost_s)

    def sound(self, *parts: float, rate_hz: int = RATE_HZ) -> np.ndarray:
        """Seconds of silence and of speech (a tone), by turns, silence first."""
        pieces = []
        for index, length_s in enumerate(parts):
            at = np.arange(round(length_s * rate_hz)) / rate_hz
            pieces.append(0.4 * np.sin(2 * np.pi * 220 * at) if index % 2 else np.zeros(len(at)))
        return np.concatenate(pieces).astype(np.float32)

    def file(self, samples: np.ndarray, rate_hz: int = RATE_HZ) -> Any:
        path = self._tmp_path / f"sound{len(list(self._tmp_path.iterdir()))}.wav"
        write_wav(path, samples, rate_hz)
        return path

    def records(self, records: Iterable[Any], live: bool = False) -> Records:
        return Records(records, self.clock, live)

    def run(self, microphone: Any, camera: Any = None) -> Summary:
        parts = Parts(self.detector, self.ears, self.skills, microphone, self.speaker, self.clock, camera, self.voice, self.endpointing)  # type: ignore[arg-type]
        return converse(parts, self.turns.append, self.stop)


@pytest.fixture
def stage(tmp_path: Any) -> Stage:
    return Stage(tmp_path)
