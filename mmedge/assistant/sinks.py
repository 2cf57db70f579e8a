"""Where answers are spoken to."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.clock import Clock
from mmedge.assistant.sources import SOUND_SUFFIXES
from mmedge.documents import disk_error
from mmedge.errors import MmedgeError

Samples = NDArray[np.float32]

GAP_S = 0.5
"""Silence between two answers in one file."""


class Sink(Protocol):
    """Takes an answer piece by piece."""

    aloud: bool
    """True where a microphone might hear it: nothing is listened to while it plays."""

    def __enter__(self) -> Sink: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def play(self, samples: Samples, rate_hz: int) -> float:
        """Take the next piece, float32 [n]. Returns when, on the clock, its last sample will have been heard."""
        ...

    def finish(self) -> None:
        """The answer is complete."""
        ...


class Nowhere:
    """Takes everything and plays nothing."""

    aloud = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __enter__(self) -> Nowhere:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def play(self, samples: Samples, rate_hz: int) -> float:
        return self._clock.now_s()

    def finish(self) -> None:
        pass


class WavFile:
    """One 16-bit WAV with all answers, one after another, half a second apart. It is whole after every answer, and is not touched before the first.

    Raises:
        MmedgeError: the file cannot be written.
    """

    aloud = False

    def __init__(self, path: str | os.PathLike[str], clock: Clock) -> None:
        self._path, self._clock = Path(path), clock
        self._file: BinaryIO | None = None
        self._rate_hz = self._written = self._gap = 0
        if self._path.is_dir() or not os.access(self._path if self._path.exists() else self._path.absolute().parent, os.W_OK):
            raise MmedgeError(f"{path} cannot be written", "name a WAV file in a folder that exists and that you may write to")

    def __enter__(self) -> WavFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def play(self, samples: Samples, rate_hz: int) -> float:
        pcm = bytes(2 * self._gap) + np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        self._rate_hz, self._gap, self._written = rate_hz, 0, self._written + len(pcm)
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + self._written, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", self._written)
        try:
            if self._file is None:
                self._file = open(self._path, "wb")  # noqa: SIM115  (for as long as the run lasts)
            self._file.seek(0)
            self._file.write(head)
            self._file.seek(0, os.SEEK_END)
            self._file.write(pcm)
            self._file.flush()
        except OSError as error:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()  # it tries once more to write what it could not
            raise disk_error(self._path, error) from error
        return self._clock.now_s()

    def finish(self) -> None:
        self._gap = round(GAP_S * self._rate_hz)


def is_wav_file(what: str) -> bool:
    """Whether ``--speaker`` names a file rather than a device."""
    return "/" in what or Path(what).suffix.lower() in SOUND_SUFFIXES


def open_speaker(what: str, clock: Clock) -> Sink:
    """A WAV file to write, ``default``, part of a loudspeaker's name, or ``none``.

    Raises:
        MmedgeError: the file cannot be written, or there is no such loudspeaker.
    """
    if what == "none":
        return Nowhere(clock)
    if is_wav_file(what):
        if Path(what).suffix.lower() in SOUND_SUFFIXES - {".wav"}:
            raise MmedgeError(f"{what} cannot be written: answers are written as WAV", "give it a name that ends in .wav")
        return WavFile(what, clock)
    from mmedge.assistant.loudspeaker import Loudspeaker

    return Loudspeaker(what, clock)
