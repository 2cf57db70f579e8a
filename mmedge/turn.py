"""A turn: one question heard, seen and answered, timed from the end of speech."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedge.documents import Document


class Seen(Document):
    """One thing recognised in the picture."""

    label: str
    score: float
    """Probability, 0 to 1."""


class Marks(Document):
    """Milliseconds from the end of speech (0); null where the event did not happen or is not known."""

    speech_start: float | None = None
    speech_end: float = 0.0
    true_speech_end: float | None = None
    """Where the source knows it (synthesised or labelled sound)."""
    turn_end: float | None = None
    """The endpointer decided that the turn is over."""
    heard: float | None = None
    seen: float | None = None
    first_token: float | None = None
    first_audio: float | None = None
    done: float | None = None


class Span(Document):
    """One stage of a turn: what ran, when, for how long, and whether it was compute or a declared wait."""

    name: str
    start_ms: float
    duration_ms: float
    kind: Literal["model", "wait"] = "model"
    """``model`` or ``wait``; the rest of a turn is overhead of the loop."""


class Turn(Document):
    """The record of one turn (schema ``mmedge.turn/1``)."""

    schema_: Literal["mmedge.turn/1"] = Field(default="mmedge.turn/1", alias="schema")
    heard: str
    seen: list[Seen]
    said: str
    marks_ms: Marks
    spans: list[Span] = []
    lost: dict[str, int] = {}
    """What queues had to drop since the last turn: ``audio_samples``, ``frames``."""

    def overhead_ms(self) -> float | None:
        """From the end of speech to ``done``, what was neither model nor declared wait; None without ``done``. Spans may overlap."""
        if self.marks_ms.done is None:
            return None
        left_ms, reached_ms = 0.0, 0.0
        for span in sorted(self.spans, key=lambda span: span.start_ms):
            left_ms += max(0.0, min(span.start_ms, self.marks_ms.done) - reached_ms)
            reached_ms = max(reached_ms, span.start_ms + span.duration_ms)
        return left_ms + max(0.0, self.marks_ms.done - reached_ms)
