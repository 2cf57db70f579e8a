"""What the loop hears and sees, wherever it comes from: records with the moment they were captured, and how the command line names their sources."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.clock import Clock
from mmedge.errors import MmedgeError

Record = TypeVar("Record", covariant=True)

SOUND_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aiff", ".aif", ".webm", ".mp4", ".mkv"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A piece of sound."""

    samples: NDArray[np.float32]
    """[n], one channel, full scale 1.0."""
    rate_hz: int
    end_s: float
    """When its last sample was captured."""
    lost_samples: int = 0
    """How many samples right before it were lost."""
    true_speech_ends_s: tuple[float, ...] = ()
    """When speech really ended, for those ends that lie in this chunk and are known to the source."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture."""

    pixels: NDArray[np.uint8]
    """[height, width, 3] RGB."""
    captured_s: float


class Source(Protocol[Record]):
    """Gives records in the order of their capture, none before its moment has come. Ends with the recording, or soon after its stop event."""

    live: bool
    """True for a device, which goes on whether anybody reads or not."""

    def __enter__(self) -> Source[Record]: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def __iter__(self) -> Iterator[Record]: ...


def is_sound_file(what: str) -> bool:
    """Whether ``--mic`` names a file, which may be missing, rather than a device."""
    return Path(what).exists() or "/" in what or Path(what).suffix.lower() in SOUND_SUFFIXES


def is_picture_file(what: str) -> bool:
    """Whether ``--camera`` names pictures on disk, which may be missing, rather than a device."""
    return not (what.isdecimal() or what.startswith("/dev/"))


def open_microphone(what: str, clock: Clock, stop: threading.Event) -> Source[AudioChunk]:
    """A sound file, ``default``, or part of a microphone's name.

    Raises:
        MmedgeError: no such file, no sound in it, or no such microphone.
    """
    if is_sound_file(what):
        from mmedge.assistant.sound_file import SoundFile

        return SoundFile(what, clock, stop)
    from mmedge.assistant.microphone import Microphone

    return Microphone(what, clock, stop)


def open_camera(what: str, clock: Clock, stop: threading.Event) -> Source[Frame] | None:
    """A picture, a folder of pictures, a video, a camera (``0``, ``/dev/video0``), or ``none``.

    Raises:
        MmedgeError: no such file, no picture in it, an empty folder, or no such camera.
    """
    if what == "none":
        return None
    if not is_picture_file(what):
        from mmedge.assistant.camera import Camera

        return Camera(what, clock, stop)
    path = Path(what)
    if not path.exists():
        raise MmedgeError(f"there is no file or folder {what}", "name a picture, a folder of pictures, a video, a camera such as 0, or none")
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        from mmedge.assistant.pictures import Pictures

        return Pictures(path, clock)
    from mmedge.assistant.video import Video

    return Video(path, clock)
