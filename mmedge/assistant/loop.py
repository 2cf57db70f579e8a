"""The loop: hear somebody, look, answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmedge.assistant.clock import Clock
from mmedge.assistant.endpoint import Event, Utterance
from mmedge.assistant.listener import Detector, Listener
from mmedge.assistant.parts import Parts, Summary, View
from mmedge.assistant.recent import RecentFrames
from mmedge.assistant.stopwatch import Stopwatch, ms
from mmedge.turn import Marks, Turn

ECHO_S = 0.2
"""How long the room, and the device's buffers, go on sounding after an answer."""

LATE_S = 0.03
"""A chunk that is older than this waited for something else."""


@dataclass(frozen=True)
class Draft:
    """What can be known before it is certain that somebody is done."""

    heard: str
    view: View | None
    heard_s: float
    seen_s: float | None


def converse(parts: Parts, on_turn: Callable[[Turn], None], stop: threading.Event) -> Summary:
    """Listen until the sound ends or ``stop`` is set; ``on_turn`` is called after each answer.

    A turn in progress is finished after ``stop``, but nothing new is begun.

    Raises:
        MmedgeError: a device or a model failed.
    """
    with ExitStack() as stack:
        frames = stack.enter_context(RecentFrames(parts.camera)) if parts.camera else None
        stack.enter_context(parts.sink)
        stack.enter_context(parts.microphone)
        return _Conversation(parts, frames, on_turn).run(stop)


class _Timed:
    """The detector, timed while the loop is late: in time, its work is hidden in the wait for the next block."""

    def __init__(self, detector: Detector, watch: Stopwatch, clock: Clock) -> None:
        self.rate_hz, self.chunk_samples = detector.rate_hz, detector.chunk_samples
        self._detector, self._watch, self._clock = detector, watch, clock
        self.late = False

    def reset(self) -> None:
        self._detector.reset()

    def __call__(self, chunk: NDArray[np.float32]) -> float:
        from_s = self._clock.now_s()
        probability = self._detector(chunk)
        if self.late:
            self._watch.catching_up("vad", from_s)
        return probability


