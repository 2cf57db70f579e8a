"""A video file in the place of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmedge.assistant.clock import Clock
from mmedge.assistant.sources import Frame
from mmedge.errors import MmedgeError
from mmedge.need import need

SPACING_S = 0.1
"""Frames nearer to each other than this show the same: they are decoded, as they must, and passed over."""


class Video:
    """The frames of a video by the times it states.

    Raises:
        MmedgeError: the file is no video, or PyAV is missing.
    """

    live = False

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._av: Any = need("av", extra="assistant")
        with self._open() as container:
            try:
                next(container.decode(video=0))
            except (StopIteration, IndexError, self._av.error.FFmpegError) as error:
                raise self._no_video(error) from error

    def __enter__(self) -> Video:
        self._start_s = self._clock.now_s()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        last_s = float("-inf")
        with self._open() as container:
            try:
                for frame in container.decode(video=0):
                    shown_s = frame.time or 0.0
                    if shown_s - last_s >= SPACING_S:
                        last_s = shown_s
                        yield Frame(np.ascontiguousarray(frame.to_ndarray(format="rgb24")), self._start_s + shown_s)
            except self._av.error.FFmpegError as error:
                raise MmedgeError(f"{self._path} is damaged after {max(last_s, 0):.1f} s: {error}", "record or copy it again") from error

    def _open(self) -> Any:
        try:
            return self._av.open(str(self._path))
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._no_video(error) from error

    def _no_video(self, error: Exception) -> MmedgeError:
        why = getattr(error, "strerror", None) or "it holds no pictures"
        return MmedgeError(f"{self._path} is neither a picture nor a video that can be read: {why}", "name a picture such as .png, or a video such as .mp4")
