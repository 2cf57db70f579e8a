"""What the loop is made of, and what it hands back at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mmedge.assistant.clock import Clock
from mmedge.assistant.endpoint import Endpointing
from mmedge.assistant.listener import Detector
from mmedge.assistant.sinks import Sink
from mmedge.assistant.sources import AudioChunk, Frame, Source
from mmedge.documents import Document
from mmedge.processors.audio import Sound
from mmedge.turn import Seen

DEFAULT = Endpointing()


class Ears(Protocol):
    def transcribe(self, sound: Sound) -> str: ...


class Voice(Protocol):
    rate_hz: int

    def stream(self, text: str) -> Iterator[NDArray[np.float32]]: ...


class View(Protocol):
    """What skills make of a few frames; more than this is between ``look`` and ``answer``."""

    @property
    def seen(self) -> Sequence[Seen]: ...


class Skills(Protocol):
    """What the assistant can answer."""

    def look(self, frames: Sequence[Frame]) -> View:
        """Make something of 1 to 4 frames of one scene, oldest first. May be done in vain: nothing is remembered yet."""
        ...

    def answer(self, heard: str, view: Any) -> str:
        """Words to say, beginning with a short sentence. ``view`` is what ``look`` gave, or None without a camera."""
        ...


class Summary(Document):
    """The end of a run (schema ``mmedge.run/1``)."""

    schema_: Literal["mmedge.run/1"] = Field(default="mmedge.run/1", alias="schema")
    heard_s: float
    """Length of the sound listened to."""
    turns: int
    unrecognised: int
    """Utterances in which no words were recognised; they were not answered."""
    noises: int
    """Sounds like speech, but too short to be any."""
    muted_s: float
    """Sound not listened to, because an answer was playing aloud."""
    lost: dict[str, int]
    """As in a turn, for the whole run."""
    ended: Literal["source", "stop"]
    """The sound ended, or somebody ended the run."""


@dataclass(frozen=True)
class Parts:
    """Everything the loop is made of. ``camera`` and ``voice`` may be missing."""

    detector: Detector
    ears: Ears
    skills: Skills
    microphone: Source[AudioChunk]
    sink: Sink
    clock: Clock
    camera: Source[Frame] | None = None
    voice: Voice | None = None
    endpointing: Endpointing = DEFAULT
