from pathlib import Path

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

import mmedge
from mmedge.processors.audio import load_sound
from mmedge.processors.log_mel import LogMel, mel_filters

TOLERANCE = 2e-5
"""Features lie in about [-1, 2]; transformers computes in float32 (torch) or float64 (numpy), we in float64."""


@pytest.mark.parametrize("mels", [40, 80, 128])
def test_filters_are_those_of_transformers(mels):
    theirs = mel_filter_bank(201, mels, 0.0, 8_000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(mels), theirs, atol=1e-12)


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    at = np.arange(40_000) / 16_000
    sweep = np.sin(2 * np.pi * (100 + 900 * at) * at) * np.exp(-at)
    return {
        "sweep": sweep,
        "quiet": 1e-4 * sweep,
        "noise": 0.1 * rng.standard_normal(160_000 - 37),
        "longer than the window": 0.1 * rng.standard_normal(170_000),
        "just short": 0.1 * rng.standard_normal(160_000 - 250),
        "one sample": np.ones(1),
        "a few": rng.standard_normal(150),
        "silence": np.zeros(16_000),
        "nothing": np.zeros(0),
    }


@pytest.mark.parametrize("name", list(sounds()))
@pytest.mark.parametrize("mels", [80, 128])
def test_features_equal_transformers(name, mels):
    samples = sounds()[name].astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=10)
    theirs = extractor._np_extract_fbank_features(np.pad(samples[:160_000], (0, max(0, 160_000 - len(samples))))[None], "cpu")[0]
    ours = LogMel(mels)(samples, 10)
    assert ours.shape == (1, mels, 1_000) and ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_allclose(ours[0], theirs, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["question", "remark"])
def test_the_window_of_training_equals_the_extractor_as_it_is_called_on_speech(name):
    samples, rate_hz = load_sound(Path(mmedge.__file__).parent / "golden" / f"{name}.wav")
    assert rate_hz == 16_000
    theirs = WhisperFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np").input_features
    np.testing.assert_allclose(LogMel(80)(samples, 30), theirs, atol=5 * TOLERANCE)


def test_a_shorter_window_is_the_beginning_of_the_longer_one():
    samples = sounds()["sweep"].astype(np.float32)
    np.testing.assert_array_equal(LogMel(80)(samples, 5)[..., :400], LogMel(80)(samples, 30)[..., :400])
