from __future__ import annotations

import wave
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from scipy.signal import resample_poly
from transformers import ClapFeatureExtractor

import mmedge
from mmedge.errors import MmedgeError
from mmedge.processors.audio import sound_at
from mmedge.processors.clap_mel import ClapMel, ClapSettings

ATOL_DB = 2e-4
"""Features lie between -100 and 40 dB; transformers rounds the spectrum to float32."""
RATE_HZ = 48_000
AT = np.arange(RATE_HZ * 13) / RATE_HZ
SOUND = (0.3 * np.sin(2 * np.pi * (200 + 300 * AT) * AT) + 0.01 * np.random.default_rng(0).standard_normal(len(AT))).astype(np.float32)
LENGTHS = {"short": 1000, "three seconds": 3 * RATE_HZ + 7, "half the window": 5 * RATE_HZ, "the window": 10 * RATE_HZ}
pytestmark = pytest.mark.full


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("name", LENGTHS)
def test_features_are_those_of_transformers(truncation, padding, name):
    theirs = ClapFeatureExtractor(truncation=truncation, padding=padding)(SOUND[: LENGTHS[name]], sampling_rate=RATE_HZ, return_tensors="np")
    ours = ClapMel(ClapSettings(truncation=truncation, padding=padding))(SOUND[: LENGTHS[name]])
    assert ours["input_features"].shape == theirs["input_features"].shape and ours["input_features"].dtype == np.float32
    np.testing.assert_allclose(ours["input_features"], theirs["input_features"], atol=ATOL_DB)
    if truncation == "fusion":
        np.testing.assert_array_equal(ours["is_longer"], theirs["is_longer"])


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("more", [1, 479, 480, 961, 1440, 2 * RATE_HZ])
def test_what_is_longer_is_what_transformers_gives_when_lots_fall_on_the_middle(truncation, more):
    """It draws pieces at random; ours are those of the middle lot, always. torch may round a place between frames otherwise than numpy, by one bit."""
    sound = SOUND[: 10 * RATE_HZ + more]
    with mock.patch("numpy.random.choice", lambda lots: lots[len(lots) // 2]), mock.patch("numpy.random.randint", lambda low, high: (high - low) // 2):
        theirs = ClapFeatureExtractor(truncation=truncation)(sound, sampling_rate=RATE_HZ, return_tensors="np")
    clap = ClapMel(ClapSettings(truncation=truncation))
    ours = clap(sound)
    np.testing.assert_allclose(ours["input_features"], theirs["input_features"], atol=1e-3)
    np.testing.assert_array_equal(ours["input_features"], clap(sound)["input_features"])
    if truncation == "fusion":
        np.testing.assert_array_equal(ours["is_longer"], theirs["is_longer"])


def written(path, rate_hz, channels):
    """A WAV of 16 bits: the question at another rate; a second channel, half as loud."""
    samples, _ = _question()
    changed = resample_poly(samples, rate_hz, 16_000)
    frames = np.stack([changed, 0.5 * changed][:channels], axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(frames * 32767).astype("<i2").tobytes())
    return np.round(frames * 32767).mean(axis=1) / 32768


def _question():
    from mmedge.processors.audio import load_sound

    return load_sound(Path(mmedge.__file__).parent / "golden" / "question.wav")


def test_a_stereo_file_at_its_own_rate(tmp_path):
    mono = written(tmp_path / "stereo.wav", 48_000, 2)
    theirs = ClapFeatureExtractor(truncation="rand_trunc")(mono.astype(np.float32), sampling_rate=RATE_HZ, return_tensors="np")["input_features"]
    ours = ClapMel(ClapSettings(truncation="rand_trunc"))(sound_at(tmp_path / "stereo.wav", RATE_HZ))["input_features"]
    np.testing.assert_allclose(ours, theirs, atol=ATOL_DB)


def test_a_file_at_8_khz(tmp_path):
    """scipy's resampling in the reference: within 0.1 dB on average where there is sound, 1 dB at worst; its filter differs at the edge of the band."""
    mono = written(tmp_path / "low.wav", 8_000, 1)
    changed = resample_poly(mono, 6, 1).astype(np.float32)
    theirs = ClapFeatureExtractor(truncation="rand_trunc")(changed, sampling_rate=RATE_HZ, return_tensors="np")["input_features"][0, 0]
    ours = ClapMel(ClapSettings(truncation="rand_trunc"))(sound_at(tmp_path / "low.wav", RATE_HZ))["input_features"][0, 0]
    heard = theirs > -40
    heard[:, 30:] = False  # above 3.5 kHz
    assert heard.sum() > 5_000
    difference = np.abs(ours - theirs)[heard]
    assert difference.mean() < 0.1 and difference.max() < 1


def test_settings():
    config = ClapFeatureExtractor(truncation="rand_trunc", padding="repeat", max_length_s=7, frequency_min=50).to_dict()
    assert ClapSettings.from_extractor(config) == ClapSettings(truncation="rand_trunc", padding="repeat", window_s=7, low_hz=50)
    assert ClapSettings.from_extractor({}) == ClapSettings() == ClapSettings.from_extractor(ClapFeatureExtractor().to_dict())
    for wrong in ({"truncation": "middle"}, {"padding": "mirror"}, {"hop_length": "many"}):
        with pytest.raises(MmedgeError, match="does not know"):
            ClapSettings.from_extractor(wrong)
    with pytest.raises(MmedgeError, match="no samples"):
        ClapMel(ClapSettings())(np.zeros(0, np.float32))
