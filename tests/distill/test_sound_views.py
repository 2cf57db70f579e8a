"""Views of a sound, by what can be measured of them."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.distill.sound_views import hold_views, sound_view
from mmedge.errors import MmedgeError

RATE_HZ = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def pitch_hz(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples)


def test_the_first_is_the_sound_and_the_same_numbers_give_the_same():
    assert sound_view(TONE, RATE_HZ, 0, ("noise", "gain", "speed"), [1]) is TONE
    made = [sound_view(TONE, RATE_HZ, number, ("noise", "gain", "speed"), [seed]) for number, seed in ((1, 1), (1, 1), (2, 1), (1, 2))]
    assert np.array_equal(made[0], made[1])
    assert not any(len(one) == len(made[0]) and np.allclose(one, made[0]) for one in made[2:])
    assert all(one.dtype == np.float32 and np.abs(one).max() <= 1 for one in made)


@pytest.mark.parametrize("number", range(1, 9))
def test_each_kind_does_what_it_says(number):
    louder = sound_view(TONE, RATE_HZ, number, ("gain",), [0])
    assert np.allclose(louder / np.abs(louder).max(), TONE / np.abs(TONE).max(), atol=1e-4)
    assert -18.01 <= 20 * np.log10(louder.std() / TONE.std()) <= 6.01

    noisy = sound_view(TONE, RATE_HZ, number, ("noise",), [0])
    assert 4.9 <= 20 * np.log10(TONE.std() / (noisy - TONE).std()) <= 30.1

    other = sound_view(TONE, RATE_HZ, number, ("speed",), [0])
    assert 0.89 <= len(TONE) / len(other) <= 1.11
    assert pitch_hz(other) == pytest.approx(440 * len(TONE) / len(other), rel=0.01)


def test_silence_stays_silence():
    assert not sound_view(np.zeros(800, np.float32), RATE_HZ, 1, ("noise", "gain", "speed"), [0]).any()


def test_a_view_of_pictures():
    with pytest.raises(MmedgeError, match="flip is no view of a sound"):
        hold_views(("noise", "flip"))
