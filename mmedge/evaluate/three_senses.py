"""A made data set whose label nobody can tell without picture, words and sound together.

``python -m mmedge.evaluate.three_senses FOLDER`` writes a folder that ``mmedge eval --data`` and ``mmedge distill --data`` read: 640 samples to train on,
128 to validate on, 256 to test on. A picture shows a round or a square thing of any colour, place and size; a sentence says that something comes or goes;
a tone is high or low. The label is ``odd`` or ``even``: how many of the three are of the first kind (round, comes, high). So any one of them, and any two,
leave both labels as likely as before.

``file_name``, ``text``, ``audio_file_name``, ``label``, ``split``.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmedge.documents import disk_error
from mmedge.errors import MmedgeError

COUNTS = {"train": 640, "validation": 128, "test": 256}
COLUMNS = ("file_name", "text", "audio_file_name", "label", "split")
SIDE, RATE_HZ, SECONDS = 64, 16_000, 0.5
TONES_HZ = ((880, 1760), (110, 220))
"""High, low: from, to."""
WHO = ("The train", "My brother", "A dog", "The bus", "Our guest", "The doctor", "A ship", "The teacher", "A bird", "The queen")
WHEN = ("today", "tomorrow", "at noon", "in the evening", "on Monday", "with a friend", "in the rain", "very soon")
VERBS = (("comes", "arrives", "returns"), ("goes away", "leaves", "departs"))


def write_three_senses(out: Path, seed: int = 0) -> None:
    """Write the data set into a new folder; the same one for the same seed.

    Raises:
        MmedgeError: the folder is there already, or the disk refuses; then nothing is left there.
    """
    if out.exists():
        raise MmedgeError(f"{out} is there already", "name a folder that does not exist")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
            made = Path(scratch) / "senses"
            made.mkdir()
            with (made / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(COLUMNS)
                for split, count in COUNTS.items():
                    table.writerows(_sample(made, split, number, np.random.default_rng([seed, *split.encode(), number])) for number in range(count))
            made.rename(out)
    except OSError as error:
        raise disk_error(out, error) from error


def _sample(folder: Path, split: str, number: int, random: np.random.Generator) -> tuple[str, ...]:
    """Every combination comes equally often."""
    bits = [number >> at & 1 for at in range(3)]
    name = f"{split}-{number:04}"
    _picture(bits[0], random).save(folder / f"{name}.png")
    _write_sound(folder / f"{name}.wav", bits[1], random)
    text = f"{random.choice(WHO)} {random.choice(VERBS[bits[2]])} {random.choice(WHEN)}."
    return f"{name}.png", text, f"{name}.wav", "odd" if (3 - sum(bits)) % 2 else "even", split


def _picture(square: int, random: np.random.Generator) -> Image.Image:
    ground, colour = random.integers(150, 256, 3), random.integers(0, 130, 3)
    made = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
    size = int(random.integers(24, 44))
    left, top = random.integers(2, SIDE - size - 2, 2).tolist()
    draw = ImageDraw.Draw(made)
    (draw.rectangle if square else draw.ellipse)((left, top, left + size, top + size), fill=tuple(colour.tolist()))
    return made


def _write_sound(path: Path, low: int, random: np.random.Generator) -> None:
    count = round(SECONDS * RATE_HZ)
    wavy = np.sin(2 * np.pi * random.uniform(*TONES_HZ[low]) * np.arange(count) / RATE_HZ + random.uniform(0, 2 * np.pi))
    heard = random.uniform(0.2, 0.6) * wavy + 0.02 * random.standard_normal(count)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((heard * 32767).astype("<i2").tobytes())


def main(arguments: Sequence[str]) -> int:
    """The command."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m mmedge.evaluate.three_senses", description="Write a data set that wants picture, words and sound.")
    parser.add_argument("folder", type=Path, help="where; it must not exist yet")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    try:
        write_three_senses(asked.folder, asked.seed)
    except MmedgeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
