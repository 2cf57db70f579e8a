from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmedge.assistant import run as module
from mmedge.assistant.clock import RealClock, ReplayClock
from mmedge.assistant.sources import AudioChunk
from mmedge.errors import MmedgeError
from mmedge.processors.audio import load_sound
from mmedge.processors.wav import write_wav
from mmedge.target import Target

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "mmedge" / "golden"


class Bundle:
    """Hands out the stage's actors as sessions, and remembers which were asked for."""

    def __init__(self, stage, roles):
        self.opened: list[str] = []
        self.manifest = SimpleNamespace(models=dict.fromkeys(roles), media={"question": "a text", "cat": "a text"})
        self._sessions = {"vad": SimpleNamespace(stream=lambda: stage.detector), "ears": stage.ears, "eyes": "the eyes", "voice": stage.voice}

    @contextlib.contextmanager
    def session(self, role, target):
        self.opened.append(role)
        yield self._sessions[role]


@pytest.fixture
def play(stage, monkeypatch, capsys):
    """Run a bundle of given roles; returns (summary, lines of stdout, lines of stderr, bundle, what skills were made of)."""

    def play(mic, camera="none", speaker="none", roles=("vad", "ears", "eyes", "voice"), as_json=True):
        bundle, eyes = Bundle(stage, roles), []
        monkeypatch.setattr(module.Bundle, "open", lambda path: bundle)
        monkeypatch.setattr(module, "Skills", lambda given: eyes.append(given) or stage.skills)
        summary = module.run(Path("a.bundle"), Target.load("null"), mic=str(mic), camera=str(camera), speaker=str(speaker), as_json=as_json)
        captured = capsys.readouterr()
        return SimpleNamespace(summary=summary, out=captured.out.splitlines(), err=captured.err.splitlines(), bundle=bundle, eyes=eyes)

    return play


def test_each_turn_is_a_line_and_the_summary_the_last(stage, play, tmp_path):
    question = stage.file(stage.sound(0.5, 1.0, 1.0, 1.0, 1.0))
    played = play(question, GOLDEN / "cat.jpg", tmp_path / "answer.wav")
    turns, summary = [json.loads(line) for line in played.out[:-1]], json.loads(played.out[-1])
    assert [turn["schema"] for turn in turns] == ["mmedge.turn/1"] * 2 and turns[0]["heard"] == "hello" and turns[0]["seen"][0]["label"] == "brightness"
    assert (summary["schema"], summary["turns"], summary["ended"]) == ("mmedge.run/1", 2, "source")
    assert len(played.err) == 3 and played.err[0].startswith('heard "hello"') and played.err[2] == "listened for 4.5 s: 2 turns"
    samples, rate_hz = load_sound(tmp_path / "answer.wav")
    assert len(samples) / rate_hz == pytest.approx(2 * 1.0 + 0.5) and played.eyes == ["the eyes"]


def test_without_json_turns_are_plain_lines_on_stdout(stage, play):
    played = play(stage.file(stage.sound(0.5, 1.0, 1.0)), as_json=False)
    assert played.out[0].startswith('heard "hello"') and played.out[1:] == ["listened for 2.5 s: 1 turn"] and played.err == []
    assert play(stage.file(stage.sound(2.0)), as_json=False).out == ["listened for 2.0 s: nobody spoke"]


def test_a_bundle_without_ears_is_no_assistant(play):
    with pytest.raises(MmedgeError, match="is no assistant: it has no model 'ears'"):
        play("default", roles=("vad", "eyes"))


def test_a_bundle_without_eyes_or_voice_does_without(stage, play, tmp_path):
    question = stage.file(stage.sound(0.5, 1.0, 1.0))
    played = play(question, GOLDEN / "cat.jpg", tmp_path / "answer.wav", roles=("vad", "ears"))
    turn = json.loads(played.out[0])
    assert played.bundle.opened == ["vad", "ears"] and played.eyes == [None] and turn["marks_ms"]["first_audio"] is None
    assert not (tmp_path / "answer.wav").exists()
    assert play(question, speaker="none").bundle.opened == ["vad", "ears", "eyes"], "nobody listens: no voice is opened"


@pytest.mark.parametrize(("mic", "camera"), [("missing.wav", "none"), (GOLDEN / "question.wav", "missing.png")])
def test_bad_input_is_found_before_a_model_is_opened(play, monkeypatch, tmp_path, mic, camera):
    monkeypatch.setattr(Bundle, "session", lambda self, role, target: pytest.fail("a model was opened"))
    with pytest.raises(MmedgeError, match="there is no file"):
        play(mic, camera, tmp_path / "answer.wav")


