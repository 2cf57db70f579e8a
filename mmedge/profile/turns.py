"""Many turns in a few figures: when things happened after the end of speech, and what took the time."""

from __future__ import annotations

from collections.abc import Sequence

from mmedge.profile.protocol import summarise
from mmedge.profile.report import Row
from mmedge.turn import Turn

MARKS = {
    "turn_end": "end of speech -> end of turn",
    "heard": "end of speech -> transcript",
    "seen": "end of speech -> recognised",
    "first_token": "end of speech -> answer",
    "first_audio": "end of speech -> first audio",
    "done": "end of speech -> done",
}


def turn_rows(turns: Sequence[Turn]) -> list[Row]:
    """Rows of level ``turn`` (marks) and ``stage`` (spans by name, and what no span explains)."""
    rows: list[Row] = []
    for mark, name in MARKS.items():
        reached = [value for turn in turns if (value := getattr(turn.marks_ms, mark)) is not None]
        if reached:
            rows.append(Row(level="turn", name=name, where="whole turn", latency=summarise(reached)))
    for name in dict.fromkeys(span.name for turn in turns for span in turn.spans):
        taken = [sum(span.duration_ms for span in turn.spans if span.name == name) for turn in turns if any(span.name == name for span in turn.spans)]
        kind = next(span.kind for turn in turns for span in turn.spans if span.name == name)
        rows.append(Row(level="stage", name=name, where=kind, latency=summarise(taken)))
    if overheads := [value for turn in turns if (value := turn.overhead_ms()) is not None]:
        rows.append(Row(level="stage", name="overhead", where="neither model nor wait", latency=summarise(overheads)))
    return rows
