import av
import numpy as np
import pytest

from mmedge.errors import MmedgeError
from mmedge.processors.audio import load_sound
from mmedge.processors.wav import write_wav

RATE_HZ = 48_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 2) / RATE_HZ)).astype(np.float32)


def encode(path, codec: str, layout: str) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE_HZ, layout=layout)
        channels = 1 if layout == "mono" else 2
        frame = av.AudioFrame.from_ndarray(np.stack([TONE] * channels), format="fltp", layout=layout)
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=RATE_HZ, frame_size=stream.codec_context.frame_size or None)
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.m4a", "aac"), ("a.wav", "pcm_mulaw")])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_compressed_sound_is_heard_through_pyav(tmp_path, name, codec, layout):
    encode(tmp_path / name, codec, layout)
    samples, rate_hz = load_sound(tmp_path / name)
    assert rate_hz == RATE_HZ and samples.dtype == np.float32 and samples.ndim == 1
    lag = int(np.argmax(np.correlate(samples[:6_000], TONE[:2_000], "valid")))  # lossy coders add silence in front
    heard = samples[lag : lag + 10_000]
    assert np.corrcoef(heard, TONE[: len(heard)])[0, 1] > 0.99
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.05)


def test_samples_in_memory_pass_through():
    samples, rate_hz = load_sound((TONE.astype(np.float64), RATE_HZ))
    assert samples.dtype == np.float32 and rate_hz == RATE_HZ and len(samples) == len(TONE)
    for bad in [(np.zeros((2, 5), np.float32), RATE_HZ), (np.zeros(5, np.int16), RATE_HZ), (TONE, 0)]:
        with pytest.raises(MmedgeError, match="was given"):
            load_sound(bad)
    for bad in (TONE, None, 7):
        with pytest.raises(MmedgeError, match="is not a sound"):
            load_sound(bad)


def test_an_empty_recording_is_no_error(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(0, np.float32), RATE_HZ)
    assert load_sound(tmp_path / "a.wav")[0].shape == (0,)


@pytest.mark.parametrize("data", [b"", b"hello, I am a text file\n" * 40, bytes(range(256)) * 20])
def test_what_is_no_sound_is_refused(tmp_path, data):
    (tmp_path / "a.bin").write_bytes(data)
    for sound in (tmp_path / "a.bin", data):
        with pytest.raises(MmedgeError, match=r"not a sound|no sound") as caught:
            load_sound(sound)
        assert "sound file" in caught.value.fix


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(MmedgeError, match=r"there is no file .*gone\.wav"):
        load_sound(tmp_path / "gone.wav")
    with pytest.raises(MmedgeError, match="cannot read"):
        load_sound(tmp_path)


def test_without_pyav_the_error_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MmedgeError) as caught:
        load_sound(b"fLaC" + b"\0" * 100)
    assert "mmedge[assistant]" in caught.value.fix
