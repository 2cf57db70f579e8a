from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from mmedge.assistant.endpoint import Endpointing
from mmedge.assistant.sound_file import SoundFile
from mmedge.assistant.sources import AudioChunk, Frame

BLOCK_MS = 32.0


def frame(value: int, captured_s: float) -> Frame:
    return Frame(np.full((4, 4, 3), value, np.uint8), captured_s)


def test_a_turn_is_timed_from_the_end_of_speech(stage):
    """Silence 0.992 s, speech 1.6 s, silence 1.6 s, all whole blocks: every mark is known beforehand."""
    source = SoundFile(stage.file(stage.sound(0.992, 1.6, 1.6)), stage.clock, stage.stop, true_speech_ends_s=[2.59])
    summary = stage.run(source, stage.records([frame(51, 100.0)]))
    (turn,) = stage.turns
    assert (turn.heard, turn.said, turn.seen[0].label) == ("hello", "You said hello. I see brightness.", "brightness")
    assert turn.seen[0].score == pytest.approx(0.2)
    marks = turn.marks_ms.model_dump()
    # The pause is known after 7 silent blocks (224 ms), the end after 16 (512 ms); ears take 100 ms, eyes 30, mind 2, voice 100 a sentence.
    expected = {
        "speech_start": -1600,
        "speech_end": 0,
        "true_speech_end": -2,
        "turn_end": 512,
        "heard": 324,
        "seen": 354,
        "first_token": 514,
        "first_audio": 614,
        "done": 714,
    }
    assert marks == {name: pytest.approx(value, abs=0.01) for name, value in expected.items()}
    spans = [(span.name, span.kind, span.start_ms, span.duration_ms) for span in turn.spans]
    assert spans == [
        ("end of speech", "wait", 0, pytest.approx(512, abs=0.01)),
        ("ears", "model", pytest.approx(224, abs=0.01), pytest.approx(100, abs=0.01)),
        ("eyes", "model", pytest.approx(324, abs=0.01), pytest.approx(30, abs=0.01)),
        ("mind", "model", pytest.approx(512, abs=0.01), pytest.approx(2, abs=0.01)),
        ("voice", "model", pytest.approx(514, abs=0.01), pytest.approx(100, abs=0.01)),
        ("voice", "model", pytest.approx(614, abs=0.01), pytest.approx(100, abs=0.01)),
    ]
    assert turn.overhead_ms() == pytest.approx(0, abs=0.05)
    assert (summary.turns, summary.heard_s, summary.ended, summary.lost, turn.lost) == (1, pytest.approx(4.192), "source", {}, {})
    assert [length for _, length in stage.speaker.pieces] == [11_025, 11_025] and stage.speaker.answers == 1


def test_work_on_suspicion_that_takes_longer_than_the_hangover_delays_by_its_rest_only(stage):
    stage.hears("slow", cost_s=0.5)
    stage.run(SoundFile(stage.file(stage.sound(0.32, 1.6, 1.6)), stage.clock, stage.stop))
    (turn,) = stage.turns
    assert turn.marks_ms.heard == turn.marks_ms.turn_end == pytest.approx(224 + 500, abs=0.01)
    assert turn.overhead_ms() == pytest.approx(0, abs=0.05)


def test_the_detector_s_work_while_it_catches_up_is_a_model_s(stage):
    """Ears take 0.5 s from the pause on; then 9 blocks up to the end of the hangover are behind, and each costs the detector 2 ms."""
    detect = type(stage.detector).__call__
    stage.detector.__class__ = type("Slow", (type(stage.detector),), {"__call__": lambda self, chunk: (stage.clock.work(0.002), detect(self, chunk))[1]})
    stage.hears("slow", cost_s=0.5)
    stage.run(SoundFile(stage.file(stage.sound(0.32, 1.6, 1.6)), stage.clock, stage.stop))
    (turn,) = stage.turns
    (vad,) = (span for span in turn.spans if span.name == "vad")
    assert (vad.kind, vad.duration_ms) == ("model", pytest.approx(9 * 2, abs=0.01)) and vad.start_ms == pytest.approx(224 + 2 + 500, abs=0.01)
    assert turn.marks_ms.turn_end == pytest.approx(224 + 2 + 500 + 18, abs=0.01) and turn.overhead_ms() == pytest.approx(0, abs=0.05)


