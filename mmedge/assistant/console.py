"""A turn as text: one line while it runs, a waterfall for who wants to know where the time went."""

from __future__ import annotations

from mmedge.assistant.parts import Summary
from mmedge.turn import Turn

WIDTH = 60


def line(turn: Turn) -> str:
    """What was heard, seen and said, and when the answer began."""
    seen = ", ".join(f"{thing.label} {thing.score:.0%}" for thing in turn.seen[:3]) or "nothing"
    begun_ms = turn.marks_ms.first_audio if turn.marks_ms.first_audio is not None else turn.marks_ms.first_token
    return f'heard "{turn.heard}" | seen {seen} | said "{turn.said}"' + (f" | {begun_ms:.0f} ms" if begun_ms is not None else "")


def waterfall(turn: Turn) -> str:
    """Every span as a bar from the end of speech (|), with its time; ``=`` is computed, ``.`` is waited."""
    ends_ms = [span.start_ms + span.duration_ms for span in turn.spans]
    begin_ms = min([0.0, *(span.start_ms for span in turn.spans)])
    scale = WIDTH / max(1.0, max([turn.marks_ms.done or 0.0, *ends_ms]) - begin_ms)
    name_width = max([len(span.name) for span in turn.spans], default=0)
    lines = []
    for span, end_ms in zip(turn.spans, ends_ms):
        first, last = round((span.start_ms - begin_ms) * scale), round((end_ms - begin_ms) * scale)
        bar = " " * first + ("." if span.kind == "wait" else "=") * max(1, last - first)
        lines.append(f"{span.name:{name_width}} |{bar:{WIDTH + 1}}| {span.start_ms:7.0f} ms +{span.duration_ms:6.0f} ms")
    overhead_ms = turn.overhead_ms()
    if overhead_ms is not None:
        lines.append(f"{'overhead':{name_width}} |{'':{WIDTH + 1}}| {'':10} +{overhead_ms:6.0f} ms")
    return "\n".join(lines)


def ending(summary: Summary) -> str:
    """The run in one or two lines."""
    text = f"listened for {summary.heard_s:.1f} s: " + (f"{summary.turns} turn{'s' if summary.turns != 1 else ''}" if summary.turns else "nobody spoke")
    if summary.unrecognised and not summary.turns:
        text = f"listened for {summary.heard_s:.1f} s: no words recognised"
    more = {"utterances without words": summary.unrecognised, "noises": summary.noises, **{f"lost {name}": count for name, count in summary.lost.items()}}
    return text + "".join(f", {count} {name}" for name, count in more.items() if count)
