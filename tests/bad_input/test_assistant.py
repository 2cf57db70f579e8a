"""The shipped assistant: stopped, deaf, mute and damaged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmedge.bundle import MANIFEST, Bundle

pytestmark = pytest.mark.full

GOLDEN = Path(__file__).parents[2] / "mmedge" / "golden"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_check_of_the_real_bundle_is_stopped(assistant_bundle, tmp_path, number):
    path = shutil.copytree(assistant_bundle, tmp_path / "assistant.bundle", copy_function=os.link)  # files are replaced, never changed
    before = (path / MANIFEST).read_bytes()
    process = subprocess.Popen([sys.executable, "-m", "mmedge", "check", path, "-t", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(3)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert number == signal.SIGKILL or said.splitlines()[-2:] == ["error: interrupted", "fix: run it again: a build goes on from what was complete"]
    assert (path / MANIFEST).read_bytes() == before
    Bundle.open(path)


@pytest.fixture
def sounds(tmp_path):
    from mmedge.processors.audio import load_sound
    from mmedge.processors.wav import write_wav

    samples, rate_hz = load_sound(GOLDEN / "question.wav")
    write_wav(tmp_path / "empty.wav", samples[:0], rate_hz)
    write_wav(tmp_path / "silence.wav", np.zeros(32_000, np.float32), rate_hz)
    good = (GOLDEN / "question.wav").read_bytes()
    (tmp_path / "coding.wav").write_bytes(good[:20] + b"\x63\x00" + good[22:])
    (tmp_path / "longer.wav").write_bytes(good[:40] + (10**9).to_bytes(4, "little") + good[44:])
    (tmp_path / "text.wav").write_text("hello")
    return tmp_path


@pytest.mark.parametrize("mic", ["empty.wav", "silence.wav"])
def test_a_recording_without_speech_is_no_error(assistant_bundle, mmedge, sounds, mic):
    status, out, said = mmedge("run", assistant_bundle, "-t", "cpu", "--mic", mic, "--camera", "none", "--speaker", "answer.wav")
    assert status == 0 and out.endswith("nobody spoke\n") and said == ""
    assert not Path("answer.wav").exists()


@pytest.mark.parametrize(
    ("mic", "speaker", "what"),
    [
        ("coding.wav", "none", "coded in a way that FFmpeg does not know"),
        ("longer.wav", "none", "is cut off"),
        ("text.wav", "none", "is not a sound that can be read: Invalid data found when processing input"),
        ("/dev/zero", "none", "is a device, which may never end"),
        (GOLDEN / "question.wav", "nowhere/answer.wav", "nowhere/answer.wav cannot be written"),
        (GOLDEN / "question.wav", "answer.mp3", "answers are written as WAV"),
        (GOLDEN / "question.wav", "/dev/full", "no space left to write /dev/full"),
    ],
)
def test_sounds_that_are_none_and_speakers_that_fail(assistant_bundle, refused, sounds, mic, speaker, what):
    assert what in refused("run", assistant_bundle, "-t", "cpu", "--mic", mic, "--camera", "none", "--speaker", speaker)[0]


def test_a_demo_does_not_use_a_damaged_bundle(assistant_bundle, tmp_path):
    from mmedge.demo import _ready
    from mmedge.recipe import Recipe
    from mmedge.target import Target

    recipe, cpu = Recipe.load("assistant-mini"), Target.load("cpu")
    assert _ready(assistant_bundle, recipe, cpu) is not None
    path = shutil.copytree(assistant_bundle, tmp_path / "damaged.bundle", copy_function=os.link)
    next(path.glob("eyes/things.*")).unlink()
    assert _ready(path, recipe, cpu) is None and _ready(tmp_path / "nothing", recipe, cpu) is None