def test_speech_that_resumes_after_a_pause_is_one_turn_with_all_of_it(stage):
    stage.hears("is there", "is there a cat")
    stage.run(SoundFile(stage.file(stage.sound(0.32, 0.96, 0.32, 0.96, 1.6)), stage.clock, stage.stop))
    (turn,) = stage.turns
    assert turn.heard == "is there a cat" and turn.marks_ms.speech_start == pytest.approx(-2240, abs=0.01)
    assert [len(sound) for sound in stage.ears.sounds] == [pytest.approx(length_s * 16_000, abs=1) for length_s in (0.32 + 0.96 + 0.224, 0.32 + 2.24 + 0.224)]
    assert [span.name for span in turn.spans if span.kind == "model"] == ["ears", "mind", "voice", "voice"]


def test_what_was_worked_out_in_a_pause_is_not_the_answer_to_what_went_on_after_it(stage):
    """The recording ends in the middle of speech, before there is another pause."""
    stage.hears("is there", "is there a cat")
    stage.run(SoundFile(stage.file(stage.sound(0.32, 0.96, 0.32, 0.64)), stage.clock, stage.stop))
    assert [turn.heard for turn in stage.turns] == ["is there a cat"]


@pytest.mark.parametrize(("rate_hz", "length"), [(16_000, 512 * 20 + 1), (44_100, (512 * 20 + 5) * 441 // 160), (8_000, 256 * 20 + 3), (48_000, 512 * 20 * 3)])
def test_the_detector_sees_every_sample(stage, rate_hz, length):
    seen = []
    stage.detector.__class__ = type("Counting", (type(stage.detector),), {"__call__": lambda self, chunk: seen.append(chunk) or 0.0})
    stage.run(SoundFile(stage.file(np.full(length, 0.5), rate_hz), stage.clock, stage.stop))
    assert len(seen) == -(-length * 16_000 // rate_hz // 512)
    assert np.concatenate(seen).sum() == pytest.approx(0.5 * length * 16_000 / rate_hz, rel=1e-3)


def test_work_done_in_vain_that_delays_the_turn_is_shown(stage):
    """The first draft takes 1.5 s, in which speech resumes and ends."""
    stage.hears("is there", "is there a cat", cost_s=1.5)
    stage.run(SoundFile(stage.file(stage.sound(0.32, 0.96, 0.32, 0.32, 1.6)), stage.clock, stage.stop))
    (turn,) = stage.turns
    assert [span.name for span in turn.spans] == ["ears (in vain)", "end of speech", "ears", "mind", "voice", "voice"]
    assert turn.overhead_ms() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("chunk_s", [0.01, 0.0173, 0.032, 0.1, 0.75, 10.0])
def test_chunk_size_makes_no_difference_to_what_is_found(stage, chunk_s):
    samples = stage.sound(0.7, 1.1, 1.3, 0.8, 0.9)
    stage.hears("one", "two")
    stage.run(SoundFile(stage.file(samples), stage.clock, stage.stop, chunk_s=chunk_s))
    assert [turn.heard for turn in stage.turns] == ["one", "two"]
    starts = [turn.marks_ms.speech_start for turn in stage.turns]
    assert starts == [pytest.approx(-1152, abs=0.1), pytest.approx(-832, abs=0.1)]  # the whole blocks that 1.1 and 0.8 s touch
    assert [len(sound) for sound in stage.ears.sounds] == [(16 + 36 + 7) * 512, (16 + 26 + 7) * 512]


@pytest.mark.parametrize(("rate_hz", "up", "down"), [(44_100, 441, 160), (48_000, 3, 1), (8_000, 1, 2), (22_050, 441, 320)])
def test_other_rates_and_channels_are_heard_as_16_khz_mono(stage, rate_hz, up, down):
    from mmedge.processors.audio import load_sound

    question, _ = load_sound("mmedge/golden/question.wav")
    stage.detector.__class__ = type("Soft", (type(stage.detector),), {"__call__": lambda self, chunk: 0.95 if np.abs(chunk).max() > 0.02 else 0.02})
    quiet = np.zeros(16_000, np.float32)
    mono = np.concatenate([quiet, question, quiet])
    converted = resample_poly(mono, up, down)
    stereo = stage.file(np.zeros(0), rate_hz)
    pcm = np.rint(np.stack([converted * 1.2, converted * 0.8], 1).clip(-1, 1) * 32767).astype("<i2")
    import wave

    with wave.open(str(stereo), "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    stage.hears("plain", "converted")
    stage.run(SoundFile(stage.file(mono), stage.clock, stage.stop))
    stage.run(SoundFile(stereo, stage.clock, stage.stop))
    plain, other = stage.ears.sounds
    assert abs(len(plain) - len(other)) <= 512
    shared = min(len(plain), len(other))
    offset = min(range(-520, 521, 1), key=lambda shift: float(np.abs(plain[600 : shared - 600] - other[600 + shift : shared - 600 + shift]).mean()))
    assert abs(offset) in (0, 512)  # the first block that counts as speech may be the one before or after
    difference = plain[600 : shared - 600] - other[600 + offset : shared - 600 + offset]
    assert np.abs(difference).mean() < (2e-2 if rate_hz == 8_000 else 2e-3)
    first, second = (turn.marks_ms.speech_start for turn in stage.turns)
    assert abs(first - second) <= 33


def test_sound_from_before_the_detector_noticed_is_kept(stage):
    samples = stage.sound(2.0, 1.0, 1.0)
    samples[: 2 * 16_000] = np.linspace(0, 0.05, 32_000)  # a slow rise that the detector does not take for speech
    stage.run(SoundFile(stage.file(samples), stage.clock, stage.stop))
    (sound,) = stage.ears.sounds
    before = int(np.argmax(np.abs(sound) > 0.1)) - 3  # the tone rises to 0.1 in three samples
    assert before >= 0.3 * 16_000
    np.testing.assert_allclose(sound[:before], samples[32_000 - before : 32_000], atol=1e-4)


def test_the_longest_utterance_is_answered_and_the_rest_passed_over(stage):
    stage.endpointing = Endpointing(longest_s=3.2)
    summary = stage.run(SoundFile(stage.file(stage.sound(0.5, 8.0, 1.0, 1.0, 1.0)), stage.clock, stage.stop))
    assert len(stage.turns) == 2 and len(stage.ears.sounds[0]) == 100 * 512
    assert stage.turns[0].marks_ms.turn_end == pytest.approx(0, abs=0.01) and stage.turns[0].lost == {}
    assert stage.turns[1].lost == summary.lost == {"passed_over_samples": pytest.approx((8.0 - 2.7 + 0.512) * 16_000, abs=512)}


def test_a_recording_without_speech_is_no_turn_and_says_so(stage):
    summary = stage.run(SoundFile(stage.file(stage.sound(3.0)), stage.clock, stage.stop))
    assert (summary.turns, summary.heard_s, summary.noises, stage.turns, stage.ears.sounds) == (0, 3.0, 0, [], [])
    assert stage.run(SoundFile(stage.file(np.zeros(0)), stage.clock, stage.stop)).heard_s == 0


def test_a_click_is_counted_and_a_cough_without_words_is_not_answered(stage):
    stage.hears("", "hello")
    summary = stage.run(SoundFile(stage.file(stage.sound(0.5, 0.06, 1.0, 0.5, 1.0, 0.5, 1.0)), stage.clock, stage.stop), stage.records([frame(1, 0.0)]))
    assert (summary.turns, summary.unrecognised, summary.noises) == (1, 1, 1)
    assert len(stage.skills.looked) == 1, "nobody looks when nothing was said"


def test_speech_cut_off_by_the_end_of_the_file_is_answered(stage):
    stage.run(SoundFile(stage.file(stage.sound(0.5, 1.0)), stage.clock, stage.stop))
    (turn,) = stage.turns
    assert turn.marks_ms.turn_end == pytest.approx(0, abs=40) and len(stage.ears.sounds) == 1
    assert len(stage.ears.sounds[0]) >= 1.3 * 16_000


def test_half_duplex_is_deaf_while_its_answer_plays(stage):
    """The second question falls into the answer (one second of sound), the third comes later."""
    stage.speaker.aloud = True
    stage.hears("one", "three")
    source = SoundFile(stage.file(stage.sound(0.32, 0.64, 0.7, 0.32, 1.5, 0.64, 1.0)), stage.clock, stage.stop)
    summary = stage.run(source)
    assert [turn.heard for turn in stage.turns] == ["one", "three"] and stage.detector.resets == 2
    assert summary.muted_s == pytest.approx(1.3 + 0.46, abs=0.04)  # the whole first answer with its echo, the second up to the end of the file
    assert summary.heard_s + summary.muted_s == pytest.approx(5.12, abs=0.01)
    turn = stage.turns[0]
    assert turn.marks_ms.done == pytest.approx(514 + 100 + 1000, abs=1) and turn.overhead_ms() == pytest.approx(0, abs=0.05)
    assert [(span.name, span.kind) for span in turn.spans][-1] == ("playing", "wait")
    assert stage.clock.now_s() >= 100 + 5.12


def test_what_the_end_of_the_sound_cut_off_while_an_answer_played_is_not_answered(stage):
    """One large chunk holds the question's end and the next one's beginning; the rest of that one falls into the answer."""
    stage.speaker.aloud = True
    stage.hears("one", "cut off")
    summary = stage.run(SoundFile(stage.file(stage.sound(0.32, 0.64, 0.64, 0.9)), stage.clock, stage.stop, chunk_s=1.92))
    assert [turn.heard for turn in stage.turns] == ["one"] and summary.muted_s == pytest.approx(0.58, abs=0.01)


def test_a_file_sink_does_not_mute(stage):
    stage.hears("one", "two", "three")
    summary = stage.run(SoundFile(stage.file(stage.sound(0.32, 0.64, 0.7, 0.32, 1.5, 0.64, 1.0)), stage.clock, stage.stop))
    assert [turn.heard for turn in stage.turns] == ["one", "two", "three"] and summary.muted_s == 0


def test_a_question_asked_while_the_one_before_is_worked_on_is_answered_late_and_says_why(stage):
    stage.hears("one", "two", cost_s=3.0)
    stage.run(SoundFile(stage.file(stage.sound(0.32, 0.64, 0.6, 0.64, 1.0)), stage.clock, stage.stop))
    first, second = stage.turns
    assert second.marks_ms.done > first.marks_ms.done > 3000
    assert "ears (turn before)" in [span.name for span in second.spans] and second.overhead_ms() == pytest.approx(0, abs=1)


def test_losses_are_counted_in_the_turn_they_fell_into(stage):
    def chunks():
        sound = stage.sound(0.32, 0.64, 1.6, 0.64, 1.6)
        for index in range(0, len(sound), 512):
            lost = {10: 700, 100: 30, 149: 5}.get(index // 512, 0)
            yield AudioChunk(sound[index : index + 512], 16_000, 100 + (index + 512) / 16_000, lost)

    summary = stage.run(stage.records(chunks()))
    assert [turn.lost for turn in stage.turns] == [{"audio_samples": 700}, {"audio_samples": 30}]
    assert summary.lost == {"audio_samples": 735}


def test_the_frames_at_or_before_the_end_of_speech_are_looked_at(stage):
    """Ten frames a second, numbered by tenths; speech ends at 1.92 s."""
    frames = [frame(index, 100 + index / 10) for index in range(60)]
    summary = stage.run(SoundFile(stage.file(stage.sound(0.32, 1.6, 2.0)), stage.clock, stage.stop), stage.records(frames))
    (looked,) = stage.skills.looked
    assert [int(seen.pixels[0, 0, 0]) for seen in looked] == [16, 17, 18, 19]
    assert summary.lost["frames"] > 5


def test_without_camera_voice_or_both(stage):
    stage.voice = None
    summary = stage.run(SoundFile(stage.file(stage.sound(0.5, 1.0, 1.0)), stage.clock, stage.stop))
    (turn,) = stage.turns
    assert (turn.seen, turn.said, summary.turns) == ([], "You said hello. I see nothing.", 1)
    assert turn.marks_ms.first_audio is None and turn.marks_ms.seen is None and turn.marks_ms.done == turn.marks_ms.first_token
    assert stage.speaker.pieces == []


def test_stop_ends_the_run_without_answering_what_was_not_finished(stage):
    def chunks():
        sound = stage.sound(0.32, 0.64, 0.1)
        for index in range(0, len(sound), 512):
            if index > 12_000:
                stage.stop.set()
            yield AudioChunk(sound[index : index + 512], 16_000, 100 + (index + 512) / 16_000)

    summary = stage.run(stage.records(chunks()))
    assert (summary.ended, summary.turns, stage.turns) == ("stop", 0, [])
