"""The quality gate that chooses the windows through which speech is heard: word error rate, loops and inventions for each.

``python bench/speech_window.py [--target T]``: the 200 utterances, 72 short words, 40 noises without speech and the spoken stamps (reported, not gated), each
decoded through every window that holds it, without guards and then as the session answers. Writes ``bench/results/speech_window.md``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment
import speech_clips
import speech_model
import statistic

from mmedge.families.speech.session import Session
from mmedge.families.speech.whisper.session import MARGIN_S
from mmedge.generate.decode import Decoded
from mmedge.processors.log_mel import RATE_HZ
from mmedge.target import Target

WINDOWS_S = (5, 8, 10, 15, 30)
TRAINED_S = 30


@dataclass(frozen=True)
class Row:
    """One clip through one window."""

    kind: str
    clip: speech_clips.Clip
    window_s: int
    heard: str
    stopped: str
    avg_logprob: float
    no_speech: float
    said: str
    """What the session answers with this window as the first choice."""
    tries: int
    ms: float
    """Of the answer, retries included."""

    @property
    def seconds(self) -> float:
        return len(self.clip.samples) / RATE_HZ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", help="default: this machine's")
    target = parser.parse_args().target
    target = Target.load(target) if target else Target.detected()
    sets = {
        "utterances": speech_clips.utterances(),
        "short words": speech_clips.short_words(),
        "noises": speech_clips.noises(),
        "stamps": speech_clips.stamps(),
    }
    rows: list[Row] = []
    with speech_model.ears(target) as session:
        remember(session, [clip for clips in sets.values() for clip in clips])
        for window_s in WINDOWS_S:
            guarded = speech_model.with_windows(session, tuple(sorted({window_s, TRAINED_S})))
            for kind, clips in sets.items():
                rows += [_row(guarded, kind, clip, window_s) for clip in clips if len(clip.samples) / RATE_HZ + MARGIN_S <= window_s]
            print(f"{window_s} s done", file=sys.stderr)
    report = summary(rows, target)
    print(report)
    (Path(__file__).parent / "results" / "speech_window.md").write_text(report, encoding="utf-8")
    return 0


def _row(session: Session, kind: str, clip: speech_clips.Clip, window_s: int) -> Row:
    decoded, no_speech = session.recogniser.listen(clip.samples, window_s)  # what the window alone does, before any guard
    heard = session.recogniser._tokenizer.decode(list(decoded.tokens), skip_special_tokens=True).strip()
    pieces = session.hear((clip.samples, RATE_HZ))
    said, tries = " ".join(piece.text for piece in pieces if piece.text), sum(piece.tries for piece in pieces)
    ms = session._took_ms[clip.name, window_s] + (session._took_ms[clip.name, TRAINED_S] if tries > 1 else 0)  # type: ignore[attr-defined]
    return Row(kind, clip, window_s, heard, decoded.stopped, decoded.avg_logprob, no_speech, said, tries, ms)


def remember(session: Session, clips: list[speech_clips.Clip]) -> None:
    """Decode each clip once per window: all questions about it are answered from that."""
    names = {clip.samples.tobytes(): clip.name for clip in clips}
    known: dict[tuple[str, int], tuple[Decoded, float]] = {}
    took_ms: dict[tuple[str, int], float] = {}
    decode = session.recogniser.listen

    def once(samples: speech_clips.Samples, window_s: int) -> tuple[Decoded, float]:
        key = names[samples.tobytes()], window_s
        if key not in known:
            start = time.perf_counter()
            known[key] = decode(samples, window_s)
            took_ms[key] = (time.perf_counter() - start) * 1e3
        return known[key]

    session.recogniser.listen, session._took_ms = once, took_ms  # type: ignore[attr-defined]


def summary(rows: list[Row], target: Target) -> str:
    trained = {(row.kind, row.clip.name): row for row in rows if row.window_s == TRAINED_S}
    lines = [
        "# The windows through which speech is heard",
        "",
        f"{environment.machine('onnxruntime', 'openvino')}. Target {target.name}: {speech_model.placements(target)}.",
        "",
        'Word error rates on the clips that fit into the window with its margin, beside what 30 s give on the same clips; "alone" is without guards,',
        '"answered" is the session with this window first and 30 s for what it does not believe. Loops and over-long texts are counted before the guards.',
        "",
        "| clips | window, s | number | alone, % | 30 s alone | answered, % | 30 s answered | diff. 95 %, points | loops | retried | ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("utterances", "short words", "stamps"):
        for window_s in WINDOWS_S:
            chosen = [row for row in rows if row.kind == kind and row.window_s == window_s]
            if chosen:
                lines.append(_line(kind, window_s, chosen, [trained[row.kind, row.clip.name] for row in chosen]))
    lines += ["", "Where nobody speaks: clips with any word", "", "| window, s | number | alone | answered |", "|---|---|---|---|"]
    for window_s in WINDOWS_S:
        chosen = [row for row in rows if row.kind == "noises" and row.window_s == window_s]
        lines.append(f"| {window_s} | {len(chosen)} | {_worded(row.heard for row in chosen)} | {_worded(row.said for row in chosen)} |")
    return "\n".join([*lines, ""])


def _line(kind: str, window_s: int, chosen: list[Row], beside: list[Row]) -> str:
    def errors(texts: list[str]) -> list[tuple[int, int]]:
        return [statistic.word_errors(row.clip.text, text) for row, text in zip(chosen, texts)]

    alone, alone_30, _ = statistic.word_error_rates(errors([row.heard for row in chosen]), errors([row.heard for row in beside]))
    answered, answered_30, (low, high) = statistic.word_error_rates(errors([row.said for row in chosen]), errors([row.said for row in beside]))
    loops, retried = sum(row.stopped != "stop" for row in chosen), sum(row.tries > 1 for row in chosen)
    rates = " | ".join(f"{100 * rate:.2f}" for rate in (alone, alone_30, answered, answered_30))
    median_ms = statistics.median(row.ms for row in chosen)
    return f"| {kind} | {window_s} | {len(chosen)} | {rates} | {100 * low:+.2f} to {100 * high:+.2f} | {loops} | {retried} | {median_ms:.0f} |"


def _worded(texts: Any) -> int:
    return sum(bool(statistic.plain(text)) for text in texts)


if __name__ == "__main__":
    sys.exit(main())
