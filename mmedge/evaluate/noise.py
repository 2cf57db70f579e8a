"""What goes wrong with inputs: one of them is missing, or noisy. The same metric on such inputs says how robust a model is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmedge.evaluate.tasks import Inputs

PIXEL_SD = 38.25
"""Of the Gaussian noise on each channel of each pixel, of 255: severity 3 of ImageNet-C is 0.18 of the range, 2 is 0.12 (Hendrycks and Dietterich 2019)."""
SNR_DB = 10.0
"""Of white noise over the sound: a loud room."""
TYPOS = 0.1
"""The share of letters that are others."""

Spoiled = Callable[[Inputs, str], dict[str, Any]]
"""(inputs, key of the sample, which seeds the noise) -> the inputs with one of them spoiled."""


def conditions(inputs: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Spoiled]:
    """Every way in which a task's inputs may be spoiled: ``image noisy``; and where there are others, ``image missing``.

    What is ``optional`` is really left out where it is missing. Elsewhere, and where a sample has nothing else, it is empty: a grey picture, silence, no words.
    """
    made: dict[str, Spoiled] = {}
    for column in inputs:
        made[f"{column} noisy"] = _spoil(column, NOISY.get(column, _typos))
        if len(inputs) > 1:
            emptied = _spoil(column, MISSING.get(column, _no_text))
            made[f"{column} missing"] = _left_out(column, emptied) if column in optional else emptied
    return made


def _left_out(column: str, emptied: Spoiled) -> Spoiled:
    def spoiled(inputs: Inputs, key: str) -> dict[str, Any]:
        alone = all(value is None for other, value in inputs.items() if other != column)
        return emptied(inputs, key) if alone else {**inputs, column: None}

    return spoiled


def _spoil(column: str, how: Callable[[Any, np.random.Generator], Any]) -> Spoiled:
    def spoiled(inputs: Inputs, key: str) -> dict[str, Any]:
        if inputs[column] is None:
            return dict(inputs)
        return {**inputs, column: how(inputs[column], np.random.default_rng([zlib.crc32(key.encode()), zlib.crc32(column.encode())]))}

    return spoiled


def _grain(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray(np.clip(np.rint(pixels + PIXEL_SD * random.standard_normal(pixels.shape, np.float32)), 0, 255).astype(np.uint8))


def _hiss(sound: Any, random: np.random.Generator) -> Any:
    samples, rate_hz = sound
    noise = random.standard_normal(len(samples), np.float32)
    return (samples + noise * np.sqrt(np.mean(np.square(samples, dtype=np.float64)) * 10 ** (-SNR_DB / 10))).astype(np.float32), rate_hz


def _typos(text: str, random: np.random.Generator) -> str:
    letters = [chr(ord("a") + random.integers(26)) if one.isalpha() and random.random() < TYPOS else one for one in text]
    return "".join(letters)


def _grey(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    return Image.new("RGB", picture.size, (128, 128, 128))


def _silence(sound: Any, random: np.random.Generator) -> Any:
    samples, rate_hz = sound
    return np.zeros_like(samples), rate_hz


def _no_text(text: str, random: np.random.Generator) -> str:
    return ""


NOISY: dict[str, Callable[[Any, np.random.Generator], Any]] = {"image": _grain, "audio": _hiss}
MISSING: dict[str, Callable[[Any, np.random.Generator], Any]] = {"image": _grey, "audio": _silence}
