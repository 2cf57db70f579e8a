from __future__ import annotations

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mmedge.processors.mel import CHUNK, energies, filters, hz_to_mel, mel_to_hz


@pytest.mark.parametrize("scale", ["slaney", "htk", "kaldi"])
@pytest.mark.parametrize(
    ("mels", "fft", "rate_hz", "low_hz", "high_hz"), [(64, 1024, 48_000, 50, 14_000), (80, 400, 16_000, 0, 8_000), (40, 512, 16_000, 20, 8_000)]
)
def test_filters_are_those_of_transformers(scale, mels, fft, rate_hz, low_hz, high_hz):
    theirs = mel_filter_bank(fft // 2 + 1, mels, low_hz, high_hz, rate_hz, mel_scale=scale, triangularize_in_mel_space=scale == "kaldi")
    np.testing.assert_allclose(filters(mels, fft, rate_hz, scale, low_hz, high_hz), theirs, atol=1e-12)
    if scale == "slaney":
        theirs = mel_filter_bank(fft // 2 + 1, mels, low_hz, high_hz, rate_hz, norm="slaney", mel_scale="slaney")
        np.testing.assert_allclose(filters(mels, fft, rate_hz, scale, low_hz, high_hz, equal_area=True), theirs, atol=1e-12)


@pytest.mark.parametrize("scale", ["slaney", "htk", "kaldi"])
def test_scales_have_inverses(scale):
    hz = np.array([0.0, 20.0, 999.0, 1000.0, 1001.0, 14_000.0])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, atol=1e-9)


@pytest.mark.parametrize("length", [399, 400, 560, 400 + 160 * CHUNK, 400 + 160 * (CHUNK + 5) + 1])
def test_energies_are_those_of_a_spectrogram(length):
    """Around the places where frames and chunks begin. transformers rounds the spectrum to single precision."""
    sound, bank, window = np.random.default_rng(0).standard_normal(length), filters(128, 400, 16_000, "slaney"), np.hanning(400)
    ours = energies(sound, 400, 160, 400, bank, lambda frames: frames * window)
    if length < 400:
        assert ours.shape == (0, 128)
        return
    theirs = spectrogram(sound, window_function(400, "hann", periodic=False), 400, 160, power=2.0, center=False, mel_filters=bank, mel_floor=0.0)
    np.testing.assert_allclose(ours, theirs.T, rtol=1e-5)
