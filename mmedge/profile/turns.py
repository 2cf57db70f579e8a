"""Many turns in a few figures: when things happened after the end of speech, and what took the time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from mmedge.profile.estimates import summarise
from mmedge.profile.machine import Conditions
from mmedge.profile.measure import breakdown
from mmedge.profile.report import Breakdown, Level, Row, Samples
from mmedge.profile.verdict import judge
from mmedge.turn import Turn

MARKS = {
    "turn_end": "end of speech -> end of turn",
    "heard": "end of speech -> transcript",
    "seen": "end of speech -> recognised",
    "first_token": "end of speech -> answer",
    "first_audio": "end of speech -> first audio",
    "done": "end of speech -> done",
}


def turn_rows(turns: Sequence[Turn], conditions: Conditions | None = None, *, cores: float | None = None, available: float | None = None) -> list[Row]:
    """Rows of level ``turn`` (marks) and ``stage`` (spans by name, and what no span explains).

    Args:
        cores: what the turns themselves used; ``available``: those that there are, as in ``judge``. A wait uses none: it is judged by its own times.
    """

    def row(level: Level, name: str, where: str, values_ms: list[float], stages: Breakdown | None = None) -> Row:
        samples = Samples(latency_ms=tuple(values_ms))
        verdict = judge(samples, None if where == "wait" else conditions, cores=cores, available=available)
        return Row(level=level, name=name, where=where, latency=summarise(values_ms), samples=samples, verdict=verdict, breakdown=stages)

    rows: list[Row] = []
    for mark, name in MARKS.items():
        reached = [value for turn in turns if (value := getattr(turn.marks_ms, mark)) is not None]
        if reached:
            rows.append(row("turn", name, "whole turn", reached, _stages(turns) if mark == "done" else None))
    for name in dict.fromkeys(span.name for turn in turns for span in turn.spans):
        taken = [sum(span.duration_ms for span in turn.spans if span.name == name) for turn in turns if any(span.name == name for span in turn.spans)]
        kind = next(span.kind for turn in turns for span in turn.spans if span.name == name)
        rows.append(row("stage", name, kind, taken))
    if overheads := [value for turn in turns if (value := turn.overhead_ms()) is not None]:
        rows.append(row("stage", "overhead", "neither model nor wait", overheads))
    return rows


def median_turn(turns: Sequence[Turn]) -> Turn | None:
    """The one with the median time to the first audio; without sound, to the end."""

    def reached_ms(turn: Turn) -> float | None:
        return turn.marks_ms.done if turn.marks_ms.first_audio is None else turn.marks_ms.first_audio

    finished = {value: turn for turn in turns if (value := reached_ms(turn)) is not None}
    return finished[median_low(finished)] if finished else None


def _stages(turns: Sequence[Turn]) -> Breakdown:
    """From the end of speech to ``done``; what ran before or after counts only in so far as it reaches into that."""
    done = [turn for turn in turns if turn.marks_ms.done]
    names = dict.fromkeys(span.name for turn in done for span in turn.spans)
    wholes_ms = [turn.marks_ms.done or 0.0 for turn in done]

    def inside_ms(turn: Turn, whole_ms: float, name: str) -> float:
        spans = [span for span in turn.spans if span.name == name]
        return sum(max(0.0, min(span.start_ms + span.duration_ms, whole_ms) - max(span.start_ms, 0.0)) for span in spans)

    parts_ms = {name: [inside_ms(turn, whole_ms, name) for turn, whole_ms in zip(done, wholes_ms)] for name in names}
    return breakdown(wholes_ms, parts_ms, [whole_ms - (turn.overhead_ms() or 0.0) for turn, whole_ms in zip(done, wholes_ms)])
