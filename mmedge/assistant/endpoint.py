"""When does somebody begin to speak, and when are they done? Probabilities in, utterances out; no clock, no model."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Endpointing:
    """The policy. Its waits are declared in every turn, apart from what is computed."""

    threshold: float = 0.5
    """A probability from here on is speech."""
    release: float = 0.35
    """One below this is silence; between the two, what was goes on."""
    pre_roll_s: float = 0.5
    """Sound kept from before the detector noticed: it is up to 0.15 s late, and soft beginnings count."""
    pause_s: float = 0.2
    """After so much silence the words may be worked out, on suspicion."""
    hangover_s: float = 0.5
    """After so much silence the utterance is over."""
    shortest_s: float = 0.16
    """Less speech than this is a click or a knock."""
    longest_s: float = 15.0
    """An utterance is cut off here, and what follows is passed over up to the next silence: a television would never let it end."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody said, with some sound before and after it."""

    samples: NDArray[np.float32]
    """[n] at the detector's rate."""
    speech_start_s: float
    speech_end_s: float
    """Times of the clock, by the detector's estimate."""


@dataclass(frozen=True, slots=True)
class Event:
    """``pause``: perhaps over. ``resume``: it was not. ``end``: over. ``noise``: over, and too short to be speech."""

    kind: Literal["pause", "resume", "end", "noise"]
    utterance: Utterance


class Endpointer:
    """Finds utterances in blocks of equal length."""

    def __init__(self, settings: Endpointing, block_samples: int, rate_hz: int) -> None:
        self._settings = settings
        self._block_s = block_samples / rate_hz
        self._before: deque[NDArray[np.float32]] = deque(maxlen=max(1, self._blocks(settings.pre_roll_s)))
        self._pause, self._hangover, self._longest = (self._blocks(s) for s in (settings.pause_s, settings.hangover_s, settings.longest_s))
        self.passed_over_samples = 0
        """Sound from the end of a longest utterance to the next silence."""
        self.reset()

    def reset(self) -> None:
        """Forget what was being said."""
        self._before.clear()
        self._sound: list[NDArray[np.float32]] = []
        self._spoken = self._silent = 0
        self._start_s = self._end_s = 0.0
        self._paused = self._overrun = False

    def push(self, block: NDArray[np.float32], probability: float, end_s: float) -> Event | None:
        """Take the next block, with the probability that it is speech and the time at which it ends."""
        if self._overrun:
            self._pass_over(block, probability)
            return None
        if not self._sound:
            if probability < self._settings.threshold:
                self._before.append(block)
                return None
            self._sound = list(self._before)
            self._start_s = end_s - self._block_s
        self._sound.append(block)
        resumed = self._count(probability, end_s)
        if resumed:
            return Event("resume", self._utterance())
        if self._silent >= self._hangover:
            return self._over()
        if len(self._sound) >= self._longest:
            event = self._over()
            self._overrun = True
            return event
        if self._silent == self._pause and not self._paused and self._is_speech():
            self._paused = True
            return Event("pause", self._utterance())
        return None

    def flush(self) -> Event | None:
        """The sound is over: what was being said is said."""
        return self._over() if self._sound else None

    def _count(self, probability: float, end_s: float) -> bool:
        """Keep account of speech and silence. True where speech goes on after a pause was announced."""
        if probability >= self._settings.threshold or (not self._silent and probability >= self._settings.release):
            self._spoken += 1
            self._silent = 0
            self._end_s = end_s
            resumed, self._paused = self._paused, False
            return resumed
        self._silent += 1
        return False

    def _over(self) -> Event:
        event = Event("end" if self._is_speech() else "noise", self._utterance())
        self.reset()
        return event

    def _pass_over(self, block: NDArray[np.float32], probability: float) -> None:
        self.passed_over_samples += len(block)
        self._silent = self._silent + 1 if probability < self._settings.release else 0
        if self._silent >= self._hangover:
            self.reset()

    def _utterance(self) -> Utterance:
        """With as much silence behind it as a pause has, whether it goes on or not: both are transcribed alike."""
        surplus = max(0, self._silent - self._pause)
        return Utterance(np.concatenate(self._sound[: len(self._sound) - surplus]), self._start_s, self._end_s)

    def _is_speech(self) -> bool:
        return self._spoken * self._block_s >= self._settings.shortest_s - 1e-6

    def _blocks(self, length_s: float) -> int:
        return max(1, math.ceil(length_s / self._block_s - 1e-9))
