from __future__ import annotations

import wave

import numpy as np
import pytest
from scipy.signal import resample_poly
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

from mmedge.errors import MmedgeError
from mmedge.processors.audio import sound_at
from mmedge.processors.fbank import Fbank, FbankSettings
from mmedge.processors.waveform import WaveformSettings, waveform

ATOL = 1e-5
"""Normalised features lie in about [-2, 2]; transformers rounds the spectrum to float32."""
AT = np.arange(16_000 * 12) / 16_000
SOUND = (0.3 * np.sin(2 * np.pi * (200 + 200 * AT) * AT) + 0.01 * np.random.default_rng(0).standard_normal(len(AT))).astype(np.float32)
LENGTHS = {"one frame": 400, "a second": 16_000, "just short": 1023 * 160 + 399, "the window": 1023 * 160 + 400, "longer": len(SOUND)}
pytestmark = pytest.mark.full


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize(
    "options", [{}, {"num_mel_bins": 40, "max_length": 100, "mean": -5.0, "std": 3.0}, {"do_normalize": False}], ids=["usual", "other", "raw"]
)
def test_features_are_those_of_transformers(name, options):
    extractor = ASTFeatureExtractor(**options)
    theirs = extractor(SOUND[: LENGTHS[name]], sampling_rate=16_000, return_tensors="np")["input_values"]
    ours = Fbank(FbankSettings.from_extractor(extractor.to_dict()))(SOUND[: LENGTHS[name]])
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=ATOL * (10 if "do_normalize" in options else 1))


def test_silence_and_less():
    silence = ASTFeatureExtractor()(np.zeros(16_000, np.float32), sampling_rate=16_000, return_tensors="np")["input_values"]
    np.testing.assert_allclose(Fbank(FbankSettings())(np.zeros(16_000, np.float32)), silence, atol=ATOL)
    padded = np.pad(SOUND[:200], (0, 200))
    np.testing.assert_array_equal(Fbank(FbankSettings())(SOUND[:200]), Fbank(FbankSettings())(padded))
    with pytest.raises(MmedgeError, match="no samples"):
        Fbank(FbankSettings())(SOUND[:0])
    with pytest.raises(MmedgeError, match="cannot be read"):
        FbankSettings.from_extractor({"num_mel_bins": "many"})
    assert FbankSettings.from_extractor({}) == FbankSettings() == FbankSettings.from_extractor(ASTFeatureExtractor().to_dict())


@pytest.mark.parametrize("normalise", [True, False])
def test_samples_are_those_of_transformers(normalise):
    """Bit for bit."""
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalise)
    settings = WaveformSettings.from_extractor(extractor.to_dict())
    for length in (1, 5_000, len(SOUND)):
        theirs = extractor(SOUND[:length], sampling_rate=16_000, return_tensors="np")["input_values"]
        ours = waveform(SOUND[:length], settings)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(MmedgeError, match="no samples"):
        waveform(SOUND[:0], settings)
    with pytest.raises(MmedgeError, match="cannot be read"):
        WaveformSettings.from_extractor({"sampling_rate": "fast"})


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (48_000, 2)])
def test_files_of_other_rates(rate_hz, channels, tmp_path):
    """Against scipy's resampling and transformers' extractors: AST's features within 0.02 on average where there is sound, samples within 1%."""
    sound = resample_poly(SOUND[: 3 * 16_000], rate_hz, 16_000)
    frames = np.round(np.stack([sound, 0.5 * sound][:channels], axis=1) * 30_000)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(frames.astype("<i2").tobytes())
    mono = resample_poly(frames.mean(axis=1) / 32768, 16_000, rate_hz).astype(np.float32)
    ours = sound_at(tmp_path / "sound.wav", 16_000)
    theirs = ASTFeatureExtractor()(mono, sampling_rate=16_000, return_tensors="np")["input_values"][0]
    heard = theirs > 0.1
    heard[:, 95:] = False  # above 3.5 kHz, where the filters of resamplers differ
    assert heard.sum() > 1_000 and np.abs(Fbank(FbankSettings())(ours)[0] - theirs)[heard].mean() < 0.02
    samples = Wav2Vec2FeatureExtractor()(mono, sampling_rate=16_000, return_tensors="np")["input_values"][0]
    found = waveform(ours, WaveformSettings())[0]
    assert found.shape == samples.shape and np.linalg.norm(found - samples) < 0.01 * np.linalg.norm(samples)
