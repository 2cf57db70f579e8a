"""Small data sets, made by the tests: pictures of one colour, tones, tables and tar files."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
from PIL import Image

from mmedge.processors.wav import write_wav

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def png(colour="red", size=4):
    file = io.BytesIO()
    Image.new("RGB", (size, size), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


def tone(path, seconds=0.1, rate_hz=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.sin(np.arange(int(seconds * rate_hz)) * 0.3).astype(np.float32), rate_hz)
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def json_lines(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def tar(path, members, mode="w"):
    """``members``: name -> bytes, text, or a TarInfo with its type and link set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if info is content else content.encode() if isinstance(content, str) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def colours(folder, count=3, names=("red", "green", "blue")):
    """A folder for each class, ``count`` pictures in each."""
    for name in names:
        for number in range(count):
            write(folder / name / f"{number}.png", png(name))
    return folder