def test_only_files_are_replayed_faster_than_real_time(stage, play, monkeypatch):
    clocks = []
    monkeypatch.setattr(module, "open_microphone", lambda what, clock, stop: clocks.append(clock) or stage.records([]))
    monkeypatch.setattr(module, "open_camera", lambda what, clock, stop: None)
    monkeypatch.setattr(module, "open_speaker", lambda what, clock: stage.speaker)
    for mic, camera, speaker in (
        ("a.wav", "none", "none"),
        ("a.wav", "b.png", "c.wav"),
        ("default", "none", "none"),
        ("a.wav", "0", "none"),
        ("a.wav", "none", "default"),
    ):
        play(mic, camera, speaker)
    assert [type(clock) for clock in clocks] == [ReplayClock, ReplayClock, RealClock, RealClock, RealClock]


def test_a_signal_ends_a_run_in_good_order():
    """In a process of its own: the whole test run should not hang on one process's signals."""
    alone = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "python_functions=signalled", __file__]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def signalled(stage, play, monkeypatch, number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    class Endless:
        live = True

        def __init__(self, stop):
            self.stop = stop

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            at_s = 100.0
            sound = stage.sound(0.5, 1.0, 1.0)
            while not self.stop.is_set():
                for begin in range(0, len(sound), 512):
                    at_s += 0.032
                    yield AudioChunk(sound[begin : begin + 512], 16_000, at_s)
                os.kill(os.getpid(), number)
                self.stop.wait(10)  # a second signal would end the process: by then the handlers are those from before

    monkeypatch.setattr(module, "open_microphone", lambda what, clock, stop: Endless(stop))
    played = play("default")
    assert (played.summary.ended, played.summary.turns) == ("stop", 1)
    assert played.err[0] == "listening; Ctrl-C ends it" and len(played.out) == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_signals_are_left_alone(stage, play):
    question = stage.file(stage.sound(1.0))
    results = []
    thread = threading.Thread(target=lambda: results.append(play(question)))
    thread.start()
    thread.join(10)
    assert results[0].summary.ended == "source"


@pytest.mark.full
def test_the_shipped_assistant_answers_recordings_of_any_kind(assistant_bundle, capsys, tmp_path):
    """Two questions in one recording, once as 16 kHz mono and once as 44.1 kHz stereo of 24 bits: both are heard word for word, and answered aloud."""
    from scipy.signal import resample_poly

    av = pytest.importorskip("av")
    question, rate_hz = load_sound(GOLDEN / "question.wav")
    remark, _ = load_sound(GOLDEN / "remark.wav")
    quiet = np.zeros(rate_hz, np.float32)
    sound = np.concatenate([quiet, question, quiet, remark])
    write_wav(tmp_path / "mono.wav", sound, rate_hz)
    fast = resample_poly(sound, 441, 160).astype(np.float32)
    with av.open(str(tmp_path / "stereo.flac"), "w") as container:
        stream = container.add_stream("flac", rate=44_100, layout="stereo")
        frame = av.AudioFrame.from_ndarray((np.stack([fast, fast]).T.reshape(1, -1) * 2**31).astype(np.int32), format="s32", layout="stereo")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for name in ("mono.wav", "stereo.flac"):
        answer = tmp_path / f"{name}.answer.wav"
        module.run(assistant_bundle, Target.load("cpu"), mic=str(tmp_path / name), camera=str(GOLDEN / "cat.jpg"), speaker=str(answer), as_json=True)
        *turns, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        heard = [re.sub(r"[^a-z ]", "", turn["heard"].lower()) for turn in turns]
        assert heard == ["is there a cat in the picture", "thank you i will look at it again tomorrow"]
        assert "cat" in " ".join(seen["label"] for seen in turns[0]["seen"]).lower() and summary["turns"] == 2
        marks = turns[0]["marks_ms"]
        assert marks["speech_start"] < 0 < marks["turn_end"] <= marks["first_token"] <= marks["first_audio"] <= marks["done"]
        spoken, _ = load_sound(answer)
        assert len(spoken) > 22_050 and np.abs(spoken).max() > 0.1


@pytest.mark.full
def test_the_shipped_assistant_does_not_answer_what_is_no_question(assistant_bundle, capsys, tmp_path):
    write_wav(tmp_path / "silence.wav", np.random.default_rng(0).normal(0, 0.003, 64_000), 16_000)
    module.run(assistant_bundle, Target.load("cpu"), mic=str(tmp_path / "silence.wav"), camera="none", speaker=str(tmp_path / "a.wav"), as_json=True)
    captured = capsys.readouterr()
    (summary,) = [json.loads(line) for line in captured.out.splitlines()]
    assert summary["turns"] == 0 and "nobody spoke" in captured.err and not (tmp_path / "a.wav").exists()
