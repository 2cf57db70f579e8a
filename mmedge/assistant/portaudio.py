"""Microphones and loudspeakers: the package sounddevice, and the library under it."""

from __future__ import annotations

from typing import Any

from mmedge.errors import MmedgeError
from mmedge.need import NotInstalled, need


def portaudio() -> Any:
    """The module sounddevice.

    Raises:
        NotInstalled: the package is missing. MmedgeError: its wheel for Linux found no PortAudio on this machine.
    """
    try:
        return need("sounddevice", extra="assistant")
    except NotInstalled:
        raise
    except MmedgeError as error:
        raise MmedgeError(f"this machine cannot use sound devices: {error.__cause__}", "apt install libportaudio2, or name sound files instead") from error