class _Conversation:
    def __init__(self, parts: Parts, frames: RecentFrames | None, on_turn: Callable[[Turn], None]) -> None:
        self._parts, self._frames, self._on_turn = parts, frames, on_turn
        self._watch = Stopwatch(parts.clock)
        self._detector = _Timed(parts.detector, self._watch, parts.clock)
        self._listener = Listener(self._detector, parts.endpointing)
        self._listener.reset()
        self._draft: Draft | None = None
        self._true_ends_s: list[float] = []
        self._deaf_until_s = float("-inf")
        self._muted = False
        self._lost_samples = 0
        self._told: dict[str, int] = {}
        self._summary = Summary(heard_s=0, turns=0, unrecognised=0, noises=0, muted_s=0, lost={}, ended="source")

    def run(self, stop: threading.Event) -> Summary:
        heard_s = muted_s = 0.0
        chunk_end_s = self._parts.clock.now_s()
        for chunk in self._parts.microphone:
            if stop.is_set():
                break
            chunk_end_s, length_s = chunk.end_s, len(chunk.samples) / chunk.rate_hz
            self._lost_samples += chunk.lost_samples
            self._true_ends_s += chunk.true_speech_ends_s
            if self._frames:
                self._frames.advance(chunk.end_s)
            if chunk.end_s <= self._deaf_until_s:
                muted_s += length_s
                self._muted = True
                continue
            heard_s += length_s
            if self._muted:
                self._listener.reset()
                self._draft, self._muted = None, False
            self._detector.late = self._parts.clock.now_s() - chunk.end_s > LATE_S
            for event in self._listener.push(chunk):
                self._take(event, chunk.end_s)
        if not stop.is_set() and not self._muted:
            for event in self._listener.flush():
                self._take(event, chunk_end_s)
        self._parts.clock.wait_until(self._deaf_until_s - ECHO_S, stop)
        ended: Literal["source", "stop"] = "stop" if stop.is_set() else "source"
        return self._summary.model_copy(update={"heard_s": round(heard_s, 3), "muted_s": round(muted_s, 3), "lost": self._lost(), "ended": ended})

    def _take(self, event: Event, available_s: float) -> None:
        """React to an event that the sound up to ``available_s`` made certain."""
        if event.kind == "pause":
            self._draft = self._make_draft(event.utterance)
        elif event.kind == "resume":
            self._draft = None
            self._watch.note("in vain")
        elif event.kind == "noise":
            self._count("noises")
        else:
            draft, self._draft = self._draft, None
            self._end(event.utterance, draft, available_s)

    def _make_draft(self, utterance: Utterance) -> Draft:
        parts = self._parts
        with self._watch.span("ears"):
            heard = parts.ears.transcribe((utterance.samples, parts.detector.rate_hz)).strip()
        heard_s = parts.clock.now_s()
        frames = self._frames.at(utterance.speech_end_s) if self._frames and heard else []
        if not frames:
            return Draft(heard, None, heard_s, None)
        with self._watch.span("eyes"):
            view = parts.skills.look(frames)
        return Draft(heard, view, heard_s, parts.clock.now_s())

    def _end(self, utterance: Utterance, draft: Draft | None, available_s: float) -> None:
        clock, zero_s = self._parts.clock, utterance.speech_end_s
        turn_end_s = clock.now_s()
        draft = draft or self._make_draft(utterance)
        if not draft.heard:
            self._count("unrecognised")
            return
        self._watch.waited("end of speech", zero_s, min(available_s, turn_end_s))
        with self._watch.span("mind"):
            said = self._parts.skills.answer(draft.heard, draft.view)
        token_s = clock.now_s()
        first_audio_s, done_s = self._speak(said)
        marks = {"turn_end": turn_end_s, "heard": draft.heard_s, "seen": draft.seen_s, "first_token": token_s, "first_audio": first_audio_s, "done": done_s}
        marks |= {"speech_start": utterance.speech_start_s, "true_speech_end": self._true_end_s(zero_s)}
        lost = self._lost()
        turn = Turn(
            heard=draft.heard,
            seen=list(draft.view.seen) if draft.view else [],
            said=said,
            marks_ms=Marks(**{name: ms(at_s - zero_s) for name, at_s in marks.items() if at_s is not None}),
            spans=self._watch.spans(zero_s),
            lost={name: count - self._told.get(name, 0) for name, count in lost.items()},
        )
        self._told = lost
        self._watch.note("turn before")
        self._count("turns")
        self._on_turn(turn)

    def _speak(self, said: str) -> tuple[float | None, float]:
        """Say it sentence by sentence. Returns when its first sample was given to the sink, and when it is over."""
        parts, first_audio_s, over_s = self._parts, None, self._parts.clock.now_s()
        if parts.voice is None:
            return None, over_s
        sentences = parts.voice.stream(said)
        while True:
            from_s = parts.clock.now_s()
            samples = next(sentences, None)
            if samples is None:
                break
            self._watch.computed("voice", from_s)
            over_s = parts.sink.play(samples, parts.voice.rate_hz)
            if first_audio_s is None:
                first_audio_s = parts.clock.now_s()
        parts.sink.finish()
        made_s = parts.clock.now_s()
        if parts.sink.aloud:
            self._watch.waited("playing", made_s, over_s)
            self._deaf_until_s = over_s + ECHO_S
        return first_audio_s, max(made_s, over_s)

    def _true_end_s(self, estimate_s: float) -> float | None:
        nearest = min(self._true_ends_s, key=lambda end_s: abs(end_s - estimate_s), default=None)
        self._true_ends_s.clear()
        return nearest

    def _lost(self) -> dict[str, int]:
        frames = self._frames.dropped if self._frames else 0
        counts = {"audio_samples": self._lost_samples, "frames": frames, "passed_over_samples": self._listener.passed_over_samples}
        return {name: count for name, count in counts.items() if count}

    def _count(self, name: str) -> None:
        self._summary = self._summary.model_copy(update={name: getattr(self._summary, name) + 1})
