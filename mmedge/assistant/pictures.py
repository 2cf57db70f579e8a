"""A picture, or a folder of them, in the place of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mmedge.assistant.clock import Clock
from mmedge.assistant.sources import PICTURE_SUFFIXES, Frame
from mmedge.errors import MmedgeError
from mmedge.processors.image import load_image

SHOWN_S = 1.0
"""How long each picture of a folder is in front of the camera; the last one stays."""


class Pictures:
    """Pictures in the order of their names.

    Raises:
        MmedgeError: the folder holds none, or one of them cannot be read.
    """

    live = False

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES and entry.is_file()) if path.is_dir() else [path]
        if not self._paths:
            raise MmedgeError(f"{path} holds no pictures", "name a folder with files such as .png or .jpg")
        self._first = load_image(self._paths[0])

    def __enter__(self) -> Pictures:
        self._start_s = self._clock.now_s()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            yield Frame(load_image(path) if index else self._first, self._start_s + index * SHOWN_S)
