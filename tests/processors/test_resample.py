from math import gcd

import numpy as np
import pytest
from scipy.signal import resample_poly

from mmedge.processors.resample import Resampler, low_pass, resample

TO_HZ = 16_000
RATES_HZ = [8_000, 11_025, 22_050, 32_000, 44_100, 48_000]


def noise(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    """Pink-like noise with speech's range of levels, reproducible."""
    rng = np.random.default_rng(rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * rate_hz)))
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** 0.5
    samples = np.fft.irfft(spectrum)
    return (samples / np.abs(samples).max()).astype(np.float32)


def snr_db(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10(np.square(reference).sum() / np.square(ours - reference).sum()))


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_equals_scipy_with_the_same_filter(from_hz):
    common = gcd(from_hz, TO_HZ)
    up, down = TO_HZ // common, from_hz // common
    samples = noise(from_hz)
    reference = resample_poly(samples.astype(np.float64), up, down, window=low_pass(up, down) / up)
    ours = resample(samples, from_hz, TO_HZ)
    assert ours.dtype == np.float32 and ours.shape == reference.shape
    assert snr_db(ours, reference) > 110


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_agrees_with_scipys_own_filter_on_a_band_both_pass(from_hz):
    common = gcd(from_hz, TO_HZ)
    seconds, top_hz = 1.0, 0.35 * min(from_hz, TO_HZ)
    at = np.arange(round(seconds * from_hz)) / from_hz
    samples = sum(np.sin(2 * np.pi * hz * at + hz) for hz in np.linspace(100, top_hz, 20)).astype(np.float32) / 20
    reference = resample_poly(samples.astype(np.float64), TO_HZ // common, from_hz // common)
    ours = resample(samples, from_hz, TO_HZ)
    inner = slice(400, -400)
    assert snr_db(ours[inner], reference[inner]) > 45  # scipy's default filter ripples by .3 %
    exact = sum(np.sin(2 * np.pi * hz * np.arange(len(ours)) / TO_HZ + hz) for hz in np.linspace(100, top_hz, 20)) / 20
    assert snr_db(ours[inner], exact[inner]) > 70


def test_what_lies_above_the_new_band_is_gone():
    at = np.arange(48_000) / 48_000
    ours = resample(np.sin(2 * np.pi * 9_500 * at).astype(np.float32), 48_000, TO_HZ)
    assert np.abs(ours[200:-200]).max() < 1e-3


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("chunk", [1, 37, 441, 4_800])
def test_a_stream_in_chunks_equals_the_whole(from_hz, chunk):
    samples = noise(from_hz, 0.1)
    stream = Resampler(from_hz, TO_HZ)
    parts = [stream.push(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    np.testing.assert_allclose(np.concatenate([*parts, stream.flush()]), resample(samples, from_hz, TO_HZ), atol=1e-6, rtol=0)
    if chunk > stream.delay_samples:
        assert len(parts[0]) > 0, "a stream gives what it can at once"


def test_edges():
    samples = noise(16_000, 0.01)
    assert resample(samples, 16_000, 16_000) is samples
    assert len(resample(np.zeros(0, np.float32), 44_100, 16_000)) == 0
    assert len(resample(np.ones(1, np.float32), 44_100, 16_000)) == 1
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 16_000)
