"""Silero VAD in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.families.vad import CHUNK, CONTEXT, RATE_HZ, STATE_SHAPE, Config
from mmedge.processors.audio import Sound, load_sound
from mmedge.processors.resample import resample
from mmedge.runner import Runner


class Stream:
    """One running sound. Each stream has its own state; streams of one session must not run at the same time."""

    rate_hz = RATE_HZ
    chunk_samples = CHUNK

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._state = np.zeros(STATE_SHAPE, np.float32)
        self._window = np.zeros((1, CONTEXT + CHUNK), np.float32)

    def __call__(self, chunk: NDArray[np.float32]) -> float:
        """The probability that the next chunk, float32 [512] at 16 kHz, holds speech."""
        self._window[0, :CONTEXT] = self._window[0, -CONTEXT:]
        self._window[0, CONTEXT:] = chunk
        outputs = self._runner.run({"input": self._window, "state": self._state})
        self._state[...] = outputs["stateN"]
        return float(outputs["output"][0, 0])


class Session:
    def __init__(self, runners: Mapping[str, Runner], assets: Mapping[str, Path], config: Config) -> None:
        self._runner = runners["vad"]

    def stream(self) -> Stream:
        """A detector for a sound that arrives in chunks."""
        return Stream(self._runner)

    def probabilities(self, sound: Sound) -> NDArray[np.float32]:
        """The probability of speech in each 32 ms of a whole sound, float32 [ceil(n / 512)]; the last chunk is filled up with silence.

        Args:
            sound: a path, or (samples, rate_hz); any rate.
        """
        samples, rate_hz = load_sound(sound)
        samples = resample(samples, rate_hz, RATE_HZ)
        samples = np.pad(samples, (0, -len(samples) % CHUNK))
        stream = self.stream()
        return np.asarray([stream(chunk) for chunk in samples.reshape(-1, CHUNK)], np.float32)
