"""One sample of a data set: its columns, with pictures and sounds that are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled
from mmedge.processors.audio import Samples, load_sound
from mmedge.processors.image import load_image

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aiff", ".aif"}
MEDIA = PICTURES | SOUNDS


class Unreadable(MmedgeError):
    """A picture or a sound of one sample cannot be decoded: those who go through many samples count these, see ``Tally``."""


@dataclass(frozen=True)
class Medium:
    """A picture or a sound that has not been decoded."""

    name: str
    """As the data set calls it."""
    content: Path | bytes
    """A file, or a file's bytes. Verbs take either."""
    size_bytes: int | None
    """None: there is no such file."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    ``fields`` has the columns that this sample has, by their standard names (``mmedge.evaluate.columns``): ``image`` and ``audio`` are each a ``Medium``,
    ``text`` and ``answers`` lists of strings, ``label``, ``question``, ``transcript`` and ``split`` strings; all others are as they were found.
    """

    key: str
    """Unique in its data set."""
    fields: Mapping[str, Any]

    def picture(self, column: str = "image") -> Image.Image:
        """Decode a picture: RGB, turned as its EXIF orientation says.

        Raises:
            Unreadable: the file is missing, damaged or no picture.
        """
        medium = self._there(column)
        try:
            return Image.fromarray(load_image(medium.content))
        except MmedgeError as error:
            raise _unreadable(medium, error, "the picture") from error

    def sound(self, column: str = "audio") -> tuple[Samples, int]:
        """Decode a sound: (float32 mono [n], full scale 1.0; rate in Hz), as verbs take it.

        Raises:
            Unreadable: the file is missing, damaged, empty or no sound.
            NotInstalled: it is no WAV file, and PyAV is missing.
        """
        medium = self._there(column)
        try:
            samples, rate_hz = load_sound(medium.content)
            if not len(samples):
                raise MmedgeError("the sound lasts no time", "record it again")
        except NotInstalled:
            raise
        except MmedgeError as error:
            raise _unreadable(medium, error, "the sound") from error
        return samples, rate_hz

    def _there(self, column: str) -> Medium:
        """A pipe, for one, would be waited for without an end."""
        medium: Medium = self.fields[column]
        if medium.size_bytes is None:
            raise Unreadable(f"{medium.name} is not there, or no plain file", "correct its name, or put it there")
        return medium


def _unreadable(medium: Medium, error: MmedgeError, called: str) -> Unreadable:
    """Said of the medium by its name in the data set."""
    called = called if isinstance(medium.content, bytes) else str(medium.content)
    said = error.what.replace(called, medium.name)
    return Unreadable(said if medium.name in said else f"{medium.name}: {said}", error.fix)


@dataclass
class Tally:
    """Counts the samples that cannot be read, and decides whether to go on.

    Args:
        name: of the data.
        total: samples that there are.
        limit: the share of them that may be unreadable.
    """

    name: str
    total: int
    limit: float
    count: int = 0
    said: tuple[str, ...] = ()
    """What was wrong with the first ones."""

    def add(self, error: Unreadable) -> None:
        """One more. Raises MmedgeError: that makes too many."""
        self.count += 1
        self.said = (*self.said, error.what)[:NAMED]
        self.hold(error.fix)

    def hold(self, fix: str) -> None:
        """Raises MmedgeError: there are too many."""
        if self.count > self.limit * self.total:
            raise MmedgeError(
                f"{self.count} of the {self.total} samples of {self.name} cannot be read, and {100 * self.limit:g}% may be: {'; '.join(self.said)}",
                f"{fix}; or allow more: --max-unreadable {min(1.0, max(0.05, 2 * self.count / self.total)):.2g}",
            )


NAMED = 5
"""So many unreadable samples are named."""
