"""RIFF/WAVE files, read and written with numpy alone.

Format: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991) and "Multiple Channel Audio Data and WAVE Files" (2007).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN_LENGTH = 0xFFFFFFFF
"""What programs that write to a pipe leave as the size of the data chunk: it goes on to the end of the file."""


def is_wav(data: bytes) -> bool:
    """Whether the bytes claim to be a RIFF/WAVE file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def read_wav(data: bytes, name: str) -> tuple[NDArray[np.float32], int] | None:
    """Decode a RIFF/WAVE file.

    Args:
        data: the whole file.
        name: what to call it in an error.

    Returns:
        Samples as float32 mono [n], full scale 1.0 (the mean of all channels), and the rate in Hz; None for a coding that is neither PCM nor float.

    Raises:
        MmedgeError: the file is damaged or cut off.
    """
    header: tuple[int, int, int, int] | None = None
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if kind == b"fmt ":
            header = _header(data[start : start + size], name)
        elif kind == b"data":
            if header is None:
                raise _damaged(name, "its data comes before its format")
            if size == UNKNOWN_LENGTH:
                size = len(data) - start
            elif start + size > len(data):
                raise _damaged(name, f"it is cut off: {size} bytes of sound announced, {len(data) - start} present")
            coding, channels, rate_hz, bits = header
            samples = _decode(data[start : start + size], coding, channels, bits)
            if samples is not None and not np.isfinite(samples).all():
                raise _damaged(name, "some of its samples are not numbers")
            return None if samples is None else (samples, rate_hz)
        position = start + size + (size & 1)  # chunks begin on even bytes
    raise _damaged(name, "it holds no sound data")


def _header(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    """(coding, channels, rate_hz, bits of one stored sample) of a fmt chunk."""
    if len(chunk) < 16:
        raise _damaged(name, "its format chunk is too short")
    coding, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if coding == EXTENSIBLE:
        if len(chunk) < 26:
            raise _damaged(name, "its extended format chunk is too short")
        (coding,) = struct.unpack_from("<H", chunk, 24)  # the first field of the SubFormat GUID
    if not (1 <= channels <= 1024 and 1_000 <= rate_hz <= 1_000_000):
        raise _damaged(name, f"it claims {channels} channels at {rate_hz} Hz")
    if coding in (PCM, FLOAT):
        bits = (bits + 7) // 8 * 8  # 20-bit samples are stored left-justified in 24 bits
        if frame_bytes != channels * bits // 8:
            raise _damaged(name, f"{channels} channels of {bits} bits do not make frames of {frame_bytes} bytes")
    return coding, channels, rate_hz, bits


def _decode(raw: bytes, coding: int, channels: int, bits: int) -> NDArray[np.float32] | None:
    """Interleaved samples -> float32 mono [n]. A last, incomplete frame is dropped."""
    if (coding, bits) not in ((PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)):
        return None
    raw = raw[: len(raw) - len(raw) % (channels * bits // 8)]
    samples: NDArray[np.float32]
    if (coding, bits) == (PCM, 8):
        samples = (np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(128)) * np.float32(2**-7)
    elif (coding, bits) == (PCM, 16):
        samples = np.frombuffer(raw, "<i2").astype(np.float32) * np.float32(2**-15)
    elif (coding, bits) == (PCM, 24):
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        samples = (wide.reshape(-1).view("<i4") / 2**31).astype(np.float32)
    elif (coding, bits) == (PCM, 32):
        samples = (np.frombuffer(raw, "<i4") / 2**31).astype(np.float32)
    elif (coding, bits) == (FLOAT, 32):
        samples = np.frombuffer(raw, "<f4").astype(np.float32)
    else:
        samples = np.frombuffer(raw, "<f8").astype(np.float32)
    return samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1, dtype=np.float32).astype(np.float32, copy=False)


def _damaged(name: str, why: str) -> MmedgeError:
    return MmedgeError(f"{name} is a damaged WAV file: {why}", "record or copy it again")


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.floating], rate_hz: int) -> None:
    """Write float samples [n] (full scale 1.0, louder is clipped) as 16-bit mono PCM.

    Raises:
        MmedgeError: the file cannot be written.
    """
    pcm = np.clip(np.rint(np.asarray(samples, np.float64) * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, PCM, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", len(pcm))
    try:
        Path(path).write_bytes(head + pcm)
    except OSError as error:
        raise MmedgeError(f"cannot write {path}: {error.strerror}", "name a file in a folder that exists and has room") from error
