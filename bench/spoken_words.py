"""Spoken words and commands to adapt a recogniser to, as a data folder: synthetic voices to train on, others to test on, and people to judge by.

``python bench/spoken_words.py OUT`` writes ``OUT/metadata.jsonl`` and WAV files of 16 kHz, the same ones each time::

    train   the words of ``spoken_words.json`` under train, by Piper's joe and Flite's rms, awb and kal16
    test    other words, by voices that are not in train: Flite's slt, and espeak-ng, whose synthesizer is not in train either
    human   what people say in Debian's tuxpaint-stamps-default, 65 names of animals: nothing is ever trained on them, and none is a word of train

Needs ``piper-tts`` (the extra ``assistant``) and Debian's packages of Flite, espeak-ng and the stamps, which are fetched and unpacked without root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment
import numpy as np
import speech_clips

from mmedge.processors.audio import load_sound
from mmedge.processors.log_mel import RATE_HZ
from mmedge.processors.resample import resample
from mmedge.processors.wav import write_wav

TRAIN = ("joe", "rms", "joe", "awb", "joe", "kal16")
"""Half of it by the voice that is nearest to a person's."""
TEST = ("slt", "espeak en-us", "espeak en-gb+f3")
SPEEDS = (1.0, 0.9, 1.15)
ROUNDS = 3
"""How often each word of train is said, in other frames, by other voices."""
LONGEST_S = 4.0
"""What a window of 5 s holds with a second of silence behind it."""


@dataclass(frozen=True)
class Line:
    """One thing to say."""

    split: str
    text: str
    voice: str
    speed: float


def lines() -> Iterator[Line]:
    """What is synthesized, in order: every word of train ``ROUNDS`` times, every word of test by every one of its voices."""
    told: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    number = 0
    for said in range(ROUNDS):
        for word in told["words"]["train"]:
            frame = told["frames"]["train"][(number * 7 + said) % len(told["frames"]["train"])]
            yield Line("train", _sentence(frame, word), TRAIN[(number + said) % len(TRAIN)], SPEEDS[number % len(SPEEDS)])
            number += 1
    for number, word in enumerate(told["words"]["test"]):
        frames = told["frames"]["test"]
        for at, voice in enumerate(TEST):
            yield Line("test", _sentence(frames[(number + at) % len(frames)], word), voice, 1.0)


def _sentence(frame: str, word: str) -> str:
    """With the article that the word wants, and a capital."""
    made = frame.replace("{}", word)
    made = made.replace(f"A {word}", f"An {word}").replace(f" a {word}", f" an {word}") if word[0] in "aeiou" else made
    return made[0].upper() + made[1:]


def main() -> int:
    out = Path(sys.argv[1])
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines()):
        name = f"{line.split}/{number:04}-{line.voice.replace(' ', '-')}.wav"
        rows += _write(out, name, _spoken(line), {"transcript": line.text, "voice": line.voice, "split": line.split})
    root = environment.debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    for path in sorted(root.rglob("*_desc.ogg")):
        label = path.with_name(path.name.replace("_desc.ogg", ".txt"))
        if label.is_file():
            article, _, name = label.read_text(encoding="utf-8").splitlines()[0].partition(" ")
            assert article in ("A", "An", "Two"), article
            samples, rate_hz = load_sound(path)
            sound = resample(samples, rate_hz, RATE_HZ)
            rows += _write(out, f"human/{path.stem}.wav", sound, {"transcript": name, "voice": "people", "split": "human"})
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(", ".join(f"{split}: {sum(row['split'] == split for row in rows)}" for split in ("train", "test", "human")))
    return 0


def _write(out: Path, name: str, sound: speech_clips.Samples, told: dict[str, Any]) -> list[dict[str, Any]]:
    """One row; none of what is too long."""
    if len(sound) > LONGEST_S * RATE_HZ:
        print(f"{name} is left out: {len(sound) / RATE_HZ:.1f} s", file=sys.stderr)
        return []
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    write_wav(out / name, sound, RATE_HZ)
    return [{"audio_file_name": name, **told}]


def _spoken(line: Line) -> speech_clips.Samples:
    """At half of full scale, with a quarter of a second of room on either side, as a voice activity detector leaves it."""
    samples, rate_hz = speech_clips._joe(line.text, line.speed) if line.voice == "joe" else _by_program(line)
    spoken = resample(samples, rate_hz, RATE_HZ)
    room = np.zeros(RATE_HZ // 4, np.float32)
    return np.concatenate([room, spoken * (0.5 / max(1e-9, float(np.abs(spoken).max()))), room]).astype(np.float32)


def _by_program(line: Line) -> tuple[speech_clips.Samples, int]:
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        command: list[Any]
        if line.voice.startswith("espeak "):
            root = environment.debian("espeak-ng", "libespeak-ng1", "espeak-ng-data", "libpcaudio0", "libsonic0")
            (data,) = root.rglob("espeak-ng-data/phontab")
            command = [root / "usr/bin/espeak-ng", "-v", line.voice.split()[1], "-s", str(round(165 * line.speed)), "-w", out.name, line.text]
            told = {**environment.libraries(root), "ESPEAK_DATA_PATH": str(data.parents[1])}
        else:
            root = environment.debian("flite", "libflite1")
            command = [root / "usr/bin/flite", "-voice", line.voice, "--setf", f"duration_stretch={1 / line.speed}", "-t", line.text, "-o", out.name]
            told = environment.libraries(root)
        subprocess.run(command, check=True, env=told, capture_output=True)
        return load_sound(out.name)


if __name__ == "__main__":
    sys.exit(main())
