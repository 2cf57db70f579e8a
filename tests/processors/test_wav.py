import struct

import numpy as np
import pytest
from scipy.io import wavfile

from mmedge.errors import MmedgeError
from mmedge.processors.audio import load_sound
from mmedge.processors.wav import write_wav

RATE_HZ = 22_050
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2_000) / RATE_HZ)).astype(np.float32)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WAVE" + b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def header(coding: int, channels: int, bits: int, more: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", coding, channels, RATE_HZ, RATE_HZ * frame, frame, bits) + more


PCM16 = (TONE * 32767).astype("<i2").tobytes()
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [("uint8", 127, 2 / 127), ("int16", 2**15 - 1, 1e-4), ("int32", 2**31 - 1, 1e-6), ("float32", 1, 1e-7), ("float64", 1, 1e-7)],
)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_reads_what_scipy_writes(tmp_path, dtype, scale, tolerance, channels):
    stored = TONE.astype(np.float64) * scale + (128 if dtype == "uint8" else 0)
    stored = np.stack([stored] + [np.full_like(stored, 128 if dtype == "uint8" else 0)] * (channels - 1), axis=1).squeeze()
    wavfile.write(tmp_path / "a.wav", RATE_HZ, stored.astype(dtype))
    samples, rate_hz = load_sound(tmp_path / "a.wav")
    assert rate_hz == RATE_HZ and samples.dtype == np.float32 and samples.shape == TONE.shape
    np.testing.assert_allclose(samples, TONE / channels, atol=tolerance)  # one loud channel, the others silent


def test_reads_24_bit_as_scipy_does(tmp_path):
    wide = (TONE.astype(np.float64) * (2**23 - 1)).astype("<i4")
    (tmp_path / "a.wav").write_bytes(riff((b"fmt ", header(1, 1, 24)), (b"data", wide.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())))
    _, reference = wavfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(load_sound(tmp_path / "a.wav")[0], reference / 2**31, atol=1e-7)


def test_reads_the_extensible_format_odd_chunks_and_the_length_of_a_pipe():
    extensible = header(0xFFFE, 1, 16, struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + GUID_TAIL)
    data = riff((b"LIST", b"odd"), (b"fmt ", extensible), (b"fact", b"\0" * 5), (b"data", PCM16))
    np.testing.assert_allclose(load_sound(data)[0], TONE, atol=1e-4)
    piped = data.replace(b"data" + struct.pack("<I", len(PCM16)), b"data" + b"\xff" * 4)
    assert len(load_sound(piped)[0]) == len(TONE)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (riff((b"fmt ", header(1, 1, 16)), (b"data", PCM16))[:-100], "cut off"),
        (riff((b"fmt ", header(1, 1, 16))), "no sound data"),
        (riff((b"data", PCM16)), "before its format"),
        (riff((b"fmt ", header(1, 0, 16)), (b"data", PCM16)), "0 channels"),
        (riff((b"fmt ", b"\1\0"), (b"data", PCM16)), "too short"),
        (riff((b"fmt ", header(0xFFFE, 1, 16)), (b"data", PCM16)), "too short"),
        (riff((b"fmt ", header(1, 2, 16)[:12] + struct.pack("<HH", 3, 16)), (b"data", PCM16)), "do not make frames"),
        (riff((b"fmt ", header(3, 1, 32)), (b"data", np.full(4, np.nan, "<f4").tobytes())), "not numbers"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_why(data, says):
    with pytest.raises(MmedgeError, match=says) as caught:
        load_sound(data)
    assert caught.value.fix


def test_what_is_written_is_read_by_scipy_and_by_us(tmp_path):
    write_wav(tmp_path / "a.wav", np.concatenate([TONE, [2.0, -2.0]]).astype(np.float32), RATE_HZ)
    rate_hz, stored = wavfile.read(tmp_path / "a.wav")
    assert rate_hz == RATE_HZ and stored.dtype == np.int16 and stored[-2:].tolist() == [32767, -32768]
    np.testing.assert_allclose(load_sound(tmp_path / "a.wav")[0], stored / 2**15, atol=1e-7)
    with pytest.raises(MmedgeError, match="cannot write"):
        write_wav(tmp_path / "none" / "a.wav", TONE, RATE_HZ)
