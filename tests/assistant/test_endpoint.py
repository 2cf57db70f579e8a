from __future__ import annotations

import numpy as np
import pytest

from mmedge.assistant.endpoint import Endpointer, Endpointing, Event

BLOCK_S = 0.032
SETTINGS = Endpointing(pre_roll_s=0.32, pause_s=0.16, hangover_s=0.32, shortest_s=0.16, longest_s=3.2)


def run(probabilities: list[float], settings: Endpointing = SETTINGS) -> tuple[list[tuple[str, int, int, float, float]], Endpointer]:
    """(kind, index at which it came, number of its first block, start, end) of every event. Block i is filled with i, and ends at (i + 1) x 32 ms."""
    endpointer = Endpointer(settings, 512, 16_000)
    events: list[tuple[int, Event]] = []
    for index, probability in enumerate(probabilities):
        event = endpointer.push(np.full(512, index, np.float32), probability, (index + 1) * BLOCK_S)
        if event is not None:
            events.append((index, event))
    last = endpointer.flush()
    if last is not None:
        events.append((len(probabilities), last))
    return [
        (event.kind, index, int(event.utterance.samples[0]), event.utterance.speech_start_s, event.utterance.speech_end_s) for index, event in events
    ], endpointer


def test_an_utterance_ends_after_the_hangover_and_keeps_what_came_before() -> None:
    events, _ = run([0.1] * 20 + [0.9] * 30 + [0.1] * 20)
    # Speech is blocks 20 to 49; the tenth silent block is 59, the fifth 54; ten blocks are kept from before.
    assert [(kind, index, first) for kind, index, first, _, _ in events] == [("pause", 54, 10), ("end", 59, 10)]
    assert [event[3:] for event in events] == [pytest.approx((20 * BLOCK_S, 50 * BLOCK_S))] * 2


def test_speech_that_resumes_takes_the_pause_back() -> None:
    events, _ = run([0.9] * 10 + [0.1] * 6 + [0.9] * 10 + [0.1] * 10)
    assert [(kind, index) for kind, index, *_ in events] == [("pause", 14), ("resume", 16), ("pause", 30), ("end", 35)]
    assert events[-1][4] == pytest.approx(26 * BLOCK_S)


def test_between_the_thresholds_what_was_goes_on() -> None:
    speaking, _ = run([0.9] * 10 + [0.4] * 20)
    assert [event[0] for event in speaking] == ["end"] and speaking[0][4] == pytest.approx(30 * BLOCK_S)
    silent, _ = run([0.9] * 10 + [0.1] + [0.4] * 20)
    assert [(event[0], event[1]) for event in silent] == [("pause", 14), ("end", 19)] and silent[0][4] == pytest.approx(10 * BLOCK_S)
    nothing, _ = run([0.49] * 50)
    assert nothing == []


def test_a_click_is_noise_and_starts_no_work() -> None:
    events, _ = run([0.1] * 10 + [0.9] * 4 + [0.1] * 20)
    assert [event[0] for event in events] == ["noise"]
    events, _ = run([0.1] * 10 + [0.9] * 5 + [0.1] * 20)
    assert [event[0] for event in events] == ["pause", "end"]


def test_the_longest_utterance_is_cut_and_the_rest_passed_over_up_to_silence() -> None:
    events, endpointer = run([0.9] * 250 + [0.1] * 10 + [0.9] * 20)
    assert [(kind, index) for kind, index, *_ in events] == [("end", 99), ("end", 280)]
    assert endpointer.passed_over_samples == 160 * 512
    assert events[1][3] == pytest.approx(260 * BLOCK_S)


def test_the_transcribed_sound_is_the_same_on_suspicion_and_in_the_end() -> None:
    endpointer = Endpointer(SETTINGS, 512, 16_000)
    found = [endpointer.push(np.full(512, i, np.float32), 0.9 if 5 <= i < 30 else 0.0, (i + 1) * BLOCK_S) for i in range(50)]
    pause, end = (event for event in found if event is not None)
    np.testing.assert_array_equal(pause.utterance.samples, end.utterance.samples)
    assert pause.utterance.samples[-1] == 34


def test_what_is_kept_is_bounded() -> None:
    endpointer = Endpointer(SETTINGS, 512, 16_000)
    for index in range(5000):
        endpointer.push(np.zeros(512, np.float32), 0.9 if index % 1000 > 500 else 0.1, index * BLOCK_S)
        assert len(endpointer._before) <= 10 and len(endpointer._sound) <= 100
