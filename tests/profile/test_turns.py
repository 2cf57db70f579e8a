from __future__ import annotations

import pytest
from made import QUIET, during

from mmedge.profile.turns import median_turn, turn_rows
from mmedge.turn import Marks, Seen, Span, Turn


def _turn(done=1000.0, **marks):
    spans = [
        Span(name="end of speech", start_ms=0, duration_ms=500, kind="wait"),
        Span(name="ears", start_ms=200, duration_ms=100),
        Span(name="mind", start_ms=505, duration_ms=95),
        Span(name="voice", start_ms=600, duration_ms=150),
        Span(name="voice", start_ms=752, duration_ms=248),
    ]
    return Turn(heard="Is there a cat?", seen=[Seen(label="tabby", score=0.5)], said="Yes.", marks_ms=Marks(done=done, **marks), spans=spans)


def test_overhead_is_what_no_span_covers_and_overlap_counts_once():
    assert _turn().overhead_ms() == pytest.approx(5 + 2)
    assert _turn(done=1003.0).overhead_ms() == pytest.approx(10)


def test_rows_sum_a_stage_per_turn_and_leave_out_what_did_not_happen():
    rows = {row.name: row for row in turn_rows([_turn(heard=300), _turn(), _turn(heard=500)])}
    assert rows["voice"].latency.p50_ms == 398
    assert rows["voice"].where == "model"
    assert (rows["end of speech -> transcript"].latency.n, rows["end of speech -> transcript"].latency.p50_ms) == (2, 400)
    assert "end of speech -> first audio" not in rows
    assert rows["overhead"].latency.n == 3
    assert turn_rows([]) == []


def test_the_stages_of_a_turn_are_held_against_the_whole_and_only_what_lies_inside_counts():
    early = Span(name="eyes", start_ms=-40, duration_ms=100)  # began before the end of speech
    late = Span(name="voice", start_ms=950, duration_ms=500)  # still speaks after it is done
    turns = [_turn().model_copy(update={"spans": [*_turn().spans, early, late]})]
    made = next(row for row in turn_rows(turns) if row.name == "end of speech -> done").breakdown
    assert {part.name: part.median_ms for part in made.parts} == {"end of speech": 500, "ears": 100, "mind": 95, "voice": 150 + 248 + 50, "eyes": 60}
    assert made.whole_ms == 1000
    assert made.sum_ms == made.whole_ms - turns[0].overhead_ms() == 993
    assert made.difference == pytest.approx(0.007)


def test_the_median_turn_is_one_of_them():
    turns = [_turn(first_audio=value) for value in (700, 500, 600, 900)]
    assert median_turn(turns).marks_ms.first_audio == 600
    assert median_turn([_turn(done=800), _turn(done=700), _turn(done=900)]).marks_ms.done == 800
    assert median_turn([_turn(done=None)]) is None


def test_a_busy_second_core_marks_what_computes_and_no_wait():
    turns = [_turn(first_audio=700.0 + at % 3) for at in range(20)]
    for others, cores, expected in ((1.1, 0.95, "contended"), (1.0, 0.3, "stable"), (0.04, 1.9, "stable")):
        rows = {row.name: row.verdict.word for row in turn_rows(turns, during(others=others), cores=cores, available=2)}
        assert rows["ears"] == rows["end of speech -> first audio"] == expected
        assert rows["end of speech"] == "stable"
    slow = QUIET.model_copy(update={end: getattr(QUIET, end).model_copy(update={"slowdown": {"arithmetic": 1.3}}) for end in ("before", "after")})
    rows = {row.name: row.verdict.word for row in turn_rows(turns, slow, cores=0.5, available=2)}
    assert (rows["mind"], rows["end of speech"]) == ("contended", "stable")
