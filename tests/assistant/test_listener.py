"""Real Silero on real (synthesised) sentences whose beginnings and ends are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge import hub
from mmedge.assistant.endpoint import Endpointing
from mmedge.assistant.sound_file import SoundFile
from mmedge.processors.audio import load_sound

GOLDEN = Path(__file__).parents[2] / "mmedge" / "golden"
RATE_HZ = 16_000
AT_S = (1.5, 6.0)
"""Where the two sentences begin in the recording, their 0.1 s of leading silence included."""


@pytest.fixture(scope="module")
def silero():
    from mmedge.backends.ort import Options, OrtRunner
    from mmedge.families.vad import Config
    from mmedge.families.vad.session import Session

    path = hub.fetch(
        "pip:silero-vad==6.2.3#silero_vad/data/silero_vad_openvino_16k.onnx", sha256="7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87"
    )
    return Session({"vad": OrtRunner(path, Options())}, {}, Config())


@pytest.fixture(scope="module")
def recording():
    """(samples, beginnings, ends): two sentences in ten seconds; speech is what is louder than a hundredth of the full scale."""
    samples, begins_s, ends_s = np.zeros(10 * RATE_HZ, np.float32), [], []
    for name, at_s in zip(("question", "remark"), AT_S):
        sentence, _ = load_sound(GOLDEN / f"{name}.wav")
        begin = round(at_s * RATE_HZ)
        samples[begin : begin + len(sentence)] = sentence
        loud = np.flatnonzero(np.abs(sentence) > 0.01)
        begins_s.append(at_s + loud[0] / RATE_HZ)
        ends_s.append(at_s + loud[-1] / RATE_HZ)
    return samples, begins_s, ends_s


def noise(length, snr_db, seed=0):
    """Pink noise, so far below the sentences' power."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=length))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), length)
    return (pink / pink.std() * 0.08 * 10 ** (-snr_db / 20)).astype(np.float32)


@pytest.mark.full
@pytest.mark.parametrize("snr_db", [None, 20, 10, 5])
@pytest.mark.parametrize("chunk_s", [0.032, 0.05])
def test_two_sentences_are_two_utterances_whole_and_with_what_came_before(stage, silero, recording, snr_db, chunk_s):
    samples, begins_s, ends_s = recording
    heard = samples if snr_db is None else samples + noise(len(samples), snr_db)
    stage.detector = silero.stream()
    stage.hears("one", "two")
    stage.run(SoundFile(stage.file(heard), stage.clock, stage.stop, chunk_s=chunk_s, true_speech_ends_s=ends_s))
    assert [turn.heard for turn in stage.turns] == ["one", "two"]
    for turn, sound, begin_s, end_s in zip(stage.turns, stage.ears.sounds, begins_s, ends_s):
        late_s = -turn.marks_ms.true_speech_end / 1e3
        assert -0.25 <= late_s <= 0.25, "the detector's end of speech: in noise it is up to 0.2 s late"
        known_end = end_s + late_s  # where speech_end lies in the recording
        first = known_end + stage_pause_s() - len(sound) / RATE_HZ
        assert begin_s - first >= 0.3, "sound from before the first word"
        assert known_end - begin_s == pytest.approx(-turn.marks_ms.speech_start / 1e3, abs=0.2)


def stage_pause_s():
    """The silence at the end of what is transcribed: seven blocks."""
    return 7 * 0.032 if Endpointing().pause_s == 0.2 else pytest.fail("the default has changed")


@pytest.mark.full
@pytest.mark.parametrize("kind", ["silence", "pink", "hum", "knocks"])
def test_what_is_no_speech_is_not_taken_for_it(stage, silero, kind):
    at = np.arange(8 * RATE_HZ) / RATE_HZ
    sound = {
        "silence": np.zeros(len(at)),
        "pink": noise(len(at), 0),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * at) + 0.05 * np.sin(2 * np.pi * 150 * at),
        "knocks": 0.8 * np.sin(2 * np.pi * 300 * at) * np.exp(-(at % 1.0) * 60),
    }[kind]
    stage.detector = silero.stream()
    summary = stage.run(SoundFile(stage.file(sound.astype(np.float32)), stage.clock, stage.stop))
    assert (summary.turns, stage.ears.sounds, summary.heard_s) == (0, [], 8.0)
