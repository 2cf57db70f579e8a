from __future__ import annotations

import wave

import numpy as np
import pytest

from mmedge.assistant.sinks import Nowhere, WavFile, open_speaker
from mmedge.errors import MmedgeError


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32767, file.getframerate()


def test_answers_follow_one_another_in_one_file_that_is_whole_after_each(tmp_path, stage):
    path = tmp_path / "answer.wav"
    path.write_bytes(b"what was there before")
    with open_speaker(str(path), stage.clock) as sink:
        assert not sink.aloud
        assert path.read_bytes() == b"what was there before", "not touched before the first answer"
        sink.play(np.full(100, 0.5, np.float32), 1000)
        assert sink.play(np.full(50, 2.0, np.float32), 1000) == stage.clock.now_s()
        sink.finish()
        assert len(read(path)[0]) == 150
        sink.play(np.full(10, -0.25, np.float32), 1000)
        sink.finish()
    samples, rate_hz = read(path)
    expected = np.concatenate([np.full(100, 0.5), np.full(50, 1.0), np.zeros(500), np.full(10, -0.25)])
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    assert rate_hz == 1000


def test_without_an_answer_there_is_no_file(tmp_path, stage):
    with WavFile(tmp_path / "answer.wav", stage.clock):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_said_before_anything_runs(tmp_path, stage):
    for path in (tmp_path, tmp_path / "no" / "such" / "folder.wav"):
        with pytest.raises(MmedgeError, match="cannot be written"):
            WavFile(path, stage.clock)


def test_a_full_disk_is_said_in_two_lines(stage):
    with pytest.raises(MmedgeError, match="no space left") as caught, WavFile("/dev/full", stage.clock) as sink:
        sink.play(np.zeros(100_000, np.float32), 16_000)
    assert str(caught.value).count("\n") == 1


def test_nowhere_takes_everything(stage):
    with open_speaker("none", stage.clock) as sink:
        assert isinstance(sink, Nowhere) and not sink.aloud and sink.play(np.zeros(3, np.float32), 16_000) == stage.clock.now_s()
