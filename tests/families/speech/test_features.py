"""What encoders are given, against transformers' own extractors, for sounds of other rates and channels."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from transformers import AutoFeatureExtractor, AutoProcessor

from mmedge.errors import MmedgeError
from mmedge.families.speech.parts import read_sound
from mmedge.processors.resample import resample

pytestmark = pytest.mark.full

KINDS = ("whisper", "moonshine", "wav2vec2", "hubert")
SAME = 1e-5
"""Both are given the same samples at 16 kHz; whose resampling is better is tested in tests/processors/test_resample.py."""


def stereo_wav(path, channels, rate_hz):
    pcm = np.rint(np.stack(channels, 1) * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 2, rate_hz, 4 * rate_hz, 4, 16, b"data", len(pcm))
    path.write_bytes(head + pcm)


def extractor(folder):
    """As the checkpoint's own files say."""
    if (folder / "processor_config.json").exists():
        return AutoProcessor.from_pretrained(folder).feature_extractor
    return AutoFeatureExtractor.from_pretrained(folder)


@pytest.mark.parametrize("rate_hz", [8_000, 48_000, 16_000])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_transformers(torch_session, folders, sounds, tmp_path, kind, rate_hz):
    session, _ = torch_session(kind)
    left, right = (resample(samples, 16_000, rate_hz) for samples in sounds[:2])
    stereo_wav(tmp_path / "a.wav", [left, right], rate_hz)
    stored = np.frombuffer((tmp_path / "a.wav").read_bytes()[44:], "<i2").reshape(-1, 2) / 2**15
    mono = resample(stored.mean(1).astype(np.float32), rate_hz, 16_000)
    theirs = next(iter(extractor(folders(kind))(mono, sampling_rate=16_000, return_tensors="np").values()))
    ours = session.features(tmp_path / "a.wav")
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=10 * SAME if kind == "whisper" else SAME)


@pytest.mark.parametrize("kind", ["moonshine", "wav2vec2"])
def test_a_sound_too_short_for_the_model_is_followed_by_silence(torch_session, kind):
    session, runners = torch_session(kind)
    for samples in (np.full(10, 0.1, np.float32), np.zeros(0, np.float32)):
        values = session.features((samples, 16_000))
        assert values.shape[1] == session.recogniser._config.sound.least and not values[0, len(samples) :].any()
        runners["encoder"].run({"input_values": values})
        assert isinstance(session.transcribe((samples, 16_000)), str)


@pytest.mark.parametrize("where", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize(
    ("change", "says"), [({"feature_size": 2}, "one channel"), ({"sampling_rate": 0}, "rate of 0 Hz"), ({"sampling_rate": "fast"}, "cannot be read")]
)
def test_a_preprocessor_of_another_kind_is_refused(tmp_path, where, change, says):
    content = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **change}
    (tmp_path / where).write_text(json.dumps({"feature_extractor": content} if where.startswith("processor") else content))
    with pytest.raises(MmedgeError, match=says):
        read_sound(tmp_path, 400, normalise=True)
