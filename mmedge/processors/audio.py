"""Sounds of any common file format as float32 mono."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Union

import numpy as np
from numpy.typing import NDArray

from mmedge.errors import MmedgeError
from mmedge.need import need
from mmedge.processors.resample import resample
from mmedge.processors.wav import is_wav, read_wav
from mmedge.spans import timed

Samples = NDArray[np.float32]
Sound = Union[str, "os.PathLike[str]", bytes, tuple[Samples, int]]
"""What verbs accept as a sound: a path, a whole file's bytes, or (float samples [n], rate_hz)."""


@timed("processors")
def load_sound(sound: Sound) -> tuple[Samples, int]:
    """Read a sound.

    Args:
        sound: a path or the bytes of a file (WAV by our own reader, anything else through PyAV), or samples with their rate, which are only checked.

    Returns:
        float32 mono [n], full scale 1.0 (the mean of all channels), and the rate in Hz, both as stored: nothing is resampled.

    Raises:
        MmedgeError: no such file, not a sound, damaged, or PyAV is needed and missing.
    """
    if isinstance(sound, tuple):
        samples, rate_hz = sound
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f" or rate_hz <= 0:
            shape = "x".join(map(str, samples.shape))
            raise MmedgeError(
                f"a sound of {samples.dtype.name} {shape} at {rate_hz} Hz was given", "give float samples of one channel, shape [n], and their rate in Hz"
            )
        return samples.astype(np.float32, copy=False), rate_hz
    if not isinstance(sound, (str, bytes, os.PathLike)):
        raise MmedgeError(f"a {type(sound).__name__} is not a sound", "give a path, the bytes of a file, or (float samples of one channel, their rate in Hz)")
    if isinstance(sound, bytes):
        data, name = sound, "the sound"
    else:
        name = os.fspath(sound)
        try:
            if stat.S_ISCHR(os.stat(sound).st_mode):
                raise MmedgeError(f"{name} is a device, which may never end", "name a sound file")
            data = Path(sound).read_bytes()
        except FileNotFoundError as error:
            raise MmedgeError(f"there is no file {name}", "name an existing sound file") from error
        except OSError as error:
            raise MmedgeError(f"cannot read {name}: {error.strerror}", "name a readable sound file") from error
    if is_wav(data):
        decoded = read_wav(data, name)
        if decoded is not None:
            return decoded
    return _decode(data, name)


@timed("processors")
def sound_at(sound: Sound, rate_hz: int) -> Samples:
    """Any sound as float32 mono [n] at ``rate_hz``. Raises MmedgeError: not a sound."""
    samples, from_hz = load_sound(sound)
    return resample(samples, from_hz, rate_hz)


def _decode(data: bytes, name: str) -> tuple[Samples, int]:
    """Decode with FFmpeg's libraries: flac, mp3, ogg, m4a, and the rarer codings of WAV."""
    av = need("av", extra="assistant")
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams.audio:
                raise MmedgeError(f"{name} holds no sound", "name a sound file, such as a WAV, FLAC, MP3 or OGG")
            if container.streams.audio[0].codec_context is None:
                raise MmedgeError(f"{name} is coded in a way that FFmpeg does not know", "convert it to WAV, FLAC, MP3 or OGG")
            rate_hz = int(container.streams.audio[0].rate)
            to_float = av.AudioResampler(format="fltp")
            blocks = [block.to_ndarray().mean(axis=0) for frame in container.decode(audio=0) for block in to_float.resample(frame)]
    except (av.error.FFmpegError, IndexError) as error:
        why = error.strerror if isinstance(error, av.error.FFmpegError) else error
        raise MmedgeError(f"{name} is not a sound that can be read: {why}", "name a sound file, such as a WAV, FLAC, MP3 or OGG") from error
    if not blocks:
        raise MmedgeError(f"{name} holds no sound", "name a sound file, such as a WAV, FLAC, MP3 or OGG")
    return np.concatenate(blocks).astype(np.float32, copy=False), rate_hz
