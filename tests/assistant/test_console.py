from __future__ import annotations

import pytest

from mmedge.assistant.console import ending, line, waterfall
from mmedge.assistant.parts import Summary
from mmedge.turn import Marks, Seen, Span, Turn

TURN = Turn(
    heard="Is there a cat?",
    seen=[Seen(label="Egyptian Mau", score=0.384), Seen(label="tabby", score=0.2)],
    said="Yes. I see one.",
    marks_ms=Marks(speech_start=-1200, turn_end=500, heard=400, seen=420, first_token=505, first_audio=600, done=800),
    spans=[
        Span(name="end of speech", start_ms=0, duration_ms=500, kind="wait"),
        Span(name="ears", start_ms=200, duration_ms=200),
        Span(name="mind", start_ms=501, duration_ms=3),
        Span(name="voice", start_ms=505, duration_ms=295),
    ],
)


def test_a_line_says_what_was_heard_seen_and_said_and_when_the_answer_began():
    assert line(TURN) == 'heard "Is there a cat?" | seen Egyptian Mau 38%, tabby 20% | said "Yes. I see one." | 600 ms'
    assert line(TURN.model_copy(update={"seen": [], "marks_ms": Marks(first_token=505)})).endswith('seen nothing | said "Yes. I see one." | 505 ms')


def test_the_waterfall_is_aligned_and_to_scale():
    lines = waterfall(TURN).splitlines()
    assert len({text.index("|") for text in lines}) == 1 and len({text.rindex("|") for text in lines}) == 1
    bars = [text[text.index("|") + 1 : text.rindex("|")] for text in lines]
    assert (bars[0].count("."), bars[1].count("="), bars[2].count("="), bars[3].count("=")) == (38, 15, 1, 22)  # of 60 for 800 ms
    assert bars[1].index("=") == 15 and bars[3].index("=") == 38
    assert lines[1].split("|")[2].split() == ["200", "ms", "+", "200", "ms"]
    assert lines[-1].startswith("overhead") and lines[-1].endswith("2 ms")


def test_overhead_is_what_no_span_covers():
    assert TURN.overhead_ms() == pytest.approx(1 + 1)  # 500 to 501, 504 to 505
    assert TURN.model_copy(update={"marks_ms": Marks()}).overhead_ms() is None
    early = Span(name="ears (turn before)", start_ms=-300, duration_ms=400)
    assert TURN.model_copy(update={"spans": [early]}).overhead_ms() == pytest.approx(700)
    assert TURN.model_copy(update={"spans": [Span(name="voice", start_ms=900, duration_ms=50)]}).overhead_ms() == pytest.approx(800)
    assert TURN.model_copy(update={"spans": []}).overhead_ms() == pytest.approx(800)


def test_the_ending_says_when_nobody_spoke_and_what_was_lost():
    summary = Summary(heard_s=3.04, turns=0, unrecognised=0, noises=0, muted_s=0, lost={}, ended="source")
    assert ending(summary) == "listened for 3.0 s: nobody spoke"
    assert ending(summary.model_copy(update={"unrecognised": 2})) == "listened for 3.0 s: no words recognised, 2 utterances without words"
    full = summary.model_copy(update={"turns": 2, "noises": 1, "lost": {"audio_samples": 512}})
    assert ending(full) == "listened for 3.0 s: 2 turns, 1 noises, 512 lost audio_samples"
