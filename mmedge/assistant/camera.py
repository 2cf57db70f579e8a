"""A camera: through OpenCV where it is installed, as boards' own builds of it know their cameras best, else through PyAV and Video4Linux."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmedge.assistant.clock import Clock
from mmedge.assistant.sources import Frame
from mmedge.errors import MmedgeError
from mmedge.need import have, need

WIDTH, HEIGHT = 640, 480
"""What is asked of the camera: models look at 224 to 448 pixels."""


class Camera:
    """Gives every frame that the camera delivers; who reads takes care to keep only the newest.

    Unproven on real devices by this project's tests: they open none.

    Args:
        what: a number, or a device such as ``/dev/video0``.

    Raises:
        MmedgeError: there is no such camera, or it cannot be opened, or neither OpenCV nor PyAV is installed.
    """

    live = True

    def __init__(self, what: str, clock: Clock, stop: threading.Event) -> None:
        self._clock, self._stop = clock, stop
        self._closed = threading.Event()
        self._device = f"/dev/video{what}" if what.isdecimal() else what
        if not Path(self._device).exists():
            found = sorted(glob.glob("/dev/video*"))
            raise MmedgeError(
                f"there is no camera {self._device}", f"use one of {', '.join(found)}" if found else "connect one, or name a picture, a video, or none"
            )
        self._frames = self._opencv() if have("cv2") else self._pyav()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def _opencv(self) -> Iterator[Frame]:
        cv2: Any = need("cv2", extra="assistant")
        capture = cv2.VideoCapture(self._device)
        if not capture.isOpened():
            raise self._refused("OpenCV gives no reason")
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, WIDTH)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT)

        def frames() -> Iterator[Frame]:
            try:
                while not self._over():
                    good, pixels = capture.read()
                    if not good:
                        raise self._lost()
                    yield Frame(np.ascontiguousarray(pixels[:, :, ::-1]), self._clock.now_s())
            finally:
                capture.release()

        return frames()

    def _pyav(self) -> Iterator[Frame]:
        av: Any = need("av", extra="assistant")
        try:
            container = av.open(self._device, format="v4l2", options={"video_size": f"{WIDTH}x{HEIGHT}"})
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._refused(str(error)) from error

        def frames() -> Iterator[Frame]:
            with container:
                try:
                    for frame in container.decode(video=0):
                        if self._over():
                            return
                        yield Frame(np.ascontiguousarray(frame.to_ndarray(format="rgb24")), self._clock.now_s())
                except av.error.FFmpegError as error:
                    raise self._lost() from error
            raise self._lost()

        return frames()

    def _over(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def _refused(self, reason: str) -> MmedgeError:
        return MmedgeError(f"the camera {self._device} cannot be opened: {reason}", "see that no other program uses it and that you may read it (group video)")

    def _lost(self) -> MmedgeError:
        return MmedgeError(f"the camera {self._device} stopped delivering pictures", "see that it is still connected, then run again")
